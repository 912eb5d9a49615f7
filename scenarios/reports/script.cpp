#include "scenarios/reports/script.hpp"

#include "scenarios/reports/script_run.hpp"

namespace drought {
namespace {

[[noreturn]] void refuse(const Table& step, std::string_view key, const std::string& why) {
  const Table::Entry* const entry = step.find(key);
  step.fail(entry ? entry->value.at : step.at(), why);
}

Step read_step(const Table& table, std::size_t streams) {
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
  if (step.stream >= streams)
    refuse(table, "stream",
           "'stream' is " + std::to_string(step.stream) + ", and the script has " + std::to_string(streams));
  return step;
}

}  // namespace

Script::Script(Options options) : limit_bytes_(options.limit_bytes), streams_(options.streams) {
  if (streams_ == 0 || streams_ > 1024) throw std::invalid_argument("streams must be 1 to 1024");
  for (const Table& table : options.step) steps_.push_back(read_step(table, streams_));
  if (steps_.empty()) throw std::invalid_argument("a script needs at least one step");
}

void Script::run(Rig& rig) {
  if (rig.full())
    throw UserError("script allocates and computes nothing: it needs [device] work = \"shapes\"");
  ScriptRun run(rig, limit_bytes_, streams_);
  for (std::size_t i = 0; i < steps_.size(); ++i) run.take(steps_[i], i + 1);
  run.finish();
}

}  // namespace drought
