// `drought bench`: measures. The benchmarks live in an executable of their own beside this one, which
// this command becomes.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "harness/cli/commands.hpp"

namespace drought {
namespace {

struct Arguments {
  std::vector<std::string> names;
  std::string json;
};

int bench(const Arguments& arguments) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "drought_bench";
  std::vector<std::string> words{program};
  std::string filter;
  for (const std::string& name : arguments.names) filter += (filter.empty() ? "" : "|") + name;
  if (!filter.empty()) words.push_back("--benchmark_filter=" + filter);
  if (!arguments.json.empty()) {
    words.push_back("--benchmark_out=" + arguments.json);
    words.push_back("--benchmark_out_format=json");
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  std::cerr << "drought: " << program << " is not there or cannot be run; build the target drought_bench\n";
  return nothing_ran;
}

}  // namespace

Chosen add_bench_command(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Measures allocators, traces and kernels");
  command->add_option("names", arguments->names,
                      "Regular expressions; what matches none of them is left out");
  command->add_option("--json", arguments->json, "Writes the figures to this file");
  return [arguments] { return bench(*arguments); };
}

}  // namespace drought
