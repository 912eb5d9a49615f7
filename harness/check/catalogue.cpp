// The checks. Each is a few lines, because the ledger and the gate have already said what happened.
#include <algorithm>
#include <map>

#include "harness/check/check.hpp"

namespace drought {
namespace {

void fail(CheckResult& result, const std::string& text) {
  if (result.ok) result.message = text;
  result.ok = false;
}

/// Every violation under the check's own name.
CheckResult violations(std::string_view check, const Record& record, std::uint64_t looked_at) {
  CheckResult result{std::string(check), true, looked_at, {}};
  std::size_t count = 0;
  for (const Violation& violation : record.violations) {
    if (violation.check != check) continue;
    fail(result, violation.text);
    ++count;
  }
  if (count > 1) result.message += " (and " + std::to_string(count - 1) + " more)";
  return result;
}

CheckResult accounting(const Record& record, const Outcome&) {
  CheckResult result = violations("accounting", record, record.allocations + record.frees);
  for (const Survivor& survivor : record.live_at_end) fail(result, "live at the end: " + survivor.text());
  return result;
}

CheckResult stream_order(const Record& record, const Outcome&) {
  return violations("stream_order", record, record.ordered_accesses);
}

CheckResult no_stale_operand(const Record& record, const Outcome&) {
  return violations("no_stale_operand", record, record.judged_operands);
}

// A block that only a fault holds is the workload's business all the same: it must not go on as if its
// teardown had worked, so the run must have ended in the workload's own diagnostic that names it.
CheckResult teardown(const Record& record, const Outcome& outcome) {
  CheckResult result{"teardown", true, record.teardowns.size(), {}};
  for (const TeardownMark& mark : record.teardowns) {
    for (const Survivor& survivor : mark.survivors) {
      const bool named = outcome.kind == Outcome::Kind::fatal &&
                         outcome.message.find(survivor.tag.view()) != std::string::npos;
      if (!survivor.charged_to_fault) {
        fail(result, "after teardown in phase '" + mark.phase + "': " + survivor.text());
      } else if (!named) {
        fail(result, "a leak found at teardown was not fatal: " + survivor.text());
      }
    }
  }
  return result;
}

// Tries of one name: never more than the cap, each retry only after a try that ran out of memory and
// smaller than it where the owner shrinks, and no giving up on memory while tries are left.
CheckResult retry_cap(const Record& record, const Outcome& outcome) {
  CheckResult result{"retry_cap", true, record.attempts.size(), {}};
  std::map<std::string, const Attempt*> last;
  const auto gave_up = [&](const Attempt& attempt, std::string_view then) {
    if (attempt.end != Attempt::End::out_of_memory || attempt.number >= attempt.cap) return;
    fail(result, "'" + attempt.what + "' gave up after attempt " + std::to_string(attempt.number) + " of " +
                     std::to_string(attempt.cap) + ", " + std::string(then));
  };
  for (const Attempt& attempt : record.attempts) {
    const std::string which = "'" + attempt.what + "' attempt " + std::to_string(attempt.number);
    if (attempt.number > attempt.cap)
      fail(result, which + " is over the cap of " + std::to_string(attempt.cap));
    const Attempt* const before =
        attempt.number > 1 && last.count(attempt.what) ? last[attempt.what] : nullptr;
    if (before) {
      if (before->end == Attempt::End::other_error)
        fail(result, which + " retries what was not a lack of memory");
      if (before->end == Attempt::End::succeeded) fail(result, which + " retries what had succeeded");
      if (attempt.size > before->size)
        fail(result,
             which + " grew from " + std::to_string(before->size) + " to " + std::to_string(attempt.size));
    }
    if (attempt.number == 1 && last.count(attempt.what)) gave_up(*last[attempt.what], "and went on");
    last[attempt.what] = &attempt;
  }
  for (const auto& [what, attempt] : last) gave_up(*attempt, name(outcome.kind));
  return result;
}

CheckResult span_cover(const Record& record, const Outcome&) {
  CheckResult result =
      violations("span_cover", record,
                 record.span_answers.size() + record.map_states.size() + record.judged_registrations);
  for (const StateMark& mark : record.map_states)
    if (mark.before != mark.after) fail(result, "the state of the map did not stay as it was: " + mark.what);
  for (const SpanAnswer& answer : record.span_answers)
    if (answer.granted && !answer.inside_spans)
      fail(result, "'" + answer.path + "' granted offset " + std::to_string(answer.offset) + ", " +
                       std::to_string(answer.bytes) + " B, which no span covers");
    else if (!answer.granted && answer.inside_spans)
      fail(result, "'" + answer.path + "' refused offset " + std::to_string(answer.offset) + ", " +
                       std::to_string(answer.bytes) + " B, which the spans cover");
  return result;
}

CheckResult no_overrun(const Record& record, const Outcome&) {
  return violations("no_overrun", record, record.looked_at_blocks);
}

CheckResult exact_output(const Record& record, const Outcome&) {
  CheckResult result{"exact_output", true, record.comparisons.size(), {}};
  for (const OutputComparison& comparison : record.comparisons)
    if (!comparison.within) fail(result, comparison.what + ": " + comparison.text);
  return result;
}

constexpr CheckEntry kChecks[] = {
    {"accounting", "no overlap, alignment, every byte given back once, to whom lent it", accounting},
    {"stream_order", "uses across streams are ordered by an event or a synchronisation", stream_order},
    {"teardown", "what was torn down is dead, by identity; a leak is fatal and named", teardown},
    {"retry_cap", "retries are bounded, follow a lack of memory only, and are all used", retry_cap},
    {"span_cover", "nothing outside the declared spans of a map is granted or touched", span_cover},
    {"exact_output", "outputs agree with their references", exact_output},
    {"no_overrun", "nothing was written beside a guarded block", no_overrun},
    {"no_stale_operand", "no kernel or copy is given freed, foreign or too little memory", no_stale_operand},
};

}  // namespace

std::string_view name(Outcome::Kind kind) {
  constexpr std::string_view kNames[] = {"completed", "clean_error", "fatal", "crashed", "hung"};
  return kNames[static_cast<int>(kind)];
}

std::span<const CheckEntry> check_catalogue() { return kChecks; }

}  // namespace drought
