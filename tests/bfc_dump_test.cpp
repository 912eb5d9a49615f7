// TensorFlow's dumps are read with the figures of real ones: regions, chunks and refusals as they were; what
// was cut off, or contradicts itself, is refused by its line.
#include "harness/trace/bfc_dump.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trace_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string info(const std::string& text) {
  return "2023-10-02 16:36:14.403545: I tensorflow/tsl/framework/bfc_allocator.cc:1075] " + text + "\n";
}
std::string chunk(const std::string& state, const std::string& address, std::uint64_t bytes) {
  return info(state + " at " + address + " of size " + std::to_string(bytes) + " next 7");
}
const std::string kRefused =
    "2023-10-02 16:36:04.4: W tensorflow/tsl/framework/bfc_allocator.cc:485] Allocator "
    "(GPU_0_bfc) ran out of memory trying to allocate ";
const std::string kBegin =
    kRefused +
    "585.94MiB (rounded to 614400000)requested by op _EagerConst\n"
    "If the cause is memory fragmentation maybe the environment variable helps.\n" +
    info("BFCAllocator dump for GPU_0_bfc") +
    info("Bin (256): \tTotal Chunks: 37, Chunks in use: 37. 9.2KiB allocated for chunks.");

/// One region: a chunk of 1280 B, a hole of 558759936 B, a chunk of 491520000 B.
std::string region() {
  return info("Next region of size 1050281216") + chunk("InUse", "7f1c8a000000", 1280) +
         chunk("Free ", "7f1c8a000500", 558759936) + chunk("InUse", "7f1cab4e0500", 491520000);
}
const std::string kEnd = info("     Summary of in-use Chunks by size: ") +
                         info("Sum Total of in-use chunks: 468.75MiB") +
                         info(
                             "Stats: \nLimit:                      3502964736\nInUse:                "
                             "       589212672\nNumAllocs:                      469363");

TEST(BfcDump, BecomesSegmentsTheirBlocksAndTheRefusedRequest) {
  const Trace trace = trace_of(kBegin + region() + kEnd);
  EXPECT_EQ(trace.limit_bytes, 3502964736u);
  ASSERT_EQ(trace.segments.size(), 1u);
  const SnapshotSegment& segment = trace.segments[0];
  EXPECT_EQ(segment.address, 0x7f1c8a000000u);
  EXPECT_EQ(segment.bytes, 1050281216u);
  ASSERT_EQ(segment.blocks.size(), 3u);
  EXPECT_EQ(segment.blocks[1].state, BlockState::inactive);
  EXPECT_EQ(segment.blocks[1].bytes, 558759936u);
  EXPECT_EQ(
      listing_of(trace),
      "segment_alloc 1050281216 at 0x7f1c8a000000 stream 0\n"
      "alloc 1280 at 0x7f1c8a000000 stream 0\n"
      "alloc 491520000 at 0x7f1cab4e0500 stream 0\n"
      "oom 614400000 at 0x" +
          [] {
            char text[24];
            std::snprintf(text, sizeof text, "%llx", 3502964736ull - 1050281216ull);
            return std::string(text);
          }() +
          " stream 0\n");
}

TEST(BfcDump, ReadsTheFieldsOfAChunkInTheOrderOfEveryRelease) {
  const std::string older = info("InUse at 0x1203b60000 next 1 of size 1280") +
                            info("Free  at 0x1203b60500 next 2 of size 256"),
                    oldest =
                        info("Chunk at 0x1203b60000 of size 1280") + info("Free at 0x1203b60500 of size 256"),
                    debug =
                        info("InUse at 1203b60000 of size 1280 by op Conv2D action_count 140 step 0 next 1") +
                        info("Free  at 1203b60500 of size 256 by op UNUSED action_count 7 step 0 next 2");
  for (const std::string& lines : {older, oldest, debug}) {
    const Trace trace = trace_of(kBegin + lines);
    ASSERT_EQ(trace.segments.size(), 1u) << lines;
    EXPECT_EQ(trace.segments[0].bytes, 1536u);
    EXPECT_EQ(trace.segments[0].blocks[0].state, BlockState::active_allocated);
    EXPECT_EQ(trace.segments[0].blocks[1].state, BlockState::inactive);
  }
}

TEST(BfcDump, OfSeveralTakesTheLastStateAndEveryRefusal) {
  const Trace trace =
      trace_of(kBegin + chunk("InUse", "500", 256) + kEnd + kRefused +
               "1.25GiB with freed_by_count=0. The caller indicates that this is not a failure\n" +
               info("BFCAllocator dump for GPU_0_bfc") + chunk("InUse", "900", 512));
  ASSERT_EQ(trace.segments.size(), 1u);
  EXPECT_EQ(trace.segments[0].address, 0x900u);
  EXPECT_THAT(listing_of(trace), HasSubstr("alloc 512 at 0x900 stream 0\noom 614400000 at "));
  EXPECT_THAT(listing_of(trace), HasSubstr("oom 1342177280 at "));
}

TEST(BfcDump, KeepsTheAllocatorsOfTwoDevicesApart) {
  const Trace trace = trace_of(info("BFCAllocator dump for GPU_0_bfc") + chunk("InUse", "500", 256) +
                               info("BFCAllocator dump for GPU_1_bfc") + chunk("InUse", "500", 768));
  ASSERT_EQ(trace.device_traces.size(), 2u);
  EXPECT_EQ(trace.device_traces[0].at(1).bytes, 256u);
  EXPECT_EQ(trace.device_traces[1].at(1).bytes, 768u);
  EXPECT_EQ(trace.segments.at(1).device, 1);
}

TEST(BfcDump, IsRefusedByItsLineWhereItContradictsItself) {
  const std::string begin = info("BFCAllocator dump for GPU_0_bfc");
  EXPECT_EQ(refusal_of_trace(begin + info("Next region of size 1000") + chunk("InUse", "500", 256)),
            "t:3: a region of 1000 B before this, of which 256 B are described");
  EXPECT_THAT(refusal_of_trace(begin + info("Next region of size 100") + chunk("InUse", "500", 256)),
              StartsWith("t:3: the chunks of a region of 100 B are larger"));
  EXPECT_THAT(refusal_of_trace(begin + info("Next region of size 1000") + chunk("InUse", "500", 256) +
                               chunk("Free ", "700", 256)),
              StartsWith("t:4: a chunk that does not follow"));
  EXPECT_THAT(refusal_of_trace(begin + chunk("InUse", "ffffffffffffff00", 512)),
              StartsWith("t:2: a chunk of no bytes or beyond"));
  EXPECT_THAT(refusal_of_trace(begin + chunk("InUse", "500", 0)), StartsWith("t:2: a chunk of no bytes"));
  EXPECT_THAT(refusal_of_trace(kRefused + "much\n"), StartsWith("t:1: a refused request without"));
  EXPECT_THAT(refusal_of_trace(info("BFCAllocator dump for GPU_999_bfc")),
              StartsWith("t:1: device 999 of 256"));
  EXPECT_THAT(refusal_of_trace(begin), StartsWith("t:1: the log ends without a chunk"));
}

TEST(BfcDump, IsReadOrRefusedButNeverACrashWhereverItIsCutOff) {
  const std::string whole = kBegin + region() + kEnd;
  std::size_t refused = 0;
  for (std::size_t length = 0; length < whole.size(); length += 3)
    refused += !refusal_of_trace(whole.substr(0, length)).empty();
  EXPECT_GT(refused, 50u);
}

TEST(ReadTrace, ChoosesTheReaderByContentAndNamesTheKnownFormatsForOtherFiles) {
  EXPECT_THAT(refusal_of_trace("hello\n"),
              StartsWith("t: offset 0: no known kind of trace; known: a pickle of "));
  EXPECT_THAT(refusal_of_trace(""), StartsWith("t: offset 0: no known kind of trace"));
  EXPECT_THAT(refusal_of_trace("\x80\x04K\x01."), HasSubstr("the pickle: expected a dict"));
  EXPECT_THAT(refusal_of_trace(std::string("SQLite format 3\0", 16)), StartsWith("t: "));
}

}  // namespace
}  // namespace drought
