// The reader takes what pickles of traces hold, refuses every other opcode by name and place, and can
// never be made to run anything.
#include "harness/trace/pickle.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include "tests/source_root.hpp"

namespace drought {
namespace {

using pickle::Document;
using pickle::Kind;
using pickle::Value;
using testing::HasSubstr;
using testing::StartsWith;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

std::string little_endian(std::uint64_t value, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += static_cast<char>(value >> 8 * i & 255);
  return text;
}

std::string short_string(std::string_view text) {
  return "\x8c" + little_endian(text.size(), 1) + std::string(text);
}

const std::string kProtocol4 = bytes({0x80, 4});

/// The message with which `body` is refused after a protocol header; "" when it is read.
std::string refusal_of(const std::string& body) {
  try {
    Document::parse("t", kProtocol4 + body);
  } catch (const TraceError& error) {
    return error.what();
  }
  return "";
}

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Pickle, ReadsTheNumbersStringsAndContainersOfBothWriters) {
  const std::string python = kProtocol4 + bytes({0x95}) + little_endian(3, 8) + "}\x94(" + short_string("a") +
                             "\x94K\x07" + short_string("b") + "\x94]\x94(J\xfe\xff\xff\xff\x8a\x08" +
                             little_endian(~std::uint64_t{0} - 5, 8) + "G" +
                             bytes({0x3f, 0xe0, 0, 0, 0, 0, 0, 0}) + "N\x88\x89h\x01" + "eu.";
  const Document document = Document::parse("t", python);
  const Value root = document.root();
  ASSERT_EQ(root.kind(), Kind::dict);
  EXPECT_EQ(root.find("a").integer_bits(), 7u);
  EXPECT_FALSE(root.find("c").exists());
  std::vector<Value> items;
  root.find("b").for_each([&](Value item) { items.push_back(item); });
  ASSERT_EQ(items.size(), 7u);
  EXPECT_EQ(static_cast<std::int64_t>(items[0].integer_bits()), -2);
  EXPECT_EQ(static_cast<std::int64_t>(items[1].integer_bits()), -6);
  EXPECT_EQ(items[2].real(), 0.5);
  EXPECT_EQ(items[3].kind(), Kind::none);
  EXPECT_TRUE(items[4].boolean());
  EXPECT_FALSE(items[5].boolean());
  EXPECT_EQ(items[6].string(), "a");

  const std::string torchscript = bytes({0x80, 2}) + "](X" + little_endian(1, 4) + "xq" + bytes({0}) + "h" +
                                  bytes({0}) + "M" + little_endian(300, 2) + "K\x01K\x02\x86" + "eq\x01.";
  const Document other = Document::parse("t", torchscript);
  items.clear();
  other.root().for_each([&](Value item) { items.push_back(item); });
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(items[0].string(), "x");
  EXPECT_EQ(items[1].string(), "x");
  EXPECT_EQ(items[2].integer_bits(), 300u);
  EXPECT_TRUE(items[3].is_tuple());
  EXPECT_EQ(items[3].size(), 2u);
}

TEST(Pickle, ReadsEveryIntegerThat64BitsHoldAndRefusesThoseBeyond) {
  const auto one = [](const std::string& body) { return Document::parse("t", kProtocol4 + body + "."); };
  const auto max_int64 = one("\x8a\x08" + little_endian((std::uint64_t{1} << 63) - 1, 8));
  EXPECT_EQ(max_int64.root().integer_bits(), (std::uint64_t{1} << 63) - 1);
  const auto min_int64 = one("\x8a\x08" + little_endian(std::uint64_t{1} << 63, 8));
  EXPECT_EQ(min_int64.root().integer_bits(), std::uint64_t{1} << 63);
  const auto max_uint64 = one("\x8a\x09" + little_endian(~std::uint64_t{0}, 8) + bytes({0}));
  EXPECT_EQ(max_uint64.root().integer_bits(), ~std::uint64_t{0});
  const auto by_long4 = one("\x8b" + little_endian(8, 4) + little_endian(std::uint64_t{1} << 62, 8));
  EXPECT_EQ(by_long4.root().integer_bits(), std::uint64_t{1} << 62);
  EXPECT_THAT(refusal_of("\x8a\x09" + little_endian(0, 8) + bytes({1}) + "."), HasSubstr("64 bits"));
  EXPECT_THAT(refusal_of("\x8a\x09" + little_endian(1, 8) + bytes({0xff}) + "."), HasSubstr("64 bits"));
}

TEST(Pickle, IsRefusedInOneLineWithItsOffsetWhereverItIsCutOff) {
  const std::string whole = file_text(source_path("tests/data/stacks.pickle"));
  ASSERT_GT(whole.size(), 10'000u);
  ASSERT_NO_THROW(Document::parse("t", whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    try {
      Document::parse("t", std::string_view(whole).substr(0, length));
      FAIL() << "a pickle cut off after " << length << " bytes was read";
    } catch (const TraceError& error) {
      ASSERT_THAT(error.what(), StartsWith("t: offset "));
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

TEST(Pickle, RefusesEveryOpcodeThatIsNotOnItsListAtItsOffset) {
  const std::string known = "(.NJKMGX]ae}su)thjqr\x80\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x94\x95";
  int refused = 0;
  for (int opcode = 0; opcode < 256; ++opcode) {
    if (known.find(static_cast<char>(opcode)) != std::string::npos) continue;
    EXPECT_THAT(refusal_of("N" + bytes({opcode})), StartsWith("t: offset 3: opcode ")) << opcode;
    ++refused;
  }
  EXPECT_EQ(refused, 256 - static_cast<int>(known.size()));
}

TEST(Pickle, NeverRunsWhatAPickleAsksFor) {
  EXPECT_EQ(refusal_of("cos\nsystem\n(X\x04" + bytes({0, 0, 0}) + "truetR."),
            "t: offset 2: opcode 'c' is not one that only builds data");
  EXPECT_EQ(refusal_of(short_string("os") + short_string("system") + "\x93)R."),
            "t: offset 14: opcode 0x93 is not one that only builds data");
}

TEST(Pickle, BelievesNoLengthBeforeComparingItWithWhatIsLeft) {
  for (const std::string& opcode :
       {std::string("X\xff\xff\xff\xff"), "\x8d" + little_endian(~std::uint64_t{0}, 8),
        std::string("\x8b\xff\xff\xff\x7f"), "\x95" + little_endian(1 << 20, 8), std::string("\x8c\xff"),
        std::string("\x8a\xff")})
    EXPECT_THAT(refusal_of(opcode + "ab."), StartsWith("t: offset 2: ")) << opcode;
}

TEST(Pickle, RefusesAMemoThatSkipsOrWasNeverStored) {
  EXPECT_THAT(refusal_of("Nr\xff\xff\xff\x7f."),
              StartsWith("t: offset 3: memo entry 2147483647 after 0 others"));
  EXPECT_THAT(refusal_of("h\x05."), StartsWith("t: offset 2: memo entry 5 was never stored"));
}

TEST(Pickle, RefusesAContainerThatWouldHoldItself) {
  EXPECT_THAT(refusal_of("]\x94h" + bytes({0}) + "a."), HasSubstr("holds itself"));
  EXPECT_THAT(refusal_of("}\x94" + short_string("k") + "h" + bytes({0}) + "s."), HasSubstr("holds itself"));
  // Through a second list: a is put into b, then b into a.
  EXPECT_THAT(refusal_of("]\x94]\x94h" + bytes({0}) + "ah" + bytes({0}) + "h\x01" + "a."),
              HasSubstr("grows after it was put into another"));
}

TEST(Pickle, RefusesDeepNestingHoweverItIsWritten) {
  EXPECT_THAT(refusal_of(std::string(1000, ']') + std::string(999, 'a') + "."), HasSubstr("deeper than 64"));
  EXPECT_NE(refusal_of(std::string(1'000'000, ']') + std::string(999'999, 'a') + "."), "");
  EXPECT_THAT(refusal_of(std::string(100'000, '(')), HasSubstr("more than 64 open marks"));
  std::string tuples = "N";
  for (int i = 0; i < 1000; ++i) tuples += "\x85";
  EXPECT_THAT(refusal_of(tuples + "."), HasSubstr("deeper than 64"));
}

TEST(Pickle, SharesWhatAMemoBombRepeatsInsteadOfCopyingIt) {
  // Sixty lists, each holding the one before twenty times: 20^60 values if they were copied.
  std::string bomb = "]\x94";
  for (int level = 0; level < 60; ++level) {
    bomb += "](";
    for (int i = 0; i < 20; ++i) bomb += "h" + bytes({level});
    bomb += "e\x94";
  }
  const std::string all = kProtocol4 + "(" + bomb + "t.";
  const Document document = Document::parse("t", all);
  EXPECT_LT(document.tree_bytes(), 16 * all.size());
  EXPECT_EQ(document.root().size(), 61u);
}

/// A string that makes room for the values of a file, which may take a multiple of its size.
std::string ballast() { return "X" + little_endian(2'000'000, 4) + std::string(2'000'000, 'x'); }

TEST(Pickle, LetsGoOfWhatWasReadAndKeepsWhatBackReferencesReach) {
  // The first of a list of 50,000 pairs, and every thousandth, is referred to again at the end.
  std::string list = "](";
  for (int i = 0; i < 50'000; ++i) {
    list += "M" + little_endian(static_cast<std::uint64_t>(i), 2) + "K\x07\x86";
    if (i % 1000 == 0) list += "\x94";
  }
  list += "e](";
  for (int i = 0; i < 50; ++i) list += "h" + bytes({i});
  Document document = Document::parse("t", kProtocol4 + list + "e" + ballast() + "\x87.");
  std::vector<Value> lists, pairs, again;
  document.root().for_each([&](Value item) { lists.push_back(item); });
  lists[0].for_each([&](Value item) { pairs.push_back(item); });
  lists[1].for_each([&](Value item) { again.push_back(item); });
  EXPECT_EQ(document.released_bytes(), 0u);
  document.release_between(pairs.front(), pairs.back());
  EXPECT_FALSE(document.root().exists());
  EXPECT_GT(document.released_bytes(), 0u) << "the pairs take over two megabytes";
  ASSERT_EQ(again.size(), 50u);
  for (std::size_t i = 0; i < 50; ++i) {
    std::vector<std::uint64_t> numbers;
    again[i].for_each([&](Value item) { numbers.push_back(item.integer_bits()); });
    EXPECT_THAT(numbers, testing::ElementsAre(i * 1000, 7)) << i;
  }
}

TEST(Pickle, LetsGoOfNothingWhereADeepContainerIsReferredTo) {
  std::string list = "](" + ballast() + "]\x94]a";
  for (int i = 0; i < 50'000; ++i) list += "K\x01K\x07\x86";
  Document document = Document::parse("t", kProtocol4 + list + "h" + bytes({0}) + "e.");
  std::vector<Value> items;
  document.root().for_each([&](Value item) { items.push_back(item); });
  document.release_between(items.front(), items[40'000]);
  EXPECT_EQ(document.released_bytes(), 0u);
}

TEST(Pickle, RefusesValuesThatTakeFarMoreMemoryThanTheirFile) {
  std::string tuples = "(";
  for (int i = 0; i < 4000; ++i) tuples += "(" + std::string(1000, ']') + "t";
  EXPECT_THAT(refusal_of(tuples + "t."), HasSubstr("far more memory"));
  EXPECT_THAT(refusal_of("N" + std::string(4'000'000, '\x94') + "."), HasSubstr("far more memory"));
}

TEST(Pickle, RefusesAStackThatDoesNotFitItsOpcodes) {
  EXPECT_THAT(refusal_of("."), HasSubstr("other than one value"));
  EXPECT_THAT(refusal_of("NN."), HasSubstr("other than one value"));
  EXPECT_THAT(refusal_of("(N."), HasSubstr("other than one value"));
  EXPECT_THAT(refusal_of("N.N"), HasSubstr("bytes follow"));
  EXPECT_THAT(refusal_of("a"), HasSubstr("too few"));
  EXPECT_THAT(refusal_of("u"), HasSubstr("no mark"));
  EXPECT_THAT(refusal_of("](K\x01s"), HasSubstr("too few"));
  EXPECT_THAT(refusal_of("NK\x01"
                         "a"),
              HasSubstr("not a list"));
  EXPECT_THAT(refusal_of("}K\x01K\x01s"), HasSubstr("not a string"));
  EXPECT_THAT(refusal_of("}(" + short_string("k") + "u"), HasSubstr("without a value"));
  EXPECT_THAT(refusal_of(""), HasSubstr("ends before"));
}

TEST(Pickle, SaysWhyAFileCannotBeRead) {
  EXPECT_THROW(Document::read("/dev/zero"), TraceError);
  EXPECT_THROW(Document::read(source_path("tests")), TraceError);
  try {
    Document::read("no/such/file.pickle");
    FAIL();
  } catch (const TraceError& error) {
    EXPECT_STREQ(error.what(), "no/such/file.pickle: cannot be opened: No such file or directory");
  }
  EXPECT_THAT(
      [] {
        try {
          Document::parse("t", "");
        } catch (const TraceError& error) {
          return std::string(error.what());
        }
        return std::string();
      }(),
      testing::Eq("t: offset 0: the file is empty"));
}

}  // namespace
}  // namespace drought
