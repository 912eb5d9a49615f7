// Every mistake in a scenario file is answered with its place, the wrong word and the known words,
// before anything runs.
#include "harness/scenario/scenario.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/scenario_text.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

struct Mistake {
  const char* name;
  const char* toml;   ///< After a first line with the title.
  const char* place;  ///< Line and column.
  std::vector<std::string> says;
};

// The first line of each file is the title, so what is written here begins in line 2.
const std::vector<Mistake> kMistakes = {
    {"UnknownKeyAtTheTop",
     "colour = 'red'\n[workload]\nkind = 'churn'",
     "2:1",
     {"'colour'", "known: title, guards"}},
    {"UnknownKeyOfTheDevice", "[device]\nprofil = 'h200'", "3:1", {"'profil'", "capacity_bytes"}},
    {"UnknownKeyOfTheWorkload",
     "[workload]\nkind = 'churn'\nallocation = 5",
     "4:1",
     {"'allocation'", "live_max"}},
    {"UnknownKeyOfAResource",
     "[[resource]]\nkind = 'bump'\nslab = 5\n[workload]\nkind = 'churn'",
     "",
     {"'slab'"}},
    {"UnknownKeyOfAFault",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'fragment'\nhole = 1",
     "6:1",
     {"'hole'", "hole_bytes, blocks_max"}},
    {"UnknownKeyOfATrigger",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {sit = 'x'}",
     "6:9",
     {"'sit'", "known: site, tag"}},
    {"UnknownKeyOfTheExpectation",
     "[workload]\nkind = 'churn'\n[expect]\noutcom = 'fatal'",
     "5:1",
     {"'outcom'", "known: outcome, message"}},
    {"UnknownKeyOfTheSweep",
     "[workload]\nkind = 'churn'\n[sweep]\npoints = 5",
     "5:1",
     {"'points'", "points_max"}},
    {"UnknownProfile", "[device]\nprofile = 'h300'", "3:11", {"'h300'", "known: h200, h100-80g"}},
    {"UnknownWork", "[device]\nwork = 'half'", "3:8", {"'half'", "known: full, shapes"}},
    {"UnknownLane", "[device]\nlanes = ['rocm']", "3:9", {"'rocm'", "known: host, cuda"}},
    {"UnknownWorkload", "[workload]\nkind = 'churm'", "3:8", {"'churm'", "known: churn"}},
    {"UnknownAllocator", "[[resource]]\nkind = 'malloc'", "3:8", {"'malloc'", "known: direct, bump"}},
    {"UnknownFault",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'gremlin'",
     "5:8",
     {"'gremlin'", "known: out_of_memory"}},
    {"UnknownOutcome",
     "[workload]\nkind = 'churn'\n[expect]\noutcome = 'fine'",
     "5:11",
     {"'fine'", "known: completed, clean_error, fatal"}},
    {"UnknownCheckThatCatches",
     "[workload]\nkind = 'churn'\n[expect]\ncaught_by = 'luck'",
     "5:13",
     {"'luck'", "accounting"}},
    {"UnknownCheckThatMustJudge",
     "[workload]\nkind = 'churn'\n[expect]\nchecks = ['luck']",
     "5:10",
     {"'luck'"}},
    {"MissingTitle", "", "1:1", {"needs a title"}},
    {"MissingWorkload", "[device]\nprofile = 'h200'", "1:1", {"needs a [workload]"}},
    {"MissingKindOfTheWorkload", "[workload]\nallocations = 5", "2:1", {"needs a kind", "known: churn"}},
    {"MissingKindOfAFault",
     "[workload]\nkind = 'churn'\n[[fault]]\nhole_bytes = 1",
     "4:1",
     {"needs a kind", "fragment"}},
    {"MissingKindOfAResource", "[[resource]]\nslab_bytes = 1", "2:1", {"needs a kind", "bump"}},
    {"WrongUnit", "[device]\ncapacity_bytes = '80 GB'", "3:18", {"'80 GB'", "unit 'GB'", "known: B, KiB"}},
    {"NoUnit", "[device]\ncapacity_bytes = '80'", "3:18", {"unit ''", "GiB"}},
    {"NoNumber", "[device]\ncapacity_bytes = 'lots'", "3:18", {"'lots'", "whole number and a unit"}},
    {"AccentedKey", "[device]\n\xC3\x99 = 1", "3:1", {""}},
    {"FractionOfAUnit", "[device]\ncapacity_bytes = '1.5 GiB'", "3:18", {"'1.5 GiB'"}},
    {"NegativeSizeAsText", "[device]\ncapacity_bytes = '-1 GiB'", "3:18", {"'-1 GiB'", "whole number"}},
    {"NegativeSize", "[device]\ncapacity_bytes = -1", "3:18", {"is -1", "outside 0"}},
    {"NegativeCount", "[workload]\nkind = 'churn'\nallocations = -5", "4:15", {"is -5", "outside 0"}},
    {"SizeThatOverflowsItsUnit",
     "[device]\ncapacity_bytes = '99999999999 TiB'",
     "3:18",
     {"does not fit 64 bits"}},
    {"SizeThatOverflowsItsNumber",
     "[device]\ncapacity_bytes = '99999999999999999999 B'",
     "3:18",
     {"does not fit 64 bits"}},
    {"SizeOverWhatTomlHolds", "[device]\ncapacity_bytes = '9000000000 GiB'", "3:18", {"over 8 EiB"}},
    {"IntegerThatOverflows", "[device]\ncapacity_bytes = 99999999999999999999", "3:", {}},
    {"IntegerOverItsType", "[device]\ncount = 5000000000", "3:9", {"5000000000", "outside"}},
    {"CapacityOfZero", "[device]\ncapacity_bytes = 0", "3:18", {"'capacity_bytes' is 0", "context"}},
    {"CapacityBelowTheContext", "[device]\ncapacity_bytes = '100 MiB'", "3:18", {"a context alone takes"}},
    {"CapacityOfNoDevice", "[device]\ncapacity_bytes = '17 TiB'", "3:18", {"over 16 TiB"}},
    {"NoDevices", "[device]\ncount = 0", "3:9", {"must be 1 to 64"}},
    {"StringForAnInteger",
     "[workload]\nkind = 'churn'\nallocations = 'many'",
     "4:15",
     {"an integer, not a string"}},
    {"IntegerForAString", "title_ = 1\n[workload]\nkind = 7", "", {}},
    {"KindThatIsNoString", "[workload]\nkind = 7", "3:8", {"a string, not an integer"}},
    {"NumberForAnInteger",
     "[workload]\nkind = 'churn'\nallocations = 1.5",
     "4:15",
     {"an integer, not a number"}},
    {"TableForAString", "[workload]\nkind = {a = 1}", "3:8", {"a string, not a table"}},
    {"StringForATable", "workload = 'churn'", "2:12", {"a table, not a string"}},
    {"StringForAnArray", "[device]\nlanes = 'host'", "3:9", {"an array, not a string"}},
    {"IntegerInAnArrayOfStrings", "[device]\nlanes = ['host', 3]", "3:18", {"a string, not an integer"}},
    {"IntegerForFaults", "fault = 3\n[workload]\nkind = 'churn'", "2:9", {"takes tables, not an integer"}},
    {"DateForAnything", "guards = 2024-01-01\n[workload]\nkind = 'churn'", "2:10", {"dates and times"}},
    {"ChanceThatIsNotFinite",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {chance = nan}",
     "6:18",
     {"finite"}},
    {"TriggerAtASiteTheFaultCannotStrike",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {site = 'cudaFree'}",
     "6:8",
     {"cannot strike at site 'cudaFree'", "it can at: cudaMalloc"}},
    {"TriggerAtASiteThatIsNot",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {site = 'cudaMaloc'}",
     "6:8",
     {"'cudaMaloc'"}},
    {"TriggerWithTwoCounts",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {nth = 1, every = 2}",
     "6:8",
     {"one of nth, from and every"}},
    {"TriggerWhoseSizesCross",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {bytes_min = 2, bytes_max = 1}",
     "6:8",
     {"can never strike"}},
    {"TriggerOfNoChance",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'out_of_memory'\nwhen = {chance = 0}",
     "6:8",
     {"chance above 0"}},
    {"ErrorThatTheCallDoesNotKnow",
     "[workload]\nkind = 'churn'\n[[fault]]\nkind = 'error_code'\nerror = 'cudaErrorNope'\nwhen = {nth = 1}",
     "",
     {"cudaErrorNope", "known"}},
    {"OptionsThatContradict",
     "[workload]\nkind = 'churn'\nbytes_min = 9\nbytes_max = 3",
     "2:1",
     {"bytes_min must be above 0 and at most bytes_max"}},
    {"MutantThatAlsoSaysAnOutcome",
     "[workload]\nkind = 'churn'\n[expect]\ncaught_by = 'accounting'\noutcome = 'fatal'",
     "6:11",
     {"a mutant says caught_by instead of outcome"}},
    {"AllocatorThatBorrowsFromTheDeviceAboveAnother",
     "[[resource]]\nkind = 'bump'\n[[resource]]\nkind = 'direct'\n[workload]\nkind = 'churn'",
     "5:8",
     {"'direct' borrows from the device, so it comes first"}},
    {"UnclosedString", "guards = 'open\n[workload]", "2:", {}},
    {"LoneBracket", "[", "2:", {}},
    {"LoneBracketAtTheEnd", "[workload]\nkind = 'churn'\n[", "4:", {}},
    {"UnclosedArray", "guards = [1, 2", "2:", {}},
    {"KeyGivenTwice", "[workload]\nkind = 'churn'\nkind = 'churn'", "4:", {}},
    {"KeyWithoutAValue", "guards =", "2:", {}},
    {"BytesThatAreNoText", "guards = '\xff\xfe'", "2:", {}},
};

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

INSTANTIATE_TEST_SUITE_P(Each, BadScenario, testing::ValuesIn(kMistakes),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ScenarioFile, ThatIsMissingOrAFolderIsNamed) {
  EXPECT_THAT([] { (void)read_text_file("no/such.toml"); },
              testing::ThrowsMessage<UserError>(HasSubstr("no/such.toml: cannot be read")));
  EXPECT_THAT([] { (void)read_text_file(source_path("tests")); },
              testing::ThrowsMessage<UserError>(HasSubstr("cannot be read")));
  EXPECT_THAT([] { (void)scenario_files({"no/such"}); },
              testing::ThrowsMessage<UserError>(HasSubstr("no/such: there is no such file or folder")));
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
