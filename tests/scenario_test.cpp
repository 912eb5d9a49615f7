// Every mistake in a scenario file is answered with its place, the wrong word and the known words,
// before anything runs.
#include "harness/scenario/scenario.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "harness/trace/trace_file.hpp"
#include "tests/named.hpp"
#include "tests/scenario_mistakes.hpp"
#include "tests/scenario_text.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class BadScenario : public testing::TestWithParam<Mistake> {};

TEST_P(BadScenario, IsAnsweredWithItsPlaceTheWrongWordAndTheKnownWords) {
  const Mistake& mistake = GetParam();
  const std::string title = std::string(mistake.name) == "MissingTitle" ? "guards = 'x'" : "title = 'a test'";
  const std::string text = title + "\n" + mistake.toml + "\n";
  try {
    Rig rig(read_scenario(parse_toml(text, "bad.toml"), all_catalogues()), all_catalogues(), {});
    FAIL() << "accepted:\n" << text;
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), StartsWith("bad.toml:" + std::string(mistake.place))) << text;
    EXPECT_THAT(error.what(), testing::ContainsRegex("^bad.toml:[0-9]+:[0-9]+: .")) << text;
    EXPECT_EQ(std::count(error.what(), error.what() + std::string(error.what()).size(), '\n'), 0)
        << "one line";
    for (const std::string& words : mistake.says) EXPECT_THAT(error.what(), HasSubstr(words)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, BadScenario, testing::ValuesIn(kMistakes), by_name);

TEST(ScenarioFile, ThatIsMissingOrAFolderIsNamed) {
  EXPECT_THAT([] { (void)read_text_file("no/such.toml"); },
              testing::ThrowsMessage<UserError>(HasSubstr("no/such.toml: cannot be read")));
  EXPECT_THAT([] { (void)read_text_file(source_path("tests")); },
              testing::ThrowsMessage<UserError>(HasSubstr("cannot be read")));
  EXPECT_THAT([] { (void)scenario_files({"no/such"}); },
              testing::ThrowsMessage<UserError>(HasSubstr("no/such: there is no such file or folder")));
}

TEST(OneLine, ShowsControlCharactersAsEscapesAndTheRestAsItIs) {
  EXPECT_EQ(one_line("no such file: 'a\nb\tc\rd\x1b[2J\x7f'"), "no such file: 'a\\nb\\tc\\rd\\x1b[2J\\x7f'");
  EXPECT_EQ(one_line(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(one_line("größer \\n"), "größer \\n");
}

TEST(OneLine, IsWhatAMistakeIsToldIn) {
  EXPECT_STREQ(UserError("unknown key 'a\nb'").what(), "unknown key 'a\\nb'");
  EXPECT_STREQ(TraceError("a\nb: cannot be read").what(), "a\\nb: cannot be read");
}

TEST(Scenario, ReadsWhatAFileSaysAndDefaultsWhatItLeavesOut) {
  const Scenario scenario = scenario_of(R"(
[device]
profile = 'h100-80g'
capacity_bytes = '60 GiB'
peer_bytes = ['1 GiB', 5]
[[resource]]
kind = 'bump'
slab_bytes = '1 MiB'
[workload]
kind = 'churn'
allocations = 7
[[fault]]
kind = 'out_of_memory'
when = {tag = 'kv*', nth = 3}
[expect]
outcome = 'clean_error'
)");
  EXPECT_EQ(scenario.device.capacity_bytes, 60_GiB);
  EXPECT_EQ(scenario.device.work, "full");
  EXPECT_EQ(scenario.device.peer_bytes, (std::vector<std::size_t>{1_GiB, 5}));
  ASSERT_EQ(scenario.resources.size(), 2u);
  EXPECT_EQ(scenario.resources[0].kind, "direct") << "an allocator that takes an upstream gets one";
  EXPECT_EQ(scenario.resources[1].kind, "bump");
  ASSERT_EQ(scenario.faults.size(), 1u);
  EXPECT_EQ(scenario.faults[0].when.tag, "kv*");
  EXPECT_EQ(scenario.faults[0].when.nth, 3u);
  EXPECT_EQ(scenario.expect.outcome, "clean_error");
  EXPECT_FALSE(scenario.is_mutant());
  EXPECT_TRUE(scenario.runs_on(Lane::host) && scenario.runs_on(Lane::cuda));
}

TEST(Sizes, AreWholeNumbersOfBinaryUnits) {
  EXPECT_EQ(parse_size("0 B"), 0u);
  EXPECT_EQ(parse_size("512B"), 512u);
  EXPECT_EQ(parse_size("3 TiB"), 3_TiB);
  EXPECT_EQ(parse_size("18446744073709551615 B"), std::numeric_limits<std::size_t>::max());
  for (const char* wrong : {"", " ", "B", "1 kb", "1 gib", "+1 B", "1e3 B", "16777216 TiB", "1 GiB "})
    EXPECT_THROW((void)parse_size(wrong), std::invalid_argument) << "'" << wrong << "'";
}

}  // namespace
}  // namespace drought
