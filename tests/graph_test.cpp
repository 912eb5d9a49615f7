// Captures and graphs of the simulated device beyond the semantics table, and what the ledger knows of
// them: a replay is judged by the ranges that the captured calls declared, before the device sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "allocators/direct.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/ledger.hpp"
#include "tests/host_lane.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

class Judge final : public CallGate {
 public:
  explicit Judge(Ledger& ledger) : ledger_(ledger) {}
  void enter(Call& call) override { ledger_.judge(call); }
  void leave(Call& call, Status status) noexcept override {
    if (!call.refused && status == Status::success) ledger_.completed(call);
  }

 private:
  Ledger& ledger_;
};

class JudgedGraph : public testing::Test {
 protected:
  JudgedGraph() { device_->set_gate(&judge_); }
  ~JudgedGraph() override { device_->set_gate(nullptr); }

  /// An instance of a graph that fills the buffer.
  GraphInstance fills(const Buffer& buffer) {
    Graph graph;
    GraphInstance instance;
    EXPECT_EQ(device_->stream_begin_capture(stream_, CaptureMode::global), Status::success);
    EXPECT_EQ(device_->memset(buffer.data(), 7, buffer.bytes(), stream_), Status::success);
    EXPECT_EQ(device_->stream_end_capture(stream_, graph), Status::success);
    EXPECT_EQ(device_->graph_instantiate(instance, graph), Status::success);
    return instance;
  }
  std::string violation() const { return record_.violations.empty() ? "" : record_.violations.back().text; }

  std::unique_ptr<Device> device_ = h200();
  Record record_;
  Ledger ledger_{record_};
  Direct direct_{*device_, {}};
  Account memory_{ledger_, "direct", direct_, *device_, nullptr};
  Judge judge_{ledger_};
  Stream stream_ = stream_of(*device_);
};

TEST_F(JudgedGraph, IsReplayedWhileItsOperandsLive) {
  const Buffer buffer(memory_, {.bytes = 64_MiB, .tag = "scratch"});
  const GraphInstance instance = fills(buffer);
  EXPECT_EQ(device_->graph_launch(instance, stream_), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
  EXPECT_EQ(buffer.data()[64_MiB - 1], std::byte{7});
  EXPECT_EQ(violation(), "");
}

TEST_F(JudgedGraph, IsRefusedByNameWhenItWouldTouchAFreedBlock) {
  Buffer buffer(memory_, {.bytes = 64_MiB, .tag = "scratch"});
  const GraphInstance instance = fills(buffer);
  buffer.reset();
  EXPECT_EQ(device_->graph_launch(instance, stream_), Status::invalid_value);
  EXPECT_THAT(violation(), HasSubstr("graph 1 operand 'to of cudaMemset' is stale: 'scratch' (id 1)"));
  EXPECT_THAT(violation(), HasSubstr("while graph 1 used it"));
  EXPECT_EQ(record_.violations.back().check, "no_stale_operand");
  EXPECT_EQ(device_->synchronize(), Status::success) << "the device was asked all the same";
}

TEST_F(JudgedGraph, IsRefusedWhenItsOperandNowRunsIntoAnotherOwnersBlock) {
  Buffer buffer(memory_, {.bytes = 64_MiB, .tag = "scratch"});
  const GraphInstance instance = fills(buffer);
  buffer.reset();
  const Buffer owner(memory_, {.bytes = 2_MiB, .tag = "weights"});
  EXPECT_EQ(device_->graph_launch(instance, stream_), Status::invalid_value);
  EXPECT_THAT(violation(), HasSubstr("past the end of 'weights'"));
}

TEST_F(JudgedGraph, IsNamedAsAUserOfABlockWhileItHasAnInstanceAndOwnsNothing) {
  const Buffer buffer(memory_, {.bytes = 64_MiB, .tag = "scratch"});
  const GraphInstance instance = fills(buffer);
  const Tag tags[] = {"scratch"};
  ASSERT_EQ(ledger_.survivors(tags).size(), 1u);
  EXPECT_THAT(ledger_.survivors(tags)[0].text(), HasSubstr("held by its owner, used by graph 1"));
  ASSERT_EQ(device_->graph_instance_destroy(instance), Status::success);
  EXPECT_EQ(ledger_.survivors(tags)[0].text().find("used by"), std::string::npos);
}

TEST_F(JudgedGraph, IsAnAccessWhenItIsLaunchedAndNoneWhenItIsCaptured) {
  const Buffer buffer(memory_, {.bytes = 64_MiB, .tag = "scratch"});
  const Stream other = stream_of(*device_);
  const GraphInstance instance = fills(buffer);
  ASSERT_EQ(device_->memset(buffer.data(), 1, 16, other), Status::success);
  EXPECT_EQ(violation(), "") << "the captured fill was taken for one that ran";
  ASSERT_EQ(device_->graph_launch(instance, stream_), Status::success);
  EXPECT_THAT(violation(), HasSubstr("graph 1 'to of cudaMemset' writes what cudaMemset 'to' wrote"));
}

TEST_F(JudgedGraph, IsNotJudgedByWhatItsOwnMemoryNodesLend) {
  Graph graph;
  GraphInstance instance;
  void* block = nullptr;
  ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::global), Status::success);
  ASSERT_EQ(device_->malloc_async(block, 64_MiB, stream_), Status::success);
  ledger_.declare_range("a memory node's", block, 64_MiB);
  ASSERT_EQ(device_->memset(block, 7, 64_MiB, stream_), Status::success);
  ASSERT_EQ(device_->free_async(block, stream_), Status::success);
  ledger_.forget_range(block);
  ASSERT_EQ(device_->stream_end_capture(stream_, graph), Status::success);
  ASSERT_EQ(device_->graph_instantiate(instance, graph), Status::success);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(device_->graph_launch(instance, stream_), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
  EXPECT_EQ(violation(), "");
}

TEST(HostGraph, RunsAgainInTheOrderOfTheCapturedCallsAndReadsHostMemoryOnlyThen) {
  const auto device = h200();
  const Stream stream = stream_of(*device);
  std::string log;
  void* block = nullptr;
  std::uint8_t source = 1, result = 0;
  ASSERT_EQ(device->malloc(block, 16), Status::success);
  ASSERT_EQ(device->stream_begin_capture(stream, CaptureMode::global), Status::success);
  for (const char letter : {'a', 'b', 'c'}) ASSERT_EQ(note(*device, log, letter, stream), Status::success);
  ASSERT_EQ(device->memcpy(block, &source, 1, stream), Status::success);
  ASSERT_EQ(device->memcpy(&result, block, 1, stream), Status::success);
  Graph graph;
  GraphInstance instance;
  ASSERT_EQ(device->stream_end_capture(stream, graph), Status::success);
  ASSERT_EQ(device->graph_instantiate(instance, graph), Status::success);
  ASSERT_EQ(device->graph_destroy(graph), Status::success);
  EXPECT_EQ(log, "");
  source = 2;
  for (int i = 0; i < 2; ++i) ASSERT_EQ(device->graph_launch(instance, stream), Status::success);
  ASSERT_EQ(device->stream_synchronize(stream), Status::success);
  EXPECT_EQ(log, "abcabc");
  EXPECT_EQ(result, 2);
  EXPECT_EQ(device->graph_instance_destroy(instance), Status::success);
  EXPECT_EQ(device->graph_launch(instance, stream), Status::invalid_value);
}

TEST(HostGraph, MayNotRunAgainWhileTheBlockOfItsMemoryNodeLives) {
  const auto device = h200();
  const Stream stream = stream_of(*device);
  void* block = nullptr;
  Graph graph;
  GraphInstance instance;
  ASSERT_EQ(device->stream_begin_capture(stream, CaptureMode::global), Status::success);
  ASSERT_EQ(device->malloc_async(block, 64_MiB, stream), Status::success);
  ASSERT_EQ(device->stream_end_capture(stream, graph), Status::success);
  ASSERT_EQ(device->graph_instantiate(instance, graph), Status::success);
  EXPECT_EQ(device->free_async(block, stream), Status::invalid_value) << "nothing has lent it yet";
  ASSERT_EQ(device->graph_launch(instance, stream), Status::success);
  EXPECT_EQ(device->graph_launch(instance, stream), Status::invalid_value);
  ASSERT_EQ(device->free_async(block, stream), Status::success);
  EXPECT_EQ(device->graph_launch(instance, stream), Status::success);
  ASSERT_EQ(device->free(block), Status::success);
  ASSERT_EQ(device->graph_instance_destroy(instance), Status::success);
  ASSERT_EQ(device->graph_destroy(graph), Status::success);
  EXPECT_EQ(device->held_bytes(), 64_MiB);
  ASSERT_EQ(device->graph_memory_trim(), Status::success);
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST(HostGraph, RefusesALaunchWhoseMemoryNodesDoNotFitAndLeavesNothingLive) {
  const auto device =
      make_host_device(profile_named("h200"), {.work = Device::Work::shapes, .capacity_bytes = 1_GiB});
  const Stream stream = stream_of(*device);
  void* blocks[2] = {};
  Graph graph;
  GraphInstance instance;
  ASSERT_EQ(device->stream_begin_capture(stream, CaptureMode::global), Status::success);
  for (void*& block : blocks) ASSERT_EQ(device->malloc_async(block, 300_MiB, stream), Status::success);
  ASSERT_EQ(device->stream_end_capture(stream, graph), Status::success);
  ASSERT_EQ(device->graph_instantiate(instance, graph), Status::success);
  EXPECT_EQ(device->graph_launch(instance, stream), Status::memory_allocation);
  for (void* const block : blocks) EXPECT_EQ(device->free(block), Status::invalid_value);
}

class HostCapture : public testing::Test {
 protected:
  Status end() {
    Graph graph;
    return device_->stream_end_capture(stream_, graph);
  }
  std::unique_ptr<Device> device_ = h200();
  std::string log_;
  Stream stream_ = stream_of(*device_), other_ = stream_of(*device_);
  Event event_ = event_of(*device_), back_ = event_of(*device_);
};

TEST_F(HostCapture, DoesNotBeginTwiceNorOnTheLegacyStreamAndEndsOnce) {
  EXPECT_EQ(device_->stream_begin_capture({}, CaptureMode::relaxed), Status::stream_capture_unsupported);
  EXPECT_EQ(device_->stream_begin_capture(stream_, CaptureMode::relaxed), Status::success);
  EXPECT_EQ(device_->stream_begin_capture(stream_, CaptureMode::relaxed), Status::illegal_state);
  EXPECT_EQ(end(), Status::success);
  EXPECT_EQ(end(), Status::illegal_state);
}

TEST_F(HostCapture, TakesInAStreamThatWaitsForItsEventAndAsksForTheWayBack) {
  for (const bool joins : {false, true}) {
    ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::global), Status::success);
    ASSERT_EQ(device_->event_record(event_, stream_), Status::success);
    ASSERT_EQ(device_->stream_wait_event(other_, event_), Status::success);
    ASSERT_EQ(note(*device_, log_, 'a', other_), Status::success);
    if (joins) {
      ASSERT_EQ(device_->event_record(back_, other_), Status::success);
      ASSERT_EQ(device_->stream_wait_event(stream_, back_), Status::success);
    }
    EXPECT_EQ(end(), joins ? Status::success : Status::stream_capture_unjoined);
    EXPECT_EQ(log_, "");
    CaptureStatus status{};
    ASSERT_EQ(device_->stream_capture_status(other_, status), Status::success);
    EXPECT_EQ(status, CaptureStatus::none);
  }
}

TEST_F(HostCapture, IsBrokenByAWaitForAnEventFromOutside) {
  ASSERT_EQ(device_->event_record(event_, other_), Status::success);
  ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::relaxed), Status::success);
  EXPECT_EQ(device_->stream_wait_event(stream_, event_), Status::stream_capture_isolation);
  EXPECT_EQ(end(), Status::stream_capture_invalidated);
}

TEST_F(HostCapture, IsBrokenByAQueryOfItsEventAndByAWaitForItsStream) {
  ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::relaxed), Status::success);
  ASSERT_EQ(device_->event_record(event_, stream_), Status::success);
  EXPECT_EQ(device_->event_query(event_), Status::captured_event);
  EXPECT_EQ(note(*device_, log_, 'a', stream_), Status::stream_capture_invalidated);
  EXPECT_EQ(end(), Status::stream_capture_invalidated);
  ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::relaxed), Status::success);
  EXPECT_EQ(device_->stream_synchronize(stream_), Status::stream_capture_unsupported);
  EXPECT_EQ(end(), Status::stream_capture_invalidated);
}

TEST_F(HostCapture, EndsWithItsStream) {
  ASSERT_EQ(device_->stream_begin_capture(stream_, CaptureMode::global), Status::success);
  ASSERT_EQ(device_->stream_destroy(stream_), Status::success);
  EXPECT_EQ(device_->synchronize(), Status::success);
}

}  // namespace
}  // namespace drought
