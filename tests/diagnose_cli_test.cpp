// `drought diagnose` and `drought list reports` as a script meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/device/child.hpp"
#include "tests/folder.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

constexpr const char* kLog =
    "INFO starting\nCUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.65 GiB total capacity; 12.10 "
    "GiB "
    "already allocated; 1.25 GiB free; 21.90 GiB reserved in total by PyTorch)\n";

class DiagnoseCli : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path(name); }
  std::string file(const std::string& name, const std::string& text) const {
    return folder_.file(name, text);
  }
  /// The exit code; the output is in output_.
  int run(const std::string& arguments) {
    Child::Options options;
    options.program = "/bin/sh";
    options.arguments = {
        "-c", "cd '" + source_path("") + "' && exec '" + drought_binary() + "' " + arguments + " 2>&1"};
    const ChildEnd end = Child(options).finish();
    output_ = end.record;
    EXPECT_EQ(end.how, ChildEnd::How::exited) << end.text() << output_;
    return end.number;
  }

  Folder folder_;
  std::string output_;
};

TEST_F(DiagnoseCli, SaysTheKindTheNumbersAndWhereEachStands) {
  const std::string log = file("oom.log", kLog);
  EXPECT_EQ(run("diagnose " + log), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("fragmentation: 9.80 GiB are idle"));
  EXPECT_THAT(output_, HasSubstr(log + ":2"));
  EXPECT_THAT(output_, HasSubstr("rule in_pieces"));
}

TEST_F(DiagnoseCli, WritesAScenarioThatRunsToTheSame) {
  const std::string scenario = path("again.toml");
  ASSERT_EQ(run("diagnose " + file("oom.log", kLog) + " --write " + scenario), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("which comes to fragmentation: survived"));
  EXPECT_EQ(run("run " + scenario), 0) << output_;
}

TEST_F(DiagnoseCli, WritesOneObjectWithTheFigures) {
  const std::string out = path("out.json");
  ASSERT_EQ(run("diagnose " + file("oom.log", kLog) + " --json " + out), 0) << output_;
  std::ifstream in(out);
  const nlohmann::json report = nlohmann::json::parse(in);
  EXPECT_EQ(report.at("command"), "diagnose");
  const auto& result = report.at("results").at(0);
  EXPECT_EQ(result.at("diagnosis"), "fragmentation");
  EXPECT_EQ(result.at("figures").at("requested").at("value"), 2147483648);
  EXPECT_EQ(result.at("figures").at("requested").at("line"), 2);
}

TEST_F(DiagnoseCli, ReadsTheReportOfARunOfItsOwn) {
  const std::string out = path("run.json");
  ASSERT_EQ(run("run scenarios/reports/oom_01_one_megabyte_short.toml --json " + out), 0) << output_;
  EXPECT_EQ(run("diagnose " + out), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("capacity: 119.22 MiB of 37.47 GiB are not lent"));
}

TEST_F(DiagnoseCli, ReadsASnapshot) {
  EXPECT_EQ(run("diagnose tests/data/frag_oom.pickle"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("fragmentation: "));
}

TEST_F(DiagnoseCli, AnswersTwoAndOneLineToWhatTellsNothing) {
  EXPECT_EQ(run("diagnose no/such.log"), 2);
  EXPECT_THAT(output_, HasSubstr("no/such.log: cannot be read"));
  EXPECT_EQ(run("diagnose " + file("empty.log", "")), 2);
  EXPECT_EQ(run("diagnose " + file("calm.log", "one\ntwo\n")), 2);
  EXPECT_THAT(output_, HasSubstr("calm.log:2:1: no out of memory in any known wording"));
  EXPECT_EQ(run("diagnose " + file("cut.pickle", std::string("\x80\x04}", 3))), 2);
  EXPECT_EQ(std::count(output_.begin(), output_.end(), '\n'), 1) << output_;
}

TEST_F(DiagnoseCli, AnswersOneWhereNothingCouldBeWritten) {
  const std::string log = file("oom.log", "CUDA out of memory. Tried to allocate 2.00 GiB\n");
  EXPECT_EQ(run("diagnose " + log), 0) << "that the numbers do not decide is an answer";
  EXPECT_EQ(run("diagnose " + log + " --write " + path("x.toml")), 1);
  EXPECT_FALSE(std::filesystem::exists(path("x.toml")));
}

TEST_F(DiagnoseCli, ListsEveryReportWithItsClassAndItsScenario) {
  EXPECT_EQ(run("list reports"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("OOM-01"));
  EXPECT_THAT(output_, HasSubstr("capacity, numeric: scenarios/reports/oom_01_one_megabyte_short.toml"));
  EXPECT_GE(std::count(output_.begin(), output_.end(), '\n'), 49);
}

}  // namespace
}  // namespace drought
