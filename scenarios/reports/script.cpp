#include "scenarios/reports/script.hpp"

#include "harness/memory/interfaces.hpp"
#include "scenarios/reports/script_run.hpp"

namespace drought {
namespace {

[[noreturn]] void refuse(const Table& step, std::string_view key, const std::string& why) {
  const Table::Entry* const entry = step.find(key);
  step.fail(entry ? entry->value.at : step.at(), why);
}

Step read_step(const Table& table) {
  auto step = read_options<Step>(table);
  const Verb* const verb = verb_named(step.verb);
  if (!verb) {
    std::vector<std::string> known;
    for (const Verb& each : verbs()) known.emplace_back(each.word);
    const Table::Entry* const entry = table.find("do");
    table.fail_unknown(entry ? entry->value.at : table.at(), "step", step.verb, known);
  }
  if (verb->needs_bytes && step.bytes == 0) refuse(table, "bytes", "'" + step.verb + "' needs bytes above 0");
  if (step.count == 0 || step.every == 0 || step.tries == 0)
    refuse(table, "count", "count, every and tries must be above 0");
  if (step.count > 1'000'000) refuse(table, "count", "'count' is over a million");
  if (step.tries > 1'000'000) refuse(table, "tries", "'tries' is over a million");
  if (step.grow_bytes != 0 && step.count > ((std::size_t{1} << 62) - 1) / step.grow_bytes)
    refuse(table, "grow_bytes", "the last of " + std::to_string(step.count) + " is beyond 2^62 bytes");
  if (step.with.empty() != (step.with_bytes == 0))
    refuse(table, "with", "'with' and with_bytes go together, and with_bytes is above 0");
  return step;
}

}  // namespace

Script::Script(Options options) : limit_bytes_(options.limit_bytes), trim_first_(options.trim_first) {
  for (const Table& table : options.step) steps_.push_back(read_step(table));
  if (steps_.empty()) throw std::invalid_argument("a script needs at least one step");
}

void Script::run(Rig& rig) {
  if (rig.full())
    throw UserError("script allocates and computes nothing: it needs [device] work = \"shapes\"");
  if (trim_first_)
    for (Account* const account : rig.ledger().accounts())
      if (auto* const trims = dynamic_cast<Trims*>(&account->resource())) trims->trim();
  ScriptRun run(rig, limit_bytes_);
  for (std::size_t i = 0; i < steps_.size(); ++i) run.take(steps_[i], i + 1);
  run.finish();
}

}  // namespace drought
