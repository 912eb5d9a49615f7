// cudaMallocAsync's pool as an allocator: what it keeps, what it gives back, and what it does about a
// block that other streams have used.
#include "allocators/stream_ordered.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "harness/gtest/armed_rig.hpp"
#include "harness/memory/bytes.hpp"
#include "tests/host_lane.hpp"

namespace drought {
namespace {

constexpr std::size_t keep_all = std::numeric_limits<std::size_t>::max();

TEST(StreamOrdered, KeepsWhatItsThresholdAllowsUntilItIsTrimmedOrEnds) {
  const auto device = h200();
  {
    StreamOrdered pool(*device, {.release_threshold_bytes = keep_all});
    const Request request{.bytes = 64_MiB};
    pool.deallocate(pool.allocate(request), request);
    ASSERT_EQ(device->synchronize(), Status::success);
    EXPECT_EQ(pool.reserved_bytes(), 64_MiB);
    EXPECT_EQ(pool.trim(), 64_MiB);
    EXPECT_EQ(pool.reserved_bytes(), 0u);
    pool.deallocate(pool.allocate(request), request);
  }
  EXPECT_EQ(device->held_bytes(), 0u);
  PoolAttributes left;
  ASSERT_EQ(device->pool_attributes(left), Status::success);
  EXPECT_EQ(left.release_threshold_bytes, 0u) << "the device's pool was not left as CUDA makes it";
}

TEST(StreamOrdered, GivesEverythingBackAtASynchronisationByDefault) {
  const auto device = h200();
  StreamOrdered pool(*device, {});
  const Request request{.bytes = 64_MiB};
  pool.deallocate(pool.allocate(request), request);
  EXPECT_EQ(pool.reserved_bytes(), 64_MiB);
  ASSERT_EQ(device->synchronize(), Status::success);
  EXPECT_EQ(pool.reserved_bytes(), 0u);
}

TEST(StreamOrdered, RefusesABlockThatItNeverLentAndOneFreedTwiceAndTouchesNeither) {
  const auto device = h200();
  StreamOrdered pool(*device, {});
  const Request request{.bytes = 1_MiB};
  void* foreign = nullptr;
  ASSERT_EQ(device->malloc(foreign, 1_MiB), Status::success);
  pool.deallocate(foreign, request);
  void* const block = pool.allocate(request);
  pool.deallocate(block, request);
  pool.deallocate(block, request);
  EXPECT_EQ(pool.refused_frees(), 2u);
  EXPECT_EQ(device->free(foreign), Status::success) << "the foreign block was freed";
}

TEST(StreamOrdered, ReportsARefusalAsOutOfMemoryWithACleanErrorSlot) {
  const auto device = h200();
  StreamOrdered pool(*device, {});
  EXPECT_THROW(pool.allocate({.bytes = 1_TiB}), OutOfMemory);
  EXPECT_EQ(device->peek_last_error(), Status::success);
}

TEST(StreamOrdered, TrimsThoughTheDriverReportsAnErrorOfEarlierWork) {
  ArmedRig rig(
      "[[resource]]\nkind = 'stream_ordered'\nrelease_threshold_bytes = '1 GiB'\n"
      "[[fault]]\nkind = 'failed_free'\nwhen = {site = 'cudaMemPoolTrimTo'}");
  const Request request{.bytes = 64_MiB};
  rig.memory().deallocate(rig.memory().allocate(request), request);
  EXPECT_EQ(dynamic_cast<Trims&>(rig->allocator()).trim(), 64_MiB);
  EXPECT_EQ(rig->device().peek_last_error(), Status::success);
}

TEST(StreamOrdered, TakesABlockBackWhoseStreamIsGone) {
  const auto device = h200();
  {
    StreamOrdered pool(*device, {});
    const Request request{.bytes = 64_MiB, .stream = stream_of(*device)};
    void* const block = pool.allocate(request);
    ASSERT_EQ(device->stream_destroy(request.stream), Status::success);
    pool.deallocate(block, request);
    EXPECT_EQ(pool.refused_frees(), 0u);
  }
  EXPECT_EQ(device->held_bytes(), 0u);
  EXPECT_EQ(device->peek_last_error(), Status::success);
}

TEST(StreamOrdered, FreesABlockWithTheNextCallWhenNeitherAnEventNorTheDeviceCouldBeWaitedFor) {
  ArmedRig rig(
      "[[resource]]\nkind = 'stream_ordered'\n"
      "[[fault]]\nkind = 'error_code'\nwhen = {site = 'cudaEventCreate', nth = 1}\n"
      "[[fault]]\nkind = 'error_code'\nwhen = {site = 'cudaDeviceSynchronize', nth = 1}");
  auto& pool = dynamic_cast<StreamOrdered&>(rig->allocator());
  const Request request{.bytes = 64_MiB, .stream = stream_of(rig->device())};
  void* const block = pool.allocate(request);
  pool.record_stream(block, stream_of(rig->device()));
  pool.deallocate(block, request);
  EXPECT_EQ(pool.reserved_bytes(), 64_MiB) << "the block went back while its use may still have run";
  EXPECT_NE(pool.take_fallback(), "");
  EXPECT_EQ(pool.trim(), 64_MiB);
  EXPECT_EQ(pool.refused_frees(), 0u);
  EXPECT_EQ(rig->device().peek_last_error(), Status::unknown) << "of the wait, whose error nobody was told";
}

/// The order in which a use on another stream and the next owner's work run, under `seed`.
std::string order_of_use_and_reuse(std::uint64_t seed, bool records) {
  const auto device = h200(seed);
  const Stream home = stream_of(*device), other = stream_of(*device);
  std::string log;
  StreamOrdered pool(*device, {.release_threshold_bytes = keep_all});
  const Request request{.bytes = 1_MiB, .stream = home};
  void* const block = pool.allocate(request);
  EXPECT_EQ(note(*device, log, 'u', other), Status::success);
  if (records) pool.record_stream(block, other);
  pool.deallocate(block, request);
  void* const again = pool.allocate(request);
  EXPECT_EQ(again, block);
  EXPECT_EQ(note(*device, log, 'r', home), Status::success);
  EXPECT_EQ(device->synchronize(), Status::success);
  pool.deallocate(again, request);
  return log;
}

TEST(StreamOrdered, LendsABlockAgainOnlyBehindItsRecordedUsesOnOtherStreams) {
  bool overtakes = false;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    EXPECT_EQ(order_of_use_and_reuse(seed, true), "ur") << "seed " << seed;
    overtakes = overtakes || order_of_use_and_reuse(seed, false) == "ru";
  }
  EXPECT_TRUE(overtakes) << "no seed shows the order that recording prevents";
}

}  // namespace
}  // namespace drought
