// The source tree as a test: who may include whom, how long a file may be, what no file may call, and
// that everything stands in its catalogue. Each rule is also asked of a text that breaks it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "harness/scenario/scenario.hpp"
#include "scenarios/catalogue.hpp"
#include "tests/named.hpp"
#include "tests/source_root.hpp"
#include "tests/source_tree.hpp"
#include "tests/tidy_bans.hpp"

namespace drought {
namespace {

using testing::IsEmpty;
using testing::Not;

using Rule = std::function<void(const Source&, std::vector<std::string>& complaints)>;

std::vector<std::string> complaints(const Rule& rule, const std::vector<Source>& of = sources()) {
  std::vector<std::string> all;
  for (const Source& source : of) rule(source, all);
  return all;
}

void include_direction(const Source& source, std::vector<std::string>& complaints) {
  static const std::map<std::string, std::set<std::string>> kAllowed{
      {"harness", {"harness"}},
      {"allocators", {"harness", "allocators"}},
      {"kernels", {"harness", "kernels"}},
      {"faults", {"harness", "faults"}},
      {"scenarios", {"harness", "allocators", "kernels", "faults", "scenarios"}},
      {"cli", {"harness", "allocators", "kernels", "faults", "scenarios", "cli"}},
      {"gtest", {"harness", "allocators", "kernels", "faults", "scenarios", "gtest"}},
      {"tests", {"harness", "allocators", "kernels", "faults", "scenarios", "gtest", "tests"}}};
  if (!source.is_cpp() || source.path.starts_with("tests/example/")) return;  // A project of its own.
  for (const auto& [line, included] : includes_of(source)) {
    const std::string layer = layer_of(source.path);
    if (!kAllowed.at(layer).contains(layer_of(included)))
      complaints.push_back(source.at(line) + ": " + layer + " must not include " + included);
  }
}

void cuda_headers(const Source& source, std::vector<std::string>& complaints) {
  static const std::regex kCuda(
      R"(#\s*include\s*[<"](cuda|cublas|nccl|mma|cooperative_groups|crt/|device_launch))");
  const std::string& path = source.path;
  if (!source.is_cpp() || path.starts_with("harness/device/cuda") || path.starts_with("harness/simt/") ||
      path.starts_with("kernels/") || path.starts_with("tests/number_"))
    return;
  for (std::size_t i = 0; i < source.lines.size(); ++i)
    if (std::regex_search(source.lines[i], kCuda))
      complaints.push_back(source.at(i) + ": a CUDA header outside the folders that may");
}

// Longer files, each with its reason.
const std::map<std::string, std::string> kLongFiles{
    {"harness/simt/host_block.cpp", "one block's threads, rendezvous and warps are one state"},
};

void file_length(const Source& source, std::vector<std::string>& complaints) {
  if (source.is_cpp() && source.lines.size() > 300 && !kLongFiles.contains(source.path))
    complaints.push_back(source.path + ": " + std::to_string(source.lines.size()) + " lines, over 300");
}

// Longer functions, each with its reason.
const std::map<std::string, std::string> kLongFunctions{
    {"harness/trace/pickle.cpp", "one case for each opcode"}};

void line_length(const Source& source, std::vector<std::string>& complaints) {
  if (!source.is_cpp()) return;
  for (std::size_t i = 0; i < source.lines.size(); ++i)
    if (width(source.lines[i]) > 110)
      complaints.push_back(source.at(i) + ": " + std::to_string(width(source.lines[i])) +
                           " columns, over 110");
}

// A function begins at a line that is not indented beyond two columns and ends in "{", and ends at the
// brace in its column: the layout that .clang-format gives.
void function_length(const Source& source, std::vector<std::string>& complaints) {
  static const std::regex kNoFunction(
      R"(^\s*(namespace|class|struct|enum|union|extern|INSTANTIATE|const|(static |inline )?const(expr)?)\b)");
  if (!source.is_cpp()) return;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    const std::size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos || indent > 2 || !line.ends_with("{") ||
        line.find('(') == std::string::npos || std::regex_search(line, kNoFunction))
      continue;
    std::size_t end = i + 1;
    while (end < source.lines.size() && !source.lines[end].starts_with(std::string(indent, ' ') + "}")) ++end;
    if (end - i + 1 > 70 && !kLongFunctions.contains(source.path))
      complaints.push_back(source.at(i) + ": a function of " + std::to_string(end - i + 1) +
                           " lines, over 70");
  }
}

void head_comment(const Source& source, std::vector<std::string>& complaints) {
  // A source file beside its header is explained there.
  const bool explained = source.path.ends_with(".cpp") &&
                         std::any_of(sources().begin(), sources().end(), [&](const Source& other) {
                           return other.path == source.path.substr(0, source.path.size() - 3) + "hpp";
                         });
  if (!source.is_cpp() || explained) return;
  if (source.lines.empty() || !source.lines[0].starts_with("// "))
    complaints.push_back(source.path + ": begins without saying what it is");
}

void banned_calls(const Source& source, std::vector<std::string>& complaints) {
  if (!source.is_cpp() || source.path.starts_with("tests/tidy_")) return;
  static const std::vector<std::regex> kPatterns = [] {
    std::vector<std::regex> patterns;
    for (const Ban& ban : bans()) patterns.emplace_back(ban.pattern, std::regex::optimize);
    return patterns;
  }();
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string code = code_of(source.lines[i]);
    for (std::size_t b = 0; b < kPatterns.size(); ++b) {
      const Ban& ban = bans()[b];
      const bool in_comments_too = std::string(ban.why) == "work left over";
      if (std::any_of(ban.allowed.begin(), ban.allowed.end(),
                      [&](const std::string& allowed) { return source.path.starts_with(allowed); }))
        continue;
      if (std::regex_search(in_comments_too ? source.lines[i] : code, kPatterns[b]))
        complaints.push_back(source.at(i) + ": " + ban.why);
    }
  }
}

void banned_file_names(const Source& source, std::vector<std::string>& complaints) {
  static const std::regex kBanned(R"((^|[_/.])(utils?|helpers?|common|manager|impl|misc)([_/.]|$))");
  static const std::regex kWanted(R"(^[a-z0-9_/.]+$)");
  if (std::regex_search(source.path, kBanned))
    complaints.push_back(source.path + ": a name that says nothing");
  if (!std::regex_match(source.path, kWanted) && !source.path.ends_with("CMakeLists.txt"))
    complaints.push_back(source.path + ": not in snake_case");
}

/// Whether a header declares a part that a catalogue must list: a class over one of the bases.
void listed_in_catalogue(const Source& source, std::vector<std::string>& complaints) {
  struct Shelf {
    const char* folder;
    const char* base;
    std::vector<std::string> catalogues;
  };
  static const std::vector<Shelf> kShelves{
      {"allocators/", ": public Resource", {"allocators/catalogue.cpp"}},
      {"faults/", ": public Fault", {"faults/catalogue.cpp"}},
      {"scenarios/", ": public Workload", {"scenarios/catalogue.cpp"}},
      {"kernels/", ": public Kernel", {"kernels/catalogue.cpp"}},
  };
  static const std::regex kClass(R"(^class (\w+).*$)");
  if (!source.path.ends_with(".hpp")) return;
  for (const Shelf& shelf : kShelves) {
    if (!source.path.starts_with(shelf.folder)) continue;
    for (const std::string& line : source.lines) {
      std::smatch match;
      if (!std::regex_match(line, match, kClass) || line.find(shelf.base) == std::string::npos) continue;
      for (const std::string& catalogue : shelf.catalogues) {
        const bool listed = std::any_of(sources().begin(), sources().end(), [&](const Source& other) {
          if (other.path != catalogue) return false;
          const auto included = includes_of(other);
          return std::any_of(included.begin(), included.end(),
                             [&](const auto& include) { return include.second == source.path; });
        });
        if (!listed) complaints.push_back(source.path + ": " + match[1].str() + " is not in " + catalogue);
      }
    }
  }
}

TEST(Tidy, SeesTheSources) { EXPECT_GT(sources().size(), 100u); }

using Judge = void (*)(const Source&, std::vector<std::string>&);

struct NamedRule {
  const char* name;
  Judge judge;
};

constexpr NamedRule kRules[] = {
    {"IncludesGoOneWay", include_direction},
    {"CudaHeadersStayInTheirFolders", cuda_headers},
    {"FilesStayWithin300Lines", file_length},
    {"LinesStayWithin110Columns", line_length},
    {"FunctionsStayWithin70Lines", function_length},
    {"FilesSayWhatTheyAre", head_comment},
    {"NothingBannedIsCalledOrNamed", banned_calls},
    {"FileNamesSaySomething", banned_file_names},
    {"EverythingIsInItsCatalogue", listed_in_catalogue},
};

struct BrokenSource {
  const char* name;
  Judge judge;
  const char* path;
  const char* text;
};

std::string long_function() {
  std::string text = "// x\nvoid f() {\n";
  for (int i = 0; i < 70; ++i) text += "  g();\n";
  return text + "}\n";
}

const std::string kLongFile(301, '\n'), kLongLine = "// x\n" + std::string(111, 'x'),
                                        kLongFunction = long_function();

const std::vector<BrokenSource> kBroken{
    {"IncludesGoOneWay", include_direction, "harness/memory/x.hpp", "#include \"allocators/bump.hpp\""},
    {"IncludesNeverGoSideways", include_direction, "faults/x.hpp", "#include \"allocators/bump.hpp\""},
    {"TheCoreNeverIncludesTheCommandLine", include_direction, "harness/sweep/x.cpp",
     "#include \"harness/cli/commands.hpp\""},
    {"TheCoreIncludesNoTests", include_direction, "harness/x.cpp", "#include \"harness/gtest/x.hpp\""},
    {"CudaHeadersStayInTheirFolders", cuda_headers, "allocators/x.hpp",
     "#include <"
     "cuda_runtime.h>"},
    {"FilesStayUnder300Lines", file_length, "harness/x.cpp", kLongFile.c_str()},
    {"LinesStayWithin110Columns", line_length, "harness/x.cpp", kLongLine.c_str()},
    {"FunctionsStayUnder70Lines", function_length, "harness/x.cpp", kLongFunction.c_str()},
    {"FilesSayWhatTheyAre", head_comment, "harness/x.hpp", "#pragma once"},
    {"NothingDrawsWithoutASeed", banned_calls, "harness/x.cpp", "int x = rand();"},
    {"NothingReadsTheWallClock", banned_calls, "harness/x.cpp", "auto t = std::chrono::system_clock::now();"},
    {"NothingReadsAnyClockButWhereItIsAllowed", banned_calls, "faults/x.hpp", "steady_clock::now();"},
    {"NothingSleeps", banned_calls, "tests/x.cpp", "std::this_thread::sleep_for(1ms);"},
    {"NothingStartsAThread", banned_calls, "harness/x.cpp", "std::thread worker([] {});"},
    {"NothingIsLeftToDo", banned_calls, "harness/x.cpp", "// TODO later"},
    {"ClassNamesSaySomething", banned_calls, "harness/x.hpp", "class BlockManager {"},
    {"FunctionNamesSaySomething", banned_calls, "harness/x.hpp", "void alloc_helper(int x);"},
    {"FileNamesSaySomething", banned_file_names, "harness/memory/utils.hpp", ""},
    {"FileNamesAreSnakeCase", banned_file_names, "harness/memory/LedgerView.hpp", ""},
    {"EverythingIsInItsCatalogue", listed_in_catalogue, "faults/x.hpp", "class X final : public Fault {"},
};

class TidyRule : public testing::TestWithParam<NamedRule> {};
TEST_P(TidyRule, HoldsEverywhere) { EXPECT_THAT(complaints(GetParam().judge), IsEmpty()); }
INSTANTIATE_TEST_SUITE_P(Each, TidyRule, testing::ValuesIn(kRules), by_name);

class TidyCanary : public testing::TestWithParam<BrokenSource> {};
TEST_P(TidyCanary, IsNoticed) {
  EXPECT_THAT(complaints(GetParam().judge, {made_up(GetParam().path, GetParam().text)}), Not(IsEmpty()));
}
INSTANTIATE_TEST_SUITE_P(Each, TidyCanary, testing::ValuesIn(kBroken), by_name);

TEST(Tidy, HasACanaryForEachOfItsRules) {
  for (const NamedRule& rule : kRules)
    EXPECT_TRUE(std::any_of(kBroken.begin(), kBroken.end(), [&](const BrokenSource& broken) {
      return broken.judge == rule.judge;
    })) << rule.name;
}

TEST(Tidy, HasNoExceptionForAFileThatIsNotLongOrNotThere) {
  for (const auto& exception : kLongFiles) {
    const std::string& path = exception.first;
    const auto found = std::find_if(sources().begin(), sources().end(),
                                    [&](const Source& source) { return source.path == path; });
    ASSERT_NE(found, sources().end()) << path;
    EXPECT_GT(found->lines.size(), 300u) << path;
    EXPECT_FALSE(exception.second.empty());
  }
}

TEST(Tidy, FindsATitleAndAGuardInEveryScenario) {
  for (const std::string& file : scenario_files({source_path("scenarios")})) {
    const Scenario scenario = load_scenario(file, all_catalogues());
    EXPECT_GE(scenario.title.size(), 20u) << file << ": a title is a claim";
    EXPECT_GE(scenario.guards.size(), 10u) << file << ": guards names the event";
  }
}

TEST(Tidy, FindsEveryNameInACatalogueOnceWithASummary) {
  std::set<std::string> names;
  const auto look = [&](const auto& entries, const std::string& what) {
    for (const auto& entry : entries) {
      EXPECT_TRUE(names.insert(what + " " + std::string(entry.name)).second) << what << " " << entry.name;
      EXPECT_GE(entry.summary.size(), 10u) << what << " " << entry.name;
    }
  };
  const Catalogues& all = all_catalogues();
  look(all.allocators, "allocator");
  look(all.faults, "fault");
  look(all.kernels, "kernel");
  look(all.workloads, "workload");
  look(all.checks, "check");
}

}  // namespace
}  // namespace drought
