// What README.md says is so: its commands run, its scenario is the shipped file, its paths are there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "harness/device/child.hpp"
#include "harness/scenario/table.hpp"
#include "scenarios/catalogue.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

const std::string& readme() {
  static const std::string text = read_text_file(source_path("README.md"));
  return text;
}

std::vector<std::string> readme_lines() {
  std::istringstream in(readme());
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Lines that begin with the program's name, less the remark that three spaces set off.
std::vector<std::string> readme_commands() {
  std::vector<std::string> commands;
  for (const std::string& line : readme_lines())
    if (line.starts_with("drought ")) commands.push_back(line.substr(0, line.find("   ")));
  // A sentence of the prose may begin so too.
  std::erase_if(commands,
                [](const std::string& command) { return command.find(" runs ") != std::string::npos; });
  return commands;
}

TEST(Readme, ShowsCommandsThatRun) {
  const std::vector<std::string> commands = readme_commands();
  ASSERT_GE(commands.size(), 5u);
  for (const std::string& command : commands) {
    Child::Options options;
    options.program = "/bin/sh";
    options.arguments = {"-c", "cd '" + source_path("") + "' && exec '" + drought_binary() + "' " +
                                   command.substr(std::string("drought ").size()) + " 2>&1"};
    options.limit_ms = 300'000;  // A sweep under a sanitizer, on a machine that builds beside it.
    const ChildEnd end = Child(options).finish();
    EXPECT_EQ(end.number, 0) << command << "\n" << end.text() << "\n" << end.record;
  }
}

TEST(Readme, ShowsTheScenarioAsItIsShipped) {
  const std::string shipped = read_text_file(source_path("scenarios/auto_profile/leak_is_fatal.toml"));
  EXPECT_THAT(readme(), testing::HasSubstr("```toml\n" + shipped + "```"));
}

TEST(Readme, NamesOnlyFilesThatAreThere) {
  const std::regex path(R"(`((?:harness|allocators|kernels|faults|scenarios|tests|ci)/[A-Za-z0-9_./]*)`)");
  std::size_t found = 0;
  for (std::sregex_iterator it(readme().begin(), readme().end(), path), end; it != end; ++it, ++found)
    EXPECT_TRUE(std::filesystem::exists(source_path((*it)[1].str()))) << (*it)[1];
  EXPECT_GE(found, 10u);
}

}  // namespace
}  // namespace drought
