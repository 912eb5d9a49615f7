// Work on two streams that nothing orders is a race whichever way this run happened to order it; what
// CUDA orders is none.
#include "harness/memory/access_order.hpp"
#include "tests/named.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drought {
namespace {

using testing::HasSubstr;

constexpr Stream kA{1}, kB{2}, kC{3}, kLegacy{0};

class AccessOrderTest : public testing::Test {
 protected:
  std::string launch(Stream stream, Access access, std::size_t begin = 0, std::size_t bytes = 64,
                     const char* kernel = "kernel") {
    const Operand operands[] = {{"block", reinterpret_cast<void*>(0x1000 + begin), bytes, access}};
    const Call call{.site = Site::launch, .stream = stream, .operands = operands, .kernel = kernel};
    const auto races = order_.note(call);
    order_.completed(call);
    return races.empty() ? "" : races.front();
  }
  std::string write(Stream stream) { return launch(stream, Access::write); }
  std::string read(Stream stream) { return launch(stream, Access::read); }
  void did(Site site, Stream stream = {}, std::uint64_t event = 0) {
    order_.completed({.site = site, .stream = stream, .event = event});
  }

  void pool(Site site, Stream stream, std::size_t bytes = 0) {
    order_.completed(
        {.site = site, .bytes = bytes, .stream = stream, .data = reinterpret_cast<void*>(0x1000)});
  }

  AccessOrder order_;
};

TEST_F(AccessOrderTest, LetsAStreamUseWhatThePoolLentItAfterAnotherStreamsFree) {
  pool(Site::cudaMallocAsync, kA, 64);
  EXPECT_EQ(write(kA), "");
  pool(Site::cudaFreeAsync, kA);
  pool(Site::cudaMallocAsync, kB, 64);
  EXPECT_EQ(write(kB), "");
}

TEST_F(AccessOrderTest, SeesAUseOfAPoolsBlockThatItsFreeDidNotComeAfter) {
  pool(Site::cudaMallocAsync, kA, 64);
  EXPECT_EQ(write(kC), "");
  pool(Site::cudaFreeAsync, kA);
  pool(Site::cudaMallocAsync, kB, 64);
  EXPECT_THAT(write(kB), HasSubstr("wrote on another stream"));
}

TEST_F(AccessOrderTest, SeesALateUseByTheStreamThatFreedThePoolsBlock) {
  pool(Site::cudaMallocAsync, kA, 64);
  pool(Site::cudaFreeAsync, kA);
  pool(Site::cudaMallocAsync, kB, 64);
  EXPECT_EQ(write(kB), "");
  EXPECT_THAT(write(kA), HasSubstr("wrote on another stream"));
}

TEST_F(AccessOrderTest, SeesAReadOnAnotherStreamAfterAWriteAndNamesBoth) {
  EXPECT_EQ(launch(kA, Access::write, 0, 64, "prefill"), "");
  const std::string race = launch(kB, Access::read, 0, 64, "decode");
  EXPECT_THAT(race, HasSubstr("decode 'block' reads what prefill 'block' wrote on another stream"));
}

TEST_F(AccessOrderTest, SeesAWriteOnAnotherStreamAfterAReadOrAWrite) {
  EXPECT_EQ(read(kA), "");
  EXPECT_THAT(write(kB), HasSubstr("read on another stream"));
  EXPECT_THAT(write(kC), HasSubstr("wrote on another stream"));
}

TEST_F(AccessOrderTest, SeesAReadWriteOperandAsAWrite) {
  EXPECT_EQ(read(kA), "");
  EXPECT_NE(launch(kB, Access::read_write), "");
}

TEST_F(AccessOrderTest, LetsReadsBesideReadsAndOneStreamAlone) {
  EXPECT_EQ(read(kA), "");
  EXPECT_EQ(read(kB), "");
  order_.forget();
  EXPECT_EQ(write(kA), "");
  EXPECT_EQ(read(kA), "");
  EXPECT_EQ(write(kA), "");
}

TEST_F(AccessOrderTest, SeesAWriterThatIsOrderedAfterOnlyOneOfTwoReaders) {
  EXPECT_EQ(read(kA), "");
  EXPECT_EQ(read(kB), "");
  did(Site::cudaEventRecord, kA, 7);
  did(Site::cudaStreamWaitEvent, kC, 7);
  EXPECT_THAT(write(kC), HasSubstr("read on another stream"));
}

TEST_F(AccessOrderTest, LetsAWaitForAnEventOrderTheTwoStreams) {
  EXPECT_EQ(write(kA), "");
  did(Site::cudaEventRecord, kA, 7);
  did(Site::cudaStreamWaitEvent, kB, 7);
  EXPECT_EQ(read(kB), "");
}

TEST_F(AccessOrderTest, LetsAnEventOrderOnlyWhatWasEnqueuedBeforeItWasRecorded) {
  did(Site::cudaEventRecord, kA, 7);
  EXPECT_EQ(write(kA), "");
  did(Site::cudaStreamWaitEvent, kB, 7);
  EXPECT_NE(read(kB), "");
}

TEST_F(AccessOrderTest, CarriesOrderThroughAChainOfEvents) {
  EXPECT_EQ(write(kA), "");
  did(Site::cudaEventRecord, kA, 7);
  did(Site::cudaStreamWaitEvent, kB, 7);
  did(Site::cudaEventRecord, kB, 8);
  did(Site::cudaStreamWaitEvent, kC, 8);
  EXPECT_EQ(write(kC), "");
}

TEST_F(AccessOrderTest, OrdersNothingByAWaitOnTheWrongEvent) {
  EXPECT_EQ(write(kA), "");
  did(Site::cudaEventRecord, kA, 7);
  did(Site::cudaStreamWaitEvent, kB, 8);
  EXPECT_NE(read(kB), "");
}

struct Wait {
  const char* name;
  Site site;
  Stream stream;
  std::uint64_t event;
};

class HostWait : public AccessOrderTest, public testing::WithParamInterface<Wait> {};

TEST_P(HostWait, OrdersEarlierWorkBeforeAllThatTheHostEnqueuesLater) {
  EXPECT_EQ(write(kA), "");
  did(Site::cudaEventRecord, kA, 7);
  did(GetParam().site, GetParam().stream, GetParam().event);
  EXPECT_EQ(write(kB), "");
}

INSTANTIATE_TEST_SUITE_P(Every, HostWait,
                         testing::Values(Wait{"StreamSynchronize", Site::cudaStreamSynchronize, kA, 0},
                                         Wait{"DeviceSynchronize", Site::cudaDeviceSynchronize, {}, 0},
                                         Wait{"Free", Site::cudaFree, {}, 0},
                                         Wait{"EventSynchronize", Site::cudaEventSynchronize, {}, 7},
                                         Wait{"EventQuery", Site::cudaEventQuery, {}, 7}),
                         by_name);

TEST_F(AccessOrderTest, OrdersNothingByWaitingForAThirdStream) {
  EXPECT_EQ(write(kA), "");
  did(Site::cudaStreamSynchronize, kC);
  EXPECT_NE(read(kB), "");
}

TEST_F(AccessOrderTest, LetsTheLegacyDefaultStreamWaitForAllAndAllForIt) {
  EXPECT_EQ(write(kA), "");
  EXPECT_EQ(write(kLegacy), "");
  EXPECT_EQ(write(kB), "");
}

TEST_F(AccessOrderTest, ComparesBytesAndNotBlocks) {
  EXPECT_EQ(launch(kA, Access::write, 0, 64), "");
  EXPECT_EQ(launch(kB, Access::write, 64, 64), "") << "two halves of one block are not one another";
  EXPECT_NE(launch(kC, Access::write, 63, 1), "");
  EXPECT_NE(launch(kC, Access::read, 100, 1000), "");
}

TEST_F(AccessOrderTest, SeesEachRaceOnceForEachOperand) {
  EXPECT_EQ(launch(kA, Access::write, 0, 16), "");
  EXPECT_EQ(launch(kA, Access::write, 32, 16), "");
  const Operand operands[] = {{"whole", reinterpret_cast<void*>(0x1000), 64, Access::read}};
  EXPECT_EQ(order_.note({.site = Site::launch, .stream = kB, .operands = operands, .kernel = "k"}).size(),
            1u);
}

TEST_F(AccessOrderTest, JudgesFillsAndCopiesAsItJudgesLaunches) {
  const Operand operands[] = {{"to", reinterpret_cast<void*>(0x1000), 64, Access::write}};
  EXPECT_TRUE(order_.note({.site = Site::cudaMemset, .stream = kA, .operands = operands}).empty());
  EXPECT_EQ(order_.note({.site = Site::cudaMemcpy, .stream = kB, .operands = operands}).size(), 1u);
}

TEST_F(AccessOrderTest, ForgetsAllWhenTheDeviceHasComeToRest) {
  EXPECT_EQ(write(kA), "");
  order_.forget();
  EXPECT_EQ(write(kB), "");
}

}  // namespace
}  // namespace drought
