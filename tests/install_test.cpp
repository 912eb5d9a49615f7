// The installed package as another project meets it: installed into a folder, moved, and used by
// tests/example, which is configured, built and tested with an empty environment. Then its files are changed
// as a user would change them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "harness/device/child.hpp"
#include "harness/scenario/table.hpp"
#include "harness/sched/sanitizers.hpp"
#include "tests/folder.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

struct Said {
  int status = 0;
  std::string text;
};

/// A command as somebody would type it who has nothing but the system's programs.
Said shell(const std::string& command) {
  Child::Options options;
  options.program = "/usr/bin/env";
  options.arguments = {"-i", "PATH=/usr/bin:/bin", "/bin/sh", "-c", "exec 2>&1; " + command};
  options.limit_ms = 500'000;  // A compiler under a sanitizer's load, on a machine that builds beside it.
  const ChildEnd end = Child(options).finish();
  EXPECT_EQ(end.how, ChildEnd::How::exited) << end.text();
  return {end.number, end.record};
}

class Installed : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path build = fs::path(drought_binary()).parent_path();
    if (!fs::exists(build / "cmake_install.cmake"))
      GTEST_SKIP() << "the build folder is not here, so nothing can be installed from it";
    const Said said =
        shell(cmake() + " --install '" + build.string() + "' --prefix '" + path("staged") + "'");
    ASSERT_EQ(said.status, 0) << said.text;
    fs::rename(path("staged"), path("moved"));
  }

  std::string cmake() const { return "'" + cmake_command() + "'"; }
  std::string ctest(const std::string& build = "build") const {
    return "'" + (fs::path(cmake_command()).parent_path() / "ctest").string() + "' --test-dir '" +
           path(build) + "'";
  }
  std::string drought() const { return "'" + path("moved/bin/drought") + "'"; }
  std::string path(const std::string& name) const { return folder_.path(name); }

  void configure_the_example() {
    fs::copy(source_path("tests/example"), path("example"), fs::copy_options::recursive);
    const Said said =
        shell(cmake() + " -G '" + cmake_generator() + "' -S '" + path("example") + "' -B '" + path("build") +
              "' -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH='" + path("moved") + "'");
    ASSERT_EQ(said.status, 0) << said.text;
  }

  /// A project that finds the package and then says `lines`.
  Said configured_with(const std::string& lines) {
    fs::create_directory(path("project"));
    folder_.file(
        "project/CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES CXX)\nenable_testing()\n" + lines);
    return shell(cmake() + " -G '" + cmake_generator() + "' -S '" + path("project") + "' -B '" +
                 path("project/build") + "' -DCMAKE_PREFIX_PATH='" + path("moved") + "'");
  }

  /// Every test that ctest would run, by its name, with its properties and its "command".
  std::map<std::string, std::map<std::string, nlohmann::json>> listed_tests(
      const std::string& build = "build") {
    const Said said = shell(ctest(build) + " --show-only=json-v1");
    EXPECT_EQ(said.status, 0) << said.text;
    std::map<std::string, std::map<std::string, nlohmann::json>> tests;
    const auto listed = nlohmann::json::parse(said.text.substr(said.text.find('{')));
    for (const auto& test : listed.at("tests")) {
      auto& about = tests[test.at("name")];
      for (const auto& property : test.at("properties")) about[property.at("name")] = property.at("value");
      std::string command;
      for (const std::string word : test.value("command", nlohmann::json::array()))
        command += word.substr(word.rfind("/bin/") + 1) + " ";
      about["command"] = command;
    }
    return tests;
  }

  const Folder folder_;
};

TEST_F(Installed, NamesNoFolderOfTheMachineThatBuiltIt) {
  if (sanitizers::address || sanitizers::thread) GTEST_SKIP() << "a sanitizer notes where sources lie";
  std::size_t files = 0;
  const std::string build = fs::path(drought_binary()).parent_path().string();
  for (const auto& entry : fs::recursive_directory_iterator(path("moved"))) {
    if (!entry.is_regular_file()) continue;
    ++files;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    for (const std::string& folder :
         {build, source_path("harness"), path("staged"), std::string("/usr/lib/gcc")})
      EXPECT_EQ(bytes.find(folder), std::string::npos) << entry.path() << " names " << folder;
  }
  EXPECT_GT(files, 100u);
}

TEST_F(Installed, RunsScenariosThatAskForWhatLiesInsideTheExecutable) {
  const std::string pluggable = source_path("scenarios/allocators/shared_object_churn.toml");
  const std::string by_function =
      folder_.file("stack.toml",
                   "title = 'struck by the name of a function'\n[workload]\nkind = 'churn'\n[[fault]]\n"
                   "kind = 'out_of_memory'\nwhen = {site = 'cudaMalloc', stack = '*Churn::run', nth = "
                   "3}\n[expect]\noutcome = 'clean_error'\n");
  for (const std::string& scenario : {pluggable, by_function}) {
    const Said said = shell(drought() + " run '" + scenario + "'");
    EXPECT_EQ(said.status, 0) << said.text;
    EXPECT_THAT(said.text, HasSubstr("survived"));
  }
}

TEST_F(Installed, GivesAnotherProjectALayerForItsTestsAndItsScenariosAsTests) {
  ASSERT_NO_FATAL_FAILURE(configure_the_example());
  const Said built = shell(cmake() + " --build '" + path("build") + "'");
  ASSERT_EQ(built.status, 0) << built.text;
  EXPECT_THAT(built.text, Not(HasSubstr("warning: ")));

  const Said tested = shell(ctest() + " --output-on-failure");
  EXPECT_EQ(tested.status, 0) << tested.text;
  EXPECT_THAT(tested.text, HasSubstr("100% tests passed"));
  EXPECT_THAT(tested.text, testing::ContainsRegex("SlabPool.WithItsBugIsCaughtByTheSweep [.]+ +Passed"));

  const std::string test = "'" + path("build/slab_pool_test") + "' ";
  const Said failed = shell(test + "--gtest_also_run_disabled_tests --gtest_filter='*DISABLED_*'");
  EXPECT_EQ(failed.status, 1) << failed.text;
  std::smatch repeat;
  ASSERT_TRUE(std::regex_search(failed.text, repeat, std::regex("repeat: (DROUGHT_POINT=.*)")))
      << failed.text;
  const Said repeated = shell(repeat[1].str());
  EXPECT_EQ(repeated.status, 1) << repeated.text;
  EXPECT_THAT(repeated.text, HasSubstr(" 1 strikes, fails: "));
  EXPECT_THAT(repeated.text, HasSubstr(repeat[1].str()));
}

TEST_F(Installed, FindsScenariosThatAreAddedAndMistakesInThemWithoutANewConfiguration) {
  ASSERT_NO_FATAL_FAILURE(configure_the_example());
  auto tests = listed_tests();
  const std::string churn = "scenarios/churn_on_caching.toml";
  ASSERT_TRUE(tests.contains(churn) && tests.contains("cuda:" + churn));
  EXPECT_THAT(tests[churn]["LABELS"].dump(), testing::AllOf(HasSubstr("slab_pool"), Not(HasSubstr("gpu"))));
  EXPECT_THAT(tests["cuda:" + churn]["LABELS"].dump(), HasSubstr("gpu"));
  EXPECT_THAT(tests["cuda:" + churn]["RESOURCE_GROUPS"].dump(), HasSubstr("gpus"));
  EXPECT_EQ(tests["cuda:" + churn]["SKIP_RETURN_CODE"], 77);

  const std::string text = read_text_file(path("example/" + churn));
  folder_.file("example/scenarios/fails.toml", text + "\n[expect]\noutcome = 'fatal'\n");
  EXPECT_TRUE(listed_tests().contains("scenarios/fails.toml"));
  const Said failed = shell(ctest() + " --output-on-failure -R '^scenarios/fails'");
  EXPECT_NE(failed.status, 0);
  EXPECT_THAT(failed.text, HasSubstr("repeat: drought run scenarios/fails.toml"));

  folder_.file("example/scenarios/mistaken.toml", text + "\n[expect]\noutcomes = 'fatal'\n");
  const Said mistaken = shell(ctest() + " --output-on-failure -L scenario");
  EXPECT_NE(mistaken.status, 0);
  EXPECT_THAT(mistaken.text,
              testing::ContainsRegex("mistaken.toml:[0-9]+:1: unknown key 'outcomes'; known: outc"));
}

TEST_F(Installed, UnderstandsTheWordsOfGtestDiscoverTests) {
  fs::create_directories(path("project/scenarios"));
  for (const char* const name : {"kept one.toml", "kept_two.toml", "left_out.toml"})
    folder_.file("project/scenarios/" + std::string(name), "title = 't'\n[workload]\nkind = 'churn'\n");
  const Said said = configured_with(R"(
find_package(drought REQUIRED)
drought_discover_scenarios(scenarios TEST_PREFIX "mine/" TEST_SUFFIX "!" TEST_FILTER "*kept*" TEST_LIST kept
                           EXTRA_ARGS --seed 7
                           PROPERTIES TIMEOUT 30 LABELS "one;two" ENVIRONMENT "A=1;B=$<CONFIG>"
                                      RESOURCE_GROUPS "gpus:1,gpu_memory:40")
file(WRITE ${CMAKE_BINARY_DIR}/more.cmake "set_tests_properties(\${kept} PROPERTIES COST 5)\n")
set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_BINARY_DIR}/more.cmake)
drought_discover_scenarios("${CMAKE_CURRENT_SOURCE_DIR}/scenarios" TEST_FILTER "*left*"
                           WORKING_DIRECTORY ${CMAKE_BINARY_DIR}))");
  ASSERT_EQ(said.status, 0) << said.text;
  auto tests = listed_tests("project/build");
  ASSERT_EQ(tests.size(), 6u);
  auto& host = tests["mine/scenarios/kept one.toml!"];
  auto& gpu = tests["mine/cuda:scenarios/kept_two.toml!"];
  EXPECT_EQ(host["command"], "bin/drought run scenarios/kept one.toml --seed 7 ");
  EXPECT_EQ(gpu["command"], "bin/drought run scenarios/kept_two.toml --device cuda --seed 7 ");
  EXPECT_EQ(host["LABELS"], nlohmann::json({"one", "scenario", "two"}));
  EXPECT_EQ(gpu["LABELS"], nlohmann::json({"gpu", "one", "scenario", "two"}));
  EXPECT_FALSE(host.contains("RESOURCE_GROUPS"));
  EXPECT_THAT(gpu["RESOURCE_GROUPS"].dump(), HasSubstr("gpu_memory"));
  for (auto* const test : {&host, &gpu}) {
    EXPECT_EQ((*test)["TIMEOUT"], 30);
    EXPECT_EQ((*test)["COST"], 5) << "which was set for all of TEST_LIST";
    EXPECT_EQ((*test)["WORKING_DIRECTORY"], path("project"));
    EXPECT_EQ((*test)["ENVIRONMENT"], nlohmann::json({"A=1", "B="}));
  }
  auto& elsewhere = tests[path("project/scenarios/left_out.toml")];
  EXPECT_EQ(elsewhere["WORKING_DIRECTORY"], path("project/build"));
  EXPECT_FALSE(elsewhere.contains("COST"));
  const Said run = shell(ctest("project/build") + " -R kept -LE gpu");
  EXPECT_THAT(run.text, HasSubstr("100% tests passed, 0 tests failed out of 2"));
}

TEST_F(Installed, SharesOutTheGpusThatAResourceSpecificationNames) {
  ASSERT_NO_FATAL_FAILURE(configure_the_example());
  const auto tested_with = [&](const std::string& local) {
    const std::string file =
        folder_.file("gpus.json", R"({"version": {"major": 1, "minor": 0}, "local": [)" + local + "]}");
    return shell(ctest() + " -L gpu -j 4 --resource-spec-file '" + file + "'");
  };
  const Said none = tested_with("{}");
  EXPECT_NE(none.status, 0);
  EXPECT_THAT(none.text, HasSubstr("Test requested resources of type 'gpus' which does not exist"));
  const Said one = tested_with(R"({"gpus": [{"id": "0"}]})");
  EXPECT_EQ(one.status, 0) << one.text;
  EXPECT_THAT(one.text, HasSubstr("100% tests passed, 0 tests failed out of 3"));
  // What holds the one GPU has ended before the next begins, whatever -j says.
  EXPECT_THAT(one.text,
              testing::ContainsRegex("Start [0-9]+: cuda:[^\n]*\n1/3 [^\n]*\n +Start [0-9]+: cuda"));
}

TEST_F(Installed, TellsAProjectWhatItIsMissing) {
  EXPECT_EQ(configured_with("find_package(drought 0.1 REQUIRED)").status, 0);
  const Said newer = configured_with("find_package(drought 9.0 REQUIRED)");
  EXPECT_NE(newer.status, 0);
  EXPECT_THAT(newer.text, HasSubstr("requested version \"9.0\""));
  const Said folder = configured_with("find_package(drought REQUIRED)\ndrought_discover_scenarios(no_such)");
  EXPECT_NE(folder.status, 0);
  EXPECT_THAT(folder.text, HasSubstr("no_such: there is no such file or folder"));
  const Said odd = configured_with(
      "find_package(drought REQUIRED)\ndrought_discover_scenarios(CMakeLists.txt PROPERTIES TIMEOUT)");
  EXPECT_NE(odd.status, 0);
  EXPECT_THAT(odd.text, HasSubstr("PROPERTIES takes names and values in pairs"));
}

}  // namespace
}  // namespace drought
