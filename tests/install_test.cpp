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
  std::string ctest() const {
    return "'" + (fs::path(cmake_command()).parent_path() / "ctest").string() + "' --test-dir '" +
           path("build") + "'";
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

  /// Every test that ctest would run, by its name, with its properties.
  std::map<std::string, std::map<std::string, nlohmann::json>> listed_tests() {
    const Said said = shell(ctest() + " --show-only=json-v1");
    EXPECT_EQ(said.status, 0) << said.text;
    std::map<std::string, std::map<std::string, nlohmann::json>> tests;
    const auto listed = nlohmann::json::parse(said.text.substr(said.text.find('{')));
    for (const auto& test : listed.at("tests"))
      for (const auto& property : test.at("properties"))
        tests[test.at("name")][property.at("name")] = property.at("value");
    return tests;
  }

  const Folder folder_;
};

TEST_F(Installed, NamesNoFolderOfTheMachineThatBuiltIt) {
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

TEST_F(Installed, TellsAProjectWhatItIsMissing) {
  const auto configured_with = [&](const std::string& line) {
    folder_.file("project/CMakeLists.txt",
                 "cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES CXX)\n" + line);
    return shell(cmake() + " -G '" + cmake_generator() + "' -S '" + path("project") + "' -B '" +
                 path("project/build") + "' -DCMAKE_PREFIX_PATH='" + path("moved") + "'");
  };
  fs::create_directory(path("project"));
  EXPECT_EQ(configured_with("find_package(drought 0.1 REQUIRED)").status, 0);
  const Said newer = configured_with("find_package(drought 9.0 REQUIRED)");
  EXPECT_NE(newer.status, 0);
  EXPECT_THAT(newer.text, HasSubstr("requested version \"9.0\""));
  const Said folder = configured_with("find_package(drought REQUIRED)\ndrought_discover_scenarios(no_such)");
  EXPECT_NE(folder.status, 0);
  EXPECT_THAT(folder.text, HasSubstr("no_such: there is no such file or folder"));
}

}  // namespace
}  // namespace drought
