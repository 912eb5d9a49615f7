// The simulated device's stream-ordered pool beside a model that only knows which blocks live, and its
// order between streams.
#include "harness/device/host_pool.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

#include "tests/host_lane.hpp"

namespace drought {
namespace {

constexpr std::size_t chunk_bytes = 32_MiB;

class PoolRig {
 public:
  explicit PoolRig(std::size_t device_bytes) : budget_(device_bytes) { second_ = streams_.create(); }

  Stream stream(std::size_t i) const { return i % 2 == 0 ? Stream{} : second_; }
  /// `at_rest`: every stream has reached its frees, so that nothing idle is kept for an order's sake.
  void malloc(std::size_t bytes, Stream stream, bool at_rest) {
    if (at_rest) streams_.drain();
    const bool fits_idle = longest_idle_bytes() >= round_up(bytes, 512);
    const std::size_t before = reserved_bytes();
    std::uintptr_t out = 0;
    const Status status = pool.malloc(out, bytes, stream);
    if (status != Status::success) {
      RC_ASSERT(!fits_idle);
      RC_ASSERT(reserved_bytes() == before);
      return;
    }
    RC_ASSERT((!fits_idle || !at_rest || reserved_bytes() == before));
    if (arena_ == 0) arena_ = out;
    end_ = std::max(end_, out + bytes);
    const auto next = live.lower_bound(out);
    // RC_ASSERT takes its expression apart, so that || in it would not stop at the first true side.
    const bool is_below_next = next == live.end() || next->first >= out + bytes;
    const bool is_above_last =
        next == live.begin() || std::prev(next)->first + std::prev(next)->second <= out;
    RC_ASSERT(is_below_next);
    RC_ASSERT(is_above_last);
    live[out] = bytes;
  }
  void free(std::size_t which, Stream stream) {
    if (live.empty()) return;
    const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(which % live.size()));
    RC_ASSERT(pool.free(victim->first, stream) == Status::success);
    RC_ASSERT(pool.free(victim->first, stream) == Status::invalid_value);
    live.erase(victim);
  }
  void trim_at_rest(std::size_t keep_bytes) {
    streams_.drain();
    pool.trim(keep_bytes);
    const std::size_t needed = chunks_in_use().size() * chunk_bytes;
    RC_ASSERT(reserved_bytes() >= needed);
    RC_ASSERT(reserved_bytes() <= std::max(needed, round_up(keep_bytes, chunk_bytes)));
  }
  void judge() {
    std::size_t used = 0;
    for (const auto& [begin, bytes] : live) used += round_up(bytes, 512);
    RC_ASSERT(pool.attributes().used_bytes == used);
    RC_ASSERT(reserved_bytes() % chunk_bytes == 0u);
    RC_ASSERT(reserved_bytes() == budget_.total_bytes() - budget_.free_bytes());
    for (const std::uintptr_t chunk : chunks_in_use()) RC_ASSERT(pool.mapped_until(chunk) != 0u);
  }

 private:
  std::size_t reserved_bytes() const { return pool.attributes().reserved_bytes; }
  std::set<std::uintptr_t> chunks_in_use() const {
    std::set<std::uintptr_t> chunks;
    for (const auto& [begin, bytes] : live)
      for (std::uintptr_t at = round_down(begin, chunk_bytes); at < begin + bytes; at += chunk_bytes)
        chunks.insert(at);
    return chunks;
  }
  /// The longest stretch of mapped memory between live blocks, found chunk by chunk.
  std::size_t longest_idle_bytes() const {
    std::size_t longest = 0;
    for (std::uintptr_t at = arena_; at < end_;) {
      std::size_t length = 0;
      auto next = live.upper_bound(at);
      if (next != live.begin() && at < std::prev(next)->first + round_up(std::prev(next)->second, 512)) {
        at = std::prev(next)->first + round_up(std::prev(next)->second, 512);
        continue;
      }
      while (pool.mapped_until(at) != 0 && (next == live.end() || at < next->first)) {
        const std::uintptr_t until = pool.mapped_until(at);
        const std::uintptr_t stop = next == live.end() ? until : std::min(until, next->first);
        length += stop - at;
        at = stop;
      }
      longest = std::max(longest, length);
      if (length == 0) at = round_down(at, chunk_bytes) + chunk_bytes;
    }
    return longest;
  }

  Profile profile_ = profile_named("h200");
  Budget budget_;
  AddressSpace space_{{.region_bytes = 4_TiB, .granularity_bytes = chunk_bytes}};
  HostStreams streams_{1};
  Stream second_;
  std::uintptr_t arena_ = 0, end_ = 0;  ///< Where blocks have lain so far; the first lies at the beginning.

 public:
  HostPool pool{profile_, budget_, space_, streams_, false};
  std::map<std::uintptr_t, std::size_t> live;
};

/// One drawn call, in numbers that shrink towards nothing.
using Drawn = std::tuple<std::uint8_t, std::uint8_t, std::uint32_t>;

TEST(HostPool, KeepsItsRulesOverAnyOrderOfCalls) {
  EXPECT_TRUE(rc::check([](const std::vector<Drawn>& calls) {
    PoolRig rig(1_GiB);
    for (const auto& [what, which, size] : calls) {
      const std::size_t bytes = 1 + size % (std::size_t{1} << (1 + which % 28));
      if (what % 8 == 0) {
        rig.trim_at_rest(which * 8_MiB);
      } else if (what % 3 == 0) {
        rig.free(which, rig.stream(what));
      } else {
        rig.malloc(bytes, rig.stream(what / 4), which % 2 == 0);
      }
      rig.judge();
    }
  }));
}

// The work that used the block runs before the work of its next owner, whatever the seed.
TEST(HostPool, MakesAnotherStreamWaitForTheFreeOfWhatItReuses) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto device = h200(seed);
    const Stream first = stream_of(*device), second = stream_of(*device);
    std::string log;
    void* block = nullptr;
    void* again = nullptr;
    ASSERT_EQ(device->malloc_async(block, 20_MiB, first), Status::success);
    MemInfo left;
    ASSERT_EQ(device->mem_info(left), Status::success);
    void* rest = nullptr;
    ASSERT_EQ(device->malloc(rest, round_down(left.free_bytes - 8_MiB, 2_MiB)), Status::success);
    ASSERT_EQ(note(*device, log, 'a', first), Status::success);
    ASSERT_EQ(device->free_async(block, first), Status::success);
    ASSERT_EQ(device->malloc_async(again, 20_MiB, second), Status::success);
    ASSERT_EQ(again, block) << "the pool could not grow";
    ASSERT_EQ(note(*device, log, 'b', second), Status::success);
    ASSERT_EQ(device->synchronize(), Status::success);
    EXPECT_EQ(log, "ab") << "seed " << seed;
  }
}

TEST(HostPool, GrowsRatherThanMakeAStreamWaitForWorkThatStillRuns) {
  std::set<bool> grew;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto device = h200(seed);
    const Stream first = stream_of(*device), second = stream_of(*device);
    std::string log;
    void* block = nullptr;
    void* again = nullptr;
    ASSERT_EQ(device->malloc_async(block, 20_MiB, first), Status::success);
    ASSERT_EQ(note(*device, log, 'a', first), Status::success);
    ASSERT_EQ(device->free_async(block, first), Status::success);
    ASSERT_EQ(device->malloc_async(again, 20_MiB, second), Status::success);
    if (again == block) {
      EXPECT_EQ(log, "a") << "lent before its last work, seed " << seed;
    }
    grew.insert(again != block);
  }
  EXPECT_EQ(grew, (std::set{false, true})) << "work ends early under some seeds and late under others";
}

TEST(HostPool, LetsStreamsThatShareNoBlockRunInAnyOrder) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto device = h200(seed);
    const Stream first = stream_of(*device), second = stream_of(*device);
    std::string log;
    void* block = nullptr;
    void* other = nullptr;
    ASSERT_EQ(device->malloc_async(block, 1_MiB, first), Status::success);
    ASSERT_EQ(device->malloc_async(other, 1_MiB, second), Status::success);
    ASSERT_EQ(note(*device, log, 'a', first), Status::success);
    ASSERT_EQ(device->free_async(block, first), Status::success);
    ASSERT_EQ(note(*device, log, 'b', second), Status::success);
    ASSERT_EQ(device->synchronize(), Status::success);
    seen.insert(log);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"ab", "ba"}));
}

TEST(HostPool, KeepsAChunkWhoseFreeItsStreamHasNotReached) {
  bool has_kept = false;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const auto device = h200(seed);
    const Stream stream = stream_of(*device), idle = stream_of(*device);
    std::string log;
    void* block = nullptr;
    PoolAttributes pool;
    ASSERT_EQ(device->malloc_async(block, 1_MiB, stream), Status::success);
    ASSERT_EQ(note(*device, log, 'a', stream), Status::success);
    ASSERT_EQ(device->free_async(block, stream), Status::success);
    ASSERT_EQ(device->stream_synchronize(idle), Status::success);
    const bool was_reached = log == "a";
    ASSERT_EQ(device->pool_attributes(pool), Status::success);
    EXPECT_TRUE(was_reached || pool.reserved_bytes == 32_MiB) << "seed " << seed;
    has_kept = has_kept || !was_reached;
    ASSERT_EQ(device->stream_synchronize(stream), Status::success);
    ASSERT_EQ(device->pool_attributes(pool), Status::success);
    EXPECT_EQ(pool.reserved_bytes, 0u) << "seed " << seed;
  }
  EXPECT_TRUE(has_kept) << "no seed leaves the stream behind";
}

TEST(HostPool, MakesRoomOfItsOwnIdleChunksAndOfManagedPagesBeforeItRefuses) {
  const auto device =
      make_host_device(profile_named("h200"), {.work = Device::Work::shapes, .capacity_bytes = 2_GiB});
  const Stream stream = stream_of(*device);
  ASSERT_EQ(device->pool_set_release_threshold(2_GiB), Status::success);
  void* blocks[3] = {};
  for (void*& block : blocks) ASSERT_EQ(device->malloc_async(block, 256_MiB, stream), Status::success);
  ASSERT_EQ(device->free_async(blocks[0], stream), Status::success);
  ASSERT_EQ(device->free_async(blocks[2], stream), Status::success);
  void* managed = nullptr;
  ASSERT_EQ(device->malloc_managed(managed, 512_MiB), Status::success);
  ASSERT_EQ(device->mem_prefetch(managed, 512_MiB, Residence::device, stream), Status::success);
  ASSERT_EQ(device->stream_synchronize(stream), Status::success);
  void* large = nullptr;
  EXPECT_EQ(device->malloc_async(large, 1_GiB, stream), Status::success);
  EXPECT_GT(device->managed_traffic()->evicted_bytes, 0u);
  EXPECT_EQ(device->malloc_async(large, 1_GiB, stream), Status::memory_allocation);
}

}  // namespace
}  // namespace drought
