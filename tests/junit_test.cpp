// JUnit's XML, read back by expat: well-formed whatever the texts hold, and every text as it was.
#include "harness/report/junit.hpp"

#include <expat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "harness/device/child.hpp"
#include "harness/scenario/table.hpp"
#include "tests/folder.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

struct Element {
  std::string name, text;
  std::map<std::string, std::string> attributes;
};

/// Every element of a document in the order of its start tags. Fails the test for what is not well-formed.
std::vector<Element> elements_of(const std::string& xml) {
  struct Reader {
    std::vector<Element> seen;
    std::vector<std::size_t> open;
  } reader;
  XML_Parser parser = XML_ParserCreate(nullptr);
  XML_SetUserData(parser, &reader);
  XML_SetElementHandler(
      parser,
      [](void* data, const char* name, const char** attributes) {
        Reader& to = *static_cast<Reader*>(data);
        to.open.push_back(to.seen.size());
        to.seen.push_back({name, "", {}});
        for (; *attributes; attributes += 2) to.seen.back().attributes[attributes[0]] = attributes[1];
      },
      [](void* data, const char*) { static_cast<Reader*>(data)->open.pop_back(); });
  XML_SetCharacterDataHandler(parser, [](void* data, const char* text, int length) {
    Reader& to = *static_cast<Reader*>(data);
    to.seen[to.open.back()].text.append(text, static_cast<std::size_t>(length));
  });
  EXPECT_EQ(XML_Parse(parser, xml.data(), static_cast<int>(xml.size()), 1), XML_STATUS_OK)
      << XML_ErrorString(XML_GetErrorCode(parser)) << " at line " << XML_GetCurrentLineNumber(parser)
      << " of\n"
      << xml;
  XML_ParserFree(parser);
  return reader.seen;
}

JUnitCase failed(const std::string& message) {
  JUnitCase one;
  one.name = "a.toml";
  one.end = JUnitCase::End::failed;
  one.kind = "leaked";
  one.message = message;
  one.repeat = "drought run a.toml";
  return one;
}

std::string message_read_back(const std::string& message) {
  const std::vector<JUnitCase> cases{failed(message)};
  const auto read = elements_of(junit_text("suite", cases));
  EXPECT_EQ(read.size(), 3u);
  return read.size() == 3 ? read[2].attributes.at("message") : "";
}

TEST(JUnit, CountsAndTellsApartWhatPassedFailedAndWasSkipped) {
  JUnitCase passed, skipped;
  passed.name = "p";
  passed.wall_ms = 1250;
  skipped.end = JUnitCase::End::skipped;
  skipped.message = "cuda lane only";
  const std::vector<JUnitCase> cases{passed, failed("two blocks live"), skipped, passed};
  const auto read = elements_of(junit_text("drought run", cases));
  ASSERT_EQ(read.size(), 7u);
  EXPECT_EQ(read[0].name, "testsuite");
  EXPECT_THAT(
      read[0].attributes,
      testing::IsSupersetOf(std::map<std::string, std::string>{
          {"name", "drought run"}, {"tests", "4"}, {"failures", "1"}, {"skipped", "1"}, {"time", "2.500"}}));
  EXPECT_EQ(read[1].attributes.at("time"), "1.250");
  EXPECT_EQ(read[3].name, "failure");
  EXPECT_EQ(read[3].attributes.at("type"), "leaked");
  EXPECT_EQ(read[3].text, "two blocks live\nrepeat: drought run a.toml");
  EXPECT_EQ(read[5].name, "skipped");
  EXPECT_EQ(read[5].attributes.at("message"), "cuda lane only");
}

TEST(JUnit, GivesBackEveryTextThatXmlCanSay) {
  for (const char* text :
       {"a < b && c > \"d\" 'e'", "]]>", "two\nlines\tand a tab", "&amp; &#10; <!--", "größer 95 %",
        "\xF0\x9F\x92\xA7 four bytes", "\xED\x9F\xBF\xEE\x80\x80 beside the surrogates"})
    EXPECT_EQ(message_read_back(text), text);
}

TEST(JUnit, ReplacesWhatXmlCannotSay) {
  const std::string replaced = "\xEF\xBF\xBD";
  EXPECT_EQ(message_read_back("bell \x07 and \x1B[31m"), "bell " + replaced + " and " + replaced + "[31m");
  EXPECT_EQ(message_read_back(std::string("a\0b", 3)), "a" + replaced + "b");
  EXPECT_EQ(message_read_back("lone \xC3"), "lone " + replaced);
  EXPECT_EQ(message_read_back("\xFF"), replaced);
  EXPECT_EQ(message_read_back("\xEF\xBF\xBF"), replaced) << "U+FFFF is no character";
  EXPECT_EQ(message_read_back("\xC0\xBC"), replaced + replaced) << "an overlong '<'";
  EXPECT_EQ(message_read_back("\xED\xA0\x80"), replaced) << "a surrogate";
  EXPECT_EQ(message_read_back("\xF4\x90\x80\x80").find(replaced), 0u) << "past U+10FFFF";
}

TEST(JUnit, SaysOfASweepItsFirstFailureAndWhatWasSkipped) {
  SweepResult survived{.scenario = "a/good.toml"}, failed{.scenario = "a/bad.toml"},
      skipped{.scenario = "b.toml"};
  failed.failures = {{7, Site::cudaMalloc, Verdict::leaked, "first", "drought sweep a/bad.toml --point 7"},
                     {9, Site::cudaFree, Verdict::hung, "second", ""}};
  skipped.skipped = true;
  skipped.why = "libcublas.so cannot be opened";
  const auto cases = junit_cases(std::vector{survived, failed, skipped});
  ASSERT_EQ(cases.size(), 3u);
  EXPECT_EQ(cases[0].end, JUnitCase::End::passed);
  EXPECT_EQ(cases[0].group, "a");
  EXPECT_EQ(cases[1].end, JUnitCase::End::failed);
  EXPECT_EQ(cases[1].kind, "leaked");
  EXPECT_EQ(cases[1].message, "first (and 1 more failures)");
  EXPECT_EQ(cases[1].repeat, "drought sweep a/bad.toml --point 7");
  EXPECT_EQ(cases[2].end, JUnitCase::End::skipped);
  EXPECT_EQ(cases[2].message, "libcublas.so cannot be opened");
}

TEST(JUnit, IsWrittenByARunWithTheVerdictAndTheCommandThatRepeatsIt) {
  const Folder folder;
  const std::string good = "title = 'good'\n[workload]\nkind = 'churn'\nallocations = 5\n";
  folder.file("a.toml", good);
  folder.file("b.toml", good + "[expect]\noutcome = 'fatal'\nmessage = 'a < b'\n");
  folder.file("c.toml", good + "[device]\nlanes = ['cuda']\n");
  Child::Options options;
  options.program = drought_binary();
  options.arguments = {"run", folder.path(), "--seed", "7", "--junit", folder.path("out.xml")};
  EXPECT_EQ(Child(options).finish().number, 1);
  const auto read = elements_of(read_text_file(folder.path("out.xml")));
  ASSERT_EQ(read.size(), 6u);
  EXPECT_THAT(read[0].attributes, testing::IsSupersetOf(std::map<std::string, std::string>{
                                      {"tests", "3"}, {"failures", "1"}, {"skipped", "1"}}));
  EXPECT_EQ(read[1].attributes.at("name"), folder.path("a.toml"));
  EXPECT_EQ(read[1].attributes.at("classname") + "/", folder.path());
  EXPECT_EQ(read[3].attributes.at("type"), "failed");
  EXPECT_EQ(read[3].attributes.at("message"), "expected fatal, came completed");
  EXPECT_THAT(read[3].text, HasSubstr("repeat: drought run " + folder.path("b.toml") + " --seed 7"));
  EXPECT_EQ(read[5].name, "skipped");
}

TEST(JUnit, IsWrittenByASweepWithItsFirstFailureAndTheCommandThatRepeatsIt) {
  const Folder folder;
  const std::string good = "title = 'good'\n[workload]\nkind = 'churn'\nallocations = 2\n";
  folder.file("a.toml", good);
  // It reclaims nothing, so after a strike there is too little for the same again.
  folder.file("b.toml", good + "bytes_max = '1 MiB'\n[[resource]]\nkind = 'bump'\nslab_bytes = '2 MiB'\n");
  Child::Options options;
  options.program = drought_binary();
  options.arguments = {"sweep", folder.path(), "--seed", "7", "--junit", folder.path("out.xml")};
  EXPECT_EQ(Child(options).finish().number, 1);
  const auto read = elements_of(read_text_file(folder.path("out.xml")));
  ASSERT_EQ(read.size(), 4u);
  EXPECT_THAT(read[0].attributes,
              testing::IsSupersetOf(std::map<std::string, std::string>{
                  {"name", "drought sweep"}, {"tests", "2"}, {"failures", "1"}, {"skipped", "0"}}));
  EXPECT_EQ(read[1].attributes.at("name"), folder.path("a.toml"));
  EXPECT_EQ(read[2].attributes.at("name"), folder.path("b.toml"));
  EXPECT_EQ(read[3].attributes.at("type"), "failed");
  EXPECT_THAT(read[3].attributes.at("message"), HasSubstr("after healing the next run came to clean_error"));
  EXPECT_THAT(read[3].text,
              HasSubstr("\nrepeat: drought sweep " + folder.path("b.toml") + " --all --fault "));
  EXPECT_THAT(read[3].text, HasSubstr(" --seed 7"));
}

}  // namespace
}  // namespace drought
