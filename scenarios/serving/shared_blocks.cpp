#include "scenarios/serving/shared_blocks.hpp"

#include <sstream>
#include <stdexcept>

#include "scenarios/serving/block_server.hpp"

namespace drought {
namespace {

using Step = SharedBlocks::Step;
using Bug = SharedBlocks::Bug;

constexpr std::string_view kVerbs[] = {"take", "fill", "read", "pin", "drop"};
constexpr std::string_view kBugs[] = {"none",        "lost_wake_up", "check_then_act",
                                      "double_free", "stale_read",   "drops_in_use"};

template <std::size_t n>
std::size_t index_of(const std::string_view (&known)[n], std::string_view word) {
  for (std::size_t i = 0; i < n; ++i)
    if (known[i] == word) return i;
  return n;
}

Step step_of(const Table& process, const std::string& text) {
  std::istringstream words(text);
  std::string verb, left;
  Step step;
  words >> verb >> step.slot;
  const bool has_slot = !words.fail();
  step.verb = static_cast<Step::Verb>(index_of(kVerbs, verb));
  const bool numbered = step.verb == Step::Verb::take || step.verb == Step::Verb::fill;
  if (numbered) words >> step.number;
  const bool known = index_of(kVerbs, verb) != std::size(kVerbs);
  if (!known || !has_slot || words.fail() || (words >> left) || step.slot >= SharedBlocks::kSlots)
    process.fail(process.at(),
                 "'" + text + "' is no step; known: take S MIB, fill S V, read S, pin S, drop S, S below " +
                     std::to_string(SharedBlocks::kSlots));
  return step;
}

}  // namespace

SharedBlocks::SharedBlocks(Options options) : budget_bytes_(options.budget_mib << 20) {
  bug_ = static_cast<Bug>(index_of(kBugs, options.bug));
  if (index_of(kBugs, options.bug) == std::size(kBugs)) {
    std::string known;
    for (const std::string_view bug : kBugs) known += (known.empty() ? "" : ", ") + std::string(bug);
    throw std::invalid_argument("shared_blocks: unknown bug '" + options.bug + "'; known: " + known);
  }
  struct Process {
    std::vector<std::string> steps;
    static constexpr auto keys() { return std::tuple{key("steps", &Process::steps)}; }
  };
  for (const Table& table : options.process) {
    processes_.emplace_back();
    for (const std::string& step : read_options<Process>(table).steps)
      processes_.back().push_back(step_of(table, step));
  }
}

void SharedBlocks::run(Rig& rig) {
  {
    BlockServer server(rig, processes_.size(), budget_bytes_, bug_);
    rig.scheduler().run_beside("process", static_cast<int>(processes_.size()), [&](int process) {
      const auto index = static_cast<std::size_t>(process);
      server.run(index, processes_[index]);
    });
    server.finish();
  }
  rig.ledger().mark_teardown({"shared"});
}

}  // namespace drought
