// What `drought` answers to a script: 0 all as expected, 1 something failed, 2 the user's mistake with one
// line that says where and what, 77 nothing ran.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/device/child.hpp"
#include "tests/folder.hpp"
#include "tests/named.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

/// Runs `drought` through a shell that puts its standard error into the record.
ChildEnd drought(const std::string& arguments) {
  Child::Options options;
  options.program = "/bin/sh";
  options.arguments = {"-c", "exec '" + drought_binary() + "' " + arguments + " 2>&1"};
  return Child(options).finish();
}

constexpr const char* kGood =
    "title = 'good'\n[device]\nprofile = 'h100-80g'\n[workload]\nkind = 'churn'\nallocations = 5\n";
constexpr const char* kCudaOnly =
    "title = 'cuda'\n[device]\nlanes = ['cuda']\n[workload]\nkind = 'churn'\nallocations = 5\n";

const std::string kStacks = source_path("tests/data/stacks.pickle");

class Cli : public testing::Test {
 protected:
  /// The exit code; the output is in output_.
  int run(const std::string& arguments) {
    const ChildEnd end = drought(arguments);
    output_ = end.record;
    EXPECT_EQ(end.how, ChildEnd::How::exited) << end.text() << "\n" << output_;
    return end.number;
  }
  nlohmann::json json(const std::string& file) const {
    std::ifstream in(file);
    return nlohmann::json::parse(in);
  }

  Folder folder_;
  std::string output_;
};

TEST_F(Cli, AnswersZeroWithALineForEachScenarioAndATable) {
  const std::string file = folder_.file("good.toml", kGood);
  EXPECT_EQ(run("run " + file), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("survived      " + file));
  EXPECT_THAT(output_, HasSubstr("verdict"));
}

TEST_F(Cli, AnswersOneAndHowToRepeatItWhenAScenarioFails) {
  const std::string file = folder_.file("bad.toml", std::string(kGood) + "[expect]\noutcome = 'fatal'\n");
  EXPECT_EQ(run("run " + file), 1) << output_;
  EXPECT_THAT(output_, HasSubstr("repeat: drought run " + file));
}

TEST_F(Cli, PrintsASeedOtherThanTheFirstInTheCommandThatRepeats) {
  const std::string file = folder_.file("bad.toml", std::string(kGood) + "[expect]\noutcome = 'fatal'\n");
  EXPECT_EQ(run("run --seed 7 " + file), 1);
  EXPECT_THAT(output_, HasSubstr("repeat: drought run " + file + " --seed 7"));
}

TEST_F(Cli, AnswersSeventySevenWhenNothingRan) {
  const std::string file = folder_.file("cuda.toml", kCudaOnly);
  EXPECT_EQ(run("run " + file), 77) << output_;
  EXPECT_THAT(output_, HasSubstr("skipped"));
  EXPECT_EQ(run("run --filter 'no*such' " + file), 77) << output_;
  EXPECT_EQ(run("sweep " + file), 77) << output_;
}

struct WrongWord {
  const char* name;
  const char* arguments;  ///< FILE stands for a scenario that is in order, TRACE for a snapshot.
  const char* says;
};

void PrintTo(const WrongWord& word, std::ostream* out) { *out << word.name; }

class CliMistake : public Cli, public testing::WithParamInterface<WrongWord> {};

TEST_P(CliMistake, IsAnsweredWithTwoAndOneLine) {
  std::string arguments = GetParam().arguments;
  if (const auto at = arguments.find("FILE"); at != std::string::npos)
    arguments.replace(at, 4, folder_.file("good.toml", kGood));
  for (auto at = arguments.find("TRACE"); at != std::string::npos; at = arguments.find("TRACE"))
    arguments.replace(at, 5, kStacks);
  EXPECT_EQ(run(arguments), 2) << output_;
  EXPECT_THAT(output_, HasSubstr(GetParam().says));
  EXPECT_THAT(output_, testing::ContainsRegex("(^|\n)drought: [^\n]*\n$")) << "one line, the last";
}

INSTANTIATE_TEST_SUITE_P(
    Each, CliMistake,
    testing::Values(
        WrongWord{"NoCommand", "", "subcommand"},
        WrongWord{"UnknownCommand", "rum FILE", "unknown command 'rum'; known: run, sweep"},
        WrongWord{"UnknownOption", "run FILE --sede 3", "--sede"},
        WrongWord{"OptionThatHoldsALineBreak", "run FILE '--se\nde'", "--se\\nde"},
        WrongWord{"SeedThatIsNoNumber", "run FILE --seed many", "many"},
        WrongWord{"NegativeSeed", "run FILE --seed -1", "seed"},
        WrongWord{"UnknownDevice", "run FILE --device tpu", "unknown device 'tpu'; known: host, cuda"},
        WrongWord{"NoPath", "run", "paths"},
        WrongWord{"MissingFile", "run no/such.toml", "no/such.toml: there is no such file or folder"},
        WrongWord{"UnknownFault", "sweep FILE --fault gremlin", "'gremlin'; known: out_of_memory"},
        WrongWord{"UnknownSite", "sweep FILE --site cudaMaloc", "'cudaMaloc'; known: cudaMalloc"},
        WrongWord{"ReplayOfNoTrace", "replay FILE", "offset 0: no known kind of trace; known: a pickle of"},
        WrongWord{"ReplayOfNoFile", "replay no/such", "no/such: cannot be opened"},
        WrongWord{"ReplayThroughUnknownAllocator", "replay FILE --allocator malloc",
                  "unknown allocator 'malloc'; known: direct"},
        WrongWord{"CapacityThatIsNoSize", "replay FILE --capacity 1.5.2GiB", "--capacity: size '1.5.2GiB'"},
        WrongWord{"CapacityInAnUnknownUnit", "replay FILE --capacity 1.5GB", "known: B, KiB, MiB"},
        WrongWord{"CapacityOfNothing", "replay FILE --capacity 0GiB", "outside 1 B to 64 TiB"},
        WrongWord{"SettingWithoutAValue", "replay FILE --set slab_bytes", "'slab_bytes' is not key=value"},
        WrongWord{"SettingThatIsNoToml", "replay FILE --set slab_bytes=[1", "--set:1:"},
        WrongWord{"UnknownSetting", "replay TRACE --allocator bump --set a=1 --set slap_bytes=1GiB",
                  "--set:1:1: unknown key 'a'; known: slab_bytes"},
        WrongWord{"TwoTracesIntoOneFile", "replay TRACE TRACE --write-snapshot /tmp/x", "there are 2"},
        WrongWord{"SnapshotThatCannotBeWritten", "replay TRACE --write-snapshot /no/such/folder/x",
                  "/no/such/folder/x: cannot be written"},
        WrongWord{"UnknownList", "list alocators", "'alocators'; known: devices, allocators"},
        WrongWord{"ReportThatCannotBeWritten", "list devices --json /no/such/folder/x.json",
                  "/no/such/folder/x.json: cannot be written"},
        WrongWord{"JUnitThatCannotBeWritten", "run FILE --junit /no/such/folder/x.xml",
                  "/no/such/folder/x.xml: cannot be written"}),
    by_name);

TEST_F(Cli, AnswersTwoWithThePlaceOfAMistakeInAFileBeforeAnyOtherRuns) {
  folder_.file("a.toml", kGood);
  const std::string bad = folder_.file("b.toml", "title = 'b'\n[workload]\nkind = 'churm'\n");
  EXPECT_EQ(run("run " + folder_.path()), 2);
  EXPECT_THAT(output_, HasSubstr(bad + ":3:8: unknown workload 'churm'; known: churn"));
  EXPECT_THAT(output_, testing::Not(HasSubstr("survived")));
}

TEST_F(Cli, AnswersTwoToALoneBracketWhateverTheBuild) {
  EXPECT_EQ(run("run " + folder_.file("lone.toml", "[")), 2) << output_;
  EXPECT_THAT(output_, HasSubstr("lone.toml:1:"));
}

TEST_F(Cli, WritesOneObjectWithTheDocumentedKeysForARun) {
  const std::string file = folder_.file("good.toml", kGood), out = folder_.path("out.json");
  ASSERT_EQ(run("run " + file + " --seed 5 --json " + out), 0) << output_;
  const nlohmann::json report = json(out);
  EXPECT_EQ(report.at("command"), "run");
  EXPECT_EQ(report.at("seed"), 5);
  ASSERT_EQ(report.at("results").size(), 1u);
  const auto& result = report.at("results")[0];
  for (const char* key : {"scenario", "verdict", "checks", "faults", "attempts", "peak_bytes", "live_bytes",
                          "wall_ms", "repeat"})
    EXPECT_TRUE(result.contains(key)) << key;
  EXPECT_EQ(result.at("verdict"), "survived");
  EXPECT_GT(result.at("peak_bytes"), 0);
}

TEST_F(Cli, WritesTheSameBytesForTwoRunsWithOneSeedTimesAside) {
  const std::string file = folder_.file("good.toml", kGood), out = folder_.path("out.json");
  nlohmann::json reports[2];
  for (auto& report : reports) {
    ASSERT_EQ(run("run " + file + " --json " + out), 0) << output_;
    report = json(out);
    for (auto& result : report.at("results")) result.erase("wall_ms");
  }
  EXPECT_EQ(reports[0].dump(), reports[1].dump());
}

TEST_F(Cli, SweepsEveryPointAndWritesItsCounts) {
  const std::string file = folder_.file("good.toml", kGood), out = folder_.path("out.json");
  ASSERT_EQ(run("sweep --all --site allocate " + file + " --json " + out), 0) << output_;
  const auto result = json(out).at("results").at(0);
  EXPECT_EQ(result.at("points"), 5);
  EXPECT_EQ(result.at("struck"), result.at("points").get<int>() * 2);
  EXPECT_TRUE(result.at("failures").empty());
}

TEST_F(Cli, TellsSweepOptionsThatContradictEachOther) {
  const std::string file = folder_.file("good.toml", kGood);
  const std::pair<const char*, const char*> mistakes[] = {
      {"--shard 6/5", "--shard takes part/parts such as 2/5, not '6/5'"},
      {"--shard 1", "not '1'"},
      {"--pairs --forever", "--pairs strikes each call once"},
      {"--second 3", "--second is the second call of --pairs"}};
  for (const auto& [options, says] : mistakes) {
    EXPECT_EQ(run("sweep " + file + " " + options), 2) << options;
    EXPECT_THAT(output_, HasSubstr(says));
  }
}

TEST_F(Cli, ReplaysDecisionForDecisionOrAsksWhatIf) {
  const std::string out = folder_.path("out.json");
  ASSERT_EQ(run("replay " + kStacks + " --json " + out), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("0 differences"));
  EXPECT_GT(json(out).at("results").at(0).at("compared"), 200);
  ASSERT_EQ(run("replay " + kStacks + " --allocator direct --find-capacity --json " + out), 0) << output_;
  const auto result = json(out).at("results").at(0);
  EXPECT_EQ(result.at("compared"), 0);
  EXPECT_TRUE(result.at("differences").is_null());
  EXPECT_EQ(result.at("fits"), true);
  EXPECT_TRUE(result.at("first_refusal").is_null());
  EXPECT_GE(result.at("least_capacity_bytes"), result.at("peak_live_bytes"));
  for (const char* key : {"peak", "driver_calls", "granularity_bytes", "capacity_bytes", "allocator"})
    EXPECT_TRUE(result.contains(key)) << key;
}

TEST_F(Cli, AnswersOneWhenATraceDoesNotFitTheCapacityAndSaysWhere) {
  const std::string out = folder_.path("out.json");
  EXPECT_EQ(run("replay " + kStacks + " --capacity 62.5MiB --json " + out), 1) << output_;
  EXPECT_THAT(output_, HasSubstr("does not fit"));
  const auto result = json(out).at("results").at(0);
  EXPECT_EQ(result.at("capacity_bytes"), 125 << 19);
  for (const char* key :
       {"event", "request_bytes", "free_bytes", "idle_bytes", "largest_hole_bytes", "shortage"})
    EXPECT_TRUE(result.at("first_refusal").contains(key)) << key;
}

TEST_F(Cli, AsksWhatIfUnderTheSettingsThatTheTraceWasRecordedWith) {
  const std::string out = folder_.path("out.json"), trace = source_path("tests/data/expandable.pickle");
  ASSERT_EQ(run("replay " + trace + " --capacity 100GiB --json " + out), 0) << output_;
  EXPECT_TRUE(json(out).at("results").at(0).at("driver_calls").contains("cuMemMap"));
  ASSERT_EQ(run("replay " + trace + " --set conf=expandable_segments:False --json " + out), 0) << output_;
  EXPECT_FALSE(json(out).at("results").at(0).at("driver_calls").contains("cuMemMap"));
}

TEST_F(Cli, WritesWhatAnAllocatorDidAsASnapshotAndATimeline) {
  const std::string snapshot = folder_.path("s.pickle"), chrome = folder_.path("c.json");
  ASSERT_EQ(run("replay " + kStacks + " --allocator bump --set slab_bytes=1GiB --write-snapshot " + snapshot +
                " --write-chrome " + chrome),
            0)
      << output_;
  EXPECT_TRUE(json(chrome).contains("traceEvents"));
  ASSERT_EQ(run("replay " + snapshot + " --allocator direct"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("peak live 74.07 MiB"));
}

TEST_F(Cli, ListsWhatThereIsALineEach) {
  for (const char* what : {"devices", "allocators", "faults", "workloads", "checks"}) {
    EXPECT_EQ(run(std::string("list ") + what), 0) << what << ": " << output_;
    EXPECT_GE(std::count(output_.begin(), output_.end(), '\n'), 2) << what;
  }
  EXPECT_EQ(run("list scenarios --in " + source_path("scenarios")), 0) << output_;
}

TEST_F(Cli, ListsTheLanesOfEachScenarioInItsJson) {
  folder_.file("a.toml", kGood);
  folder_.file("b.toml", kCudaOnly);
  const std::string out = folder_.path("out.json");
  ASSERT_EQ(run("list scenarios --in " + folder_.path() + " --json " + out), 0) << output_;
  EXPECT_EQ(json(out).at("results").at(0).at("lanes"), (std::vector<std::string>{"host", "cuda"}));
  EXPECT_EQ(json(out).at("results").at(1).at("lanes"), std::vector<std::string>{"cuda"});
}

TEST_F(Cli, AnswersZeroToHelpAndVersion) {
  EXPECT_EQ(run("--help"), 0);
  EXPECT_THAT(output_, HasSubstr("sweep"));
  EXPECT_EQ(run("--version"), 0);
}

}  // namespace
}  // namespace drought
