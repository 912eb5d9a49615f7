// The caching allocator keeps the claims of every allocator under each of its settings too.
#include <gtest/gtest.h>

#include "allocators/caching.hpp"
#include "tests/conformance.hpp"
#include "tests/named.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

constexpr const char* kConfs[] = {
    "expandable_segments:True",
    "expandable_segments:True,large_segment_size_mb:32,roundup_power2_divisions:4",
    "garbage_collection_threshold:0.02",
    "max_split_size_mb:24,max_non_split_rounding_mb:24",
    "per_process_memory_fraction:0.5,throw_on_cudamalloc_oom:True",
};

template <std::size_t index>
constexpr AllocatorEntry configured(std::string_view name) {
  return {name, "caching, configured",
          [](const Table&, Resource* upstream, Device& device) -> std::unique_ptr<Resource> {
            return std::make_unique<Caching>(
                *upstream, device,
                Caching::Options{.conf = kConfs[index], .cap_bytes = index == 2 ? 4_GiB : 0});
          }};
}

constexpr AllocatorEntry kEntries[] = {configured<0>("expandable"), configured<1>("expandable_and_rounded"),
                                       configured<2>("collects"), configured<3>("max_split"),
                                       configured<4>("fraction")};

class ConfiguredCaching : public testing::TestWithParam<AllocatorEntry> {};

TEST_P(ConfiguredCaching, KeepsEveryClaimOfAnAllocator) {
  std::size_t asked = 0;
  for (const Claim& claim : conformance_claims()) {
    ChainRig chain(GetParam(), 1);
    chain.start();
    if (!claim.promised(chain.allocator())) continue;
    EXPECT_EQ(claim.mistake(GetParam(), test_seed(), Lane::host), "") << claim.name;
    ++asked;
  }
  EXPECT_GE(asked, 6u);
}

INSTANTIATE_TEST_SUITE_P(Each, ConfiguredCaching, testing::ValuesIn(kEntries), by_name);

}  // namespace
}  // namespace drought
