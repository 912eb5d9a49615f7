// `drought replay`: a recorded trace through an allocator, and the first difference by name.
#include <CLI/CLI.hpp>
#include <iostream>

#include "harness/cli/commands.hpp"
#include "harness/report/report.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> traces;
  std::string allocator = "caching", json;
};

ReplayResult replay_one(const std::string& trace, const AllocatorEntry& allocator) {
  try {
    return replay_file(trace, [&](Resource& upstream, Device& device) {
      return allocator.make(Table("replay", {}), &upstream, device);
    });
  } catch (const TraceError& error) {
    throw UserError(error.what());
  }
}

int replay(const Arguments& arguments, const Catalogues& catalogues) {
  const AllocatorEntry* const allocator = find_entry(catalogues.allocators, arguments.allocator);
  if (!allocator)
    Table("--allocator", {1, 1})
        .fail_unknown({1, 1}, "allocator", arguments.allocator, names_of(catalogues.allocators));
  std::vector<ReplayResult> results;
  bool all_good = true;
  for (const std::string& trace : arguments.traces) {
    results.push_back(replay_one(trace, *allocator));
    print_line(std::cout, results.back());
    all_good = all_good && results.back().differences.value_or(0) == 0;
  }
  if (!arguments.json.empty()) write_json(arguments.json, "replay", 1, results);
  return all_good ? as_expected : something_failed;
}

}  // namespace

Chosen add_replay_command(CLI::App& app, const Catalogues& catalogues) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("replay", "Replays recorded traces through an allocator, decision for decision");
  command->add_option("traces", arguments->traces, "PyTorch memory snapshots (pickles)")->required();
  command->add_option("--allocator", arguments->allocator, "Of the catalogue; caching is PyTorch's");
  command->add_option("--json", arguments->json, "Writes the results to this file");
  return [arguments, &catalogues] { return replay(*arguments, catalogues); };
}

}  // namespace drought
