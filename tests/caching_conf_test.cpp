// PYTORCH_CUDA_ALLOC_CONF as PyTorch reads it, a mistake in it told by its place; and sizes rounded as an
// independent formula has them.
#include "allocators/caching_conf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <stdexcept>

namespace drought {
namespace {

using testing::HasSubstr;

std::string refusal_of(const std::string& conf) {
  try {
    parse_caching_conf(conf);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(CachingConf, ReadsEverySettingInAnyOrderAndWithSpaces) {
  const CachingConf conf = parse_caching_conf(
      " expandable_segments : True, max_split_size_mb:48,large_segment_size_mb:40,"
      "garbage_collection_threshold:0.75,per_process_memory_fraction:0.5,backend:native,"
      "throw_on_cudamalloc_oom:False,pinned_num_register_threads:8,");
  EXPECT_TRUE(conf.expandable_segments);
  EXPECT_FALSE(conf.throw_on_cudamalloc_oom);
  EXPECT_EQ(conf.max_split_bytes, 48_MiB);
  EXPECT_EQ(conf.large_segment_bytes, 40_MiB);
  EXPECT_EQ(conf.max_non_split_rounding_bytes, 40_MiB) << "it follows the segments' size";
  EXPECT_EQ(conf.garbage_collection_threshold, 0.75);
  EXPECT_EQ(conf.memory_fraction, 0.5);
  EXPECT_EQ(parse_caching_conf("").max_split_bytes, CachingConf::kUnlimited);
}

TEST(CachingConf, FillsDivisionsBelowTheFirstSizeAndFromTheRestSignOn) {
  const std::string list = "roundup_power2_divisions:[64:8,256:4,>:1]";
  const auto newer = parse_caching_conf(list).roundup_divisions;
  const auto older = parse_caching_conf(list, DivisionsRest::from_last).roundup_divisions;
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(newer[i], i <= 6 ? 8u : i == 7 ? 0u : i == 8 ? 4u : 1u) << i;
    EXPECT_EQ(older[i], i <= 6 ? 8u : i == 7 ? 0u : 1u) << i;
  }
}

TEST(CachingConf, NamesThePositionOfAMistakeAndTheKnownWords) {
  EXPECT_THAT(refusal_of("max_splitt_size_mb:32"),
              HasSubstr("position 1: unknown setting 'max_splitt_size_mb'"));
  EXPECT_THAT(refusal_of("max_splitt_size_mb:32"), HasSubstr("known: max_split_size_mb, "));
  EXPECT_EQ(refusal_of("expandable_segments:true"), "conf: position 21: expected True or False, got 'true'");
  EXPECT_EQ(refusal_of("max_split_size_mb:19"),
            "conf: position 19: expected max_split_size_mb of at least 20, got '19'");
  EXPECT_THAT(refusal_of("max_split_size_mb:3x"), HasSubstr("position 19: expected"));
  EXPECT_THAT(refusal_of("max_split_size_mb"), HasSubstr("position 18: expected ':', got the end"));
  EXPECT_THAT(refusal_of("max_split_size_mb:32;a"), HasSubstr("position 19"));
  EXPECT_THAT(refusal_of("garbage_collection_threshold:1.0"), HasSubstr("above 0 and below 1"));
  EXPECT_THAT(refusal_of("garbage_collection_threshold:nan"), HasSubstr("position 30"));
  EXPECT_THAT(refusal_of("roundup_power2_divisions:[3:4]"),
              HasSubstr("position 27: expected a power of two"));
  EXPECT_THAT(refusal_of("roundup_power2_divisions:[4:4"), HasSubstr("position 30: expected"));
  EXPECT_THAT(refusal_of("roundup_power2_divisions:3"), HasSubstr("power of two"));
  EXPECT_THAT(refusal_of("backend:cudaMallocAsync"), HasSubstr("expected native"));
  EXPECT_THAT(refusal_of("a:1,,b:2"), HasSubstr("unknown setting 'a'"));
  EXPECT_THAT(refusal_of("large_segment_size_mb:10"), HasSubstr("at least 11"));
}

TEST(CachingConf, AnswersAnyTextWithSettingsOrAMistakeAtAPositionInIt) {
  const std::vector<std::string> words{"max_split_size_mb",
                                       "roundup_power2_divisions",
                                       "expandable_segments",
                                       "large_segment_size_mb",
                                       ":",
                                       ",",
                                       "[",
                                       "]",
                                       ">",
                                       "64",
                                       "0",
                                       "True",
                                       "0.5",
                                       " ",
                                       "-1",
                                       "99999999999999999999",
                                       "x"};
  std::size_t accepted = 0;
  EXPECT_TRUE(rc::check([&](const std::vector<std::uint8_t>& drawn) {
    std::string text;
    for (const std::uint8_t word : drawn) text += words[word % words.size()];
    try {
      const CachingConf conf = parse_caching_conf(text);
      RC_ASSERT(conf.max_split_bytes >= conf.large_segment_bytes);
      ++accepted;
    } catch (const std::invalid_argument& error) {
      const std::string what = error.what();
      RC_ASSERT(what.starts_with("conf: position "));
      const std::size_t position = std::stoul(what.substr(15));
      RC_ASSERT(position >= 1 && position <= text.size() + 1);
    }
  }));
  EXPECT_GT(accepted, 0u);
}

/// What a request is rounded to, in doubles and from the words of PyTorch's documentation: between 2^k and
/// 2^(k+1) there are `divisions` equal steps, and sizes go up to the next.
std::size_t by_steps(std::size_t bytes, std::size_t divisions) {
  if (bytes < 512) return 512;
  if (divisions <= 1 || bytes <= 512 * divisions) return (bytes / 512 + (bytes % 512 != 0)) * 512;
  const double low = std::exp2(std::floor(std::log2(static_cast<double>(bytes))));
  for (std::size_t i = 0; i <= divisions; ++i) {
    const double step = low + low * static_cast<double>(i) / static_cast<double>(divisions);
    if (step >= static_cast<double>(bytes)) return static_cast<std::size_t>(step);
  }
  return 0;
}

TEST(CachingConf, RoundsSizesAsAnIndependentFormulaDoes) {
  EXPECT_TRUE(rc::check([](std::uint32_t mantissa, std::uint8_t bits, std::uint8_t power) {
    const std::size_t divisions = std::size_t{1} << power % 8;
    const std::size_t bytes = 1 + (mantissa >> bits % 32) * (bits % 3 == 0 ? 16u : 1u);
    const CachingConf conf = parse_caching_conf("roundup_power2_divisions:" + std::to_string(divisions));
    RC_ASSERT(conf.round_size(bytes) == by_steps(bytes, divisions));
    RC_ASSERT(parse_caching_conf("").round_size(bytes) == by_steps(bytes, 1));
    const std::size_t segment = conf.segment_size(conf.round_size(bytes));
    RC_ASSERT(segment >= bytes && segment % 2_MiB == 0);
  }));
}

}  // namespace
}  // namespace drought
