#include "harness/gtest/sweep.hpp"

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "harness/scenario/run.hpp"
#include "harness/sweep/strike.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {
namespace {

// A body that is wrong at one call is often wrong at all that follow.
constexpr std::size_t kFailuresMax = 20, kFailuresShown = 5;

/// One strike among a sweep's, as DROUGHT_POINT names it.
struct ChosenStrike {
  int line = 0;  ///< Of the sweep in its file: a test may have several.
  std::uint64_t call = 0;
  std::string fault;
  bool forever = false;
};

ChosenStrike read_choice(std::string_view text) {
  ChosenStrike chosen;
  const std::string whole(text);
  const auto number = [&text](auto& out) {
    const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    const bool ok = error == std::errc() && after != text.data() + text.size() && *after == ':' && out > 0;
    if (ok) text.remove_prefix(static_cast<std::size_t>(after - text.data()) + 1);
    return ok;
  };
  const auto kind = [&text](std::string& out) {
    out = text.substr(0, text.find(':'));
    text.remove_prefix(std::min(out.size() + 1, text.size()));
    return find_entry(all_catalogues().faults, out) != nullptr;
  };
  const bool ok = number(chosen.line) && number(chosen.call) && kind(chosen.fault) &&
                  (text == "once" || text == "forever");
  if (!ok)
    throw UserError("DROUGHT_POINT is '" + whole +
                    "', not LINE:CALL:FAULT:once or LINE:CALL:FAULT:forever of a sweep");
  chosen.forever = text == "forever";
  return chosen;
}

std::string repeat_command(const StrikeFailure& failure, CallSite at) {
  const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
  std::string command = "DROUGHT_POINT=" + std::to_string(at.line) + ":" +
                        std::to_string(failure.point.call) + ":" + failure.fault +
                        (failure.forever ? ":forever " : ":once ") + program_invocation_name;
  if (testing::GTEST_FLAG(also_run_disabled_tests)) command += " --gtest_also_run_disabled_tests";
  if (test) command += " --gtest_filter='" + std::string(test->test_suite_name()) + "." + test->name() + "'";
  return command;
}

/// "call 3, allocate of 512 B for 'kv' at 'direct', out_of_memory once".
std::string describe(const StrikeFailure& failure) {
  const FaultPoint& point = failure.point;
  return "call " + std::to_string(point.call) + ", " + std::string(name(point.site)) + " of " +
         std::to_string(point.bytes) + " B" +
         (point.tag.view().empty() ? "" : " for '" + std::string(point.tag.view()) + "'") +
         (point.resource.empty() ? "" : " at '" + point.resource + "'") + ", " + failure.fault +
         (failure.forever ? " from there on" : " once");
}

/// Failed expectations of the running test so far.
int failed_expectations() {
  const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
  if (!test) return 0;
  int failed = 0;
  for (int i = 0; i < test->result()->total_part_count(); ++i)
    failed += test->result()->GetTestPartResult(i).failed();
  return failed;
}

class BodySweep {
 public:
  BodySweep(const StrikeOptions& options, const SweptBody& body, CallSite at)
      : options_(options), body_(body), at_(at) {
    if (options.fault != "default") (void)ArmedRig::fault_named(options.fault, at);
    bool known = false;
    for (int i = 0; i < site_count; ++i)
      known = known || glob_matches(options.site, name(static_cast<Site>(i)));
    try {
      if (!known) (void)site_named(options.site);
    } catch (const std::invalid_argument& mistake) {
      throw UserError(at.text() + ": " + mistake.what());
    }
  }

  StrikeReport run(const ChosenStrike* chosen) {
    std::vector<FaultPoint> points = count();
    if (!report_.why.empty() || testing::Test::IsSkipped()) return std::move(report_);
    const auto wanted = [&](const StrikeFailure& strike) {
      if (!chosen) return strike.forever ? options_.forever : options_.once;
      return strike.point.call == chosen->call && strike.fault == chosen->fault &&
             strike.forever == chosen->forever;
    };
    for (const FaultPoint& point : points)
      for (const std::string& fault : kinds_at(all_catalogues(), options_.fault, point.site))
        for (const bool forever : {false, true})
          if (StrikeFailure planned{point, fault, forever, {}}; wanted(planned)) strike(std::move(planned));
    if (report_.struck == 0) report_.why = "nothing was struck, so nothing was tested";
    return std::move(report_);
  }

 private:
  Outcome run_body(ArmedRig& rig) const {
    return drought::run_body(*rig.operator->(), [&] { body_(rig); });
  }

  /// The calls of a run with no strike at which one could be.
  std::vector<FaultPoint> count() {
    ArmedRig rig(options_.toml, options_.rig, at_);
    rig.excuse_faults();
    rig->plan().keep_points();
    const int failed_before = failed_expectations();
    const Outcome outcome = run_body(rig);
    std::vector<FaultPoint> points = rig->plan().points();
    rig->heal();
    report_.why = outcome.kind == Outcome::Kind::completed
                      ? what_is_wrong(rig, outcome)
                      : "came to " + std::string(name(outcome.kind)) + ": " + outcome.message;
    rig.end();
    if (report_.why.empty()) report_.why = rig.complaint("*", outcome);
    if (report_.why.empty() && failed_expectations() != failed_before)
      report_.why = "fails its own expectations";
    if (!report_.why.empty()) report_.why = "the unswept run " + report_.why;
    std::erase_if(points, [&](const FaultPoint& point) {
      return !glob_matches(options_.site, name(point.site)) ||
             !glob_matches(options_.resource, point.resource) ||
             kinds_at(all_catalogues(), options_.fault, point.site).empty();
    });
    report_.points = points.size();
    return points;
  }

  void strike(StrikeFailure planned) {
    if (report_.failures.size() == kFailuresMax) return;
    const testing::ScopedTrace trace(at_.file, at_.line,
                                     describe(planned) + "\n  repeat: " + repeat_command(planned, at_));
    const int failed_before = failed_expectations();
    planned.why = answer(planned);
    if (planned.why.empty() && failed_expectations() != failed_before)
      planned.why = "failed: the body's own expectations";
    if (!planned.why.empty()) report_.failures.push_back(std::move(planned));
  }

  /// Of a run that has ended and let go of everything.
  static std::string what_is_wrong(const ArmedRig& rig, const Outcome& outcome) {
    if (const auto held = rig.held(); !held.empty()) return "leaked: live after it: " + held.front().text();
    const std::string wrong = rig.complaint("*", outcome);
    return wrong.empty() ? wrong : "failed: " + wrong;
  }

  /// What is wrong with one struck run and the healed one after it; empty when nothing is.
  std::string answer(const StrikeFailure& planned) {
    auto rig = std::make_unique<ArmedRig>(options_.toml, options_.rig, at_);
    rig->excuse_faults();
    rig->arm_at(planned.point, planned.forever, planned.fault, at_);
    const Outcome outcome = run_body(*rig);
    const bool struck = (*rig)->plan().armed().back().struck != 0;
    report_.struck += struck;
    if (!struck) return "never_reached: the run did not come by this call again";
    if (outcome.kind == Outcome::Kind::hung || outcome.kind == Outcome::Kind::crashed)
      return std::string(name(outcome.kind)) + ": " + outcome.message;
    (*rig)->heal();
    if (std::string wrong = what_is_wrong(*rig, outcome); !wrong.empty()) return wrong;
    if (std::string lost = swallowed_error(rig->record(), outcome); !lost.empty())
      return "swallowed: " + lost;
    return answer_healed(std::move(rig));
  }

  /// The body again with nothing armed, on the same rig. A context that an error has ended for good is past
  /// recovery; a fresh rig then stands for the restarted process.
  std::string answer_healed(std::unique_ptr<ArmedRig> rig) {
    Device& device = rig->device();
    (void)device.synchronize();
    if (is_sticky(device.peek_last_error())) {
      rig = std::make_unique<ArmedRig>(options_.toml, options_.rig, at_);
      rig->excuse_faults();
      (*rig)->heal();
    }
    (void)rig->device().take_last_error();
    const Outcome healed = run_body(*rig);
    rig->end();
    if (healed.kind != Outcome::Kind::completed)
      return "failed: after healing the next run came to " + std::string(name(healed.kind)) + ": " +
             healed.message;
    const std::string wrong = rig->complaint("*", healed);
    return wrong.empty() ? wrong : "leaked: after healing: " + wrong;
  }

  const StrikeOptions& options_;
  const SweptBody& body_;
  const CallSite at_;
  StrikeReport report_;
};

}  // namespace

StrikeReport strike_every_call(const StrikeOptions& options, const SweptBody& body, CallSite at) {
  return BodySweep(options, body, at).run(nullptr);
}

std::uint64_t sweep(const StrikeOptions& options, const SweptBody& body, CallSite at) {
  ChosenStrike chosen;
  const char* const wanted = std::getenv("DROUGHT_POINT");
  if (wanted) chosen = read_choice(wanted);
  if (wanted && chosen.line != at.line) {
    std::cout << "DROUGHT_POINT names the sweep at line " << chosen.line << ": left out the one at "
              << at.text() << std::endl;
    return 0;
  }
  const StrikeReport report = BodySweep(options, body, at).run(wanted ? &chosen : nullptr);
  if (report.why.empty() && report.failures.empty()) return report.struck;
  std::string text = "the sweep of " + std::to_string(report.points) + " points, " +
                     std::to_string(report.struck) + " strikes, fails: " + report.why;
  for (std::size_t i = 0; i < std::min(report.failures.size(), kFailuresShown); ++i)
    text += "\n  at " + describe(report.failures[i]) + "\n    " + report.failures[i].why +
            "\n    repeat: " + repeat_command(report.failures[i], at);
  if (report.failures.size() > kFailuresShown)
    text += "\n  and " + std::to_string(report.failures.size() - kFailuresShown) + " more" +
            (report.failures.size() == kFailuresMax ? ", where it stopped" : "");
  ADD_FAILURE_AT(at.file, at.line) << text;
  return report.struck;
}

}  // namespace drought
