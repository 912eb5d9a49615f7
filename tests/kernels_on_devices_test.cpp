// The kernels on both lanes, in memory that the device lends, against the same oracles: one source, two
// compilers. The cuda lane also gets shapes of many tiles that simulated threads would take minutes for.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/simt/host_block.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/sampling.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

/// A kernel's parts in memory of a device, with what the host holds of them beside.
class DeviceMemory {
 public:
  DeviceMemory(Device& device, const Kernel& kernel)
      : device_(device), kernel_(kernel), plan_(kernel.plan()) {
    for (const Part& part : plan_) {
      void* lent = nullptr;
      if (part.bytes != 0) {
        EXPECT_EQ(device_.malloc(lent, part.bytes), Status::success);
      }
      lent_.push_back(lent);
      host_.emplace_back(part.bytes, std::byte{0xff});
      const bool input = part.role == Part::Role::input;
      if (input && part.bytes != 0) kernel.fill(host_.size() - 1, 41, host_.back());
    }
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    for (void* const lent : lent_) EXPECT_EQ(device_.free(lent), Status::success);
  }

  /// Inputs as filled and all else poisoned, one launch, outputs back on the host.
  void run() {
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (plan_[i].bytes == 0) continue;
      const std::byte filling{plan_[i].zeroed ? std::uint8_t{0} : std::uint8_t{0xff}};
      if (plan_[i].role != Part::Role::input) std::fill(host_[i].begin(), host_[i].end(), filling);
      ASSERT_EQ(device_.memcpy(lent_[i], host_[i].data(), plan_[i].bytes), Status::success);
    }
    ASSERT_EQ(kernel_.launch(device_, {}, lent_), Status::success) << host_launch_report();
    ASSERT_EQ(device_.synchronize(), Status::success) << host_launch_report();
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      if (plan_[i].role != Part::Role::output) continue;
      ASSERT_EQ(device_.memcpy(host_[i].data(), lent_[i], plan_[i].bytes), Status::success);
    }
  }

  Comparison compare() const {
    return kernel_.compare({std::vector<std::span<const std::byte>>(host_.begin(), host_.end())});
  }
  const std::vector<std::vector<std::byte>>& host() const { return host_; }

 private:
  Device& device_;
  const Kernel& kernel_;
  std::vector<Part> plan_;
  std::vector<void*> lent_;
  std::vector<std::vector<std::byte>> host_;
};

void expect_right_twice(Device& device, const Kernel& kernel, const std::string& text) {
  SCOPED_TRACE(text);
  DeviceMemory memory(device, kernel);
  memory.run();
  const Comparison comparison = memory.compare();
  EXPECT_TRUE(comparison.within) << comparison.text;
  const auto first = memory.host();
  memory.run();
  EXPECT_EQ(memory.host(), first) << "two runs differ";
}

std::unique_ptr<Device> device_of(Lane lane, std::string& why_not) {
  return lane == Lane::host ? make_host_device(profile_named("h200"), {})
                            : make_cuda_device(profile_named("h200"), {}, why_not);
}

class KernelsOnEveryLane : public testing::TestWithParam<Lane> {};

TEST_P(KernelsOnEveryLane, AgreeWithTheirOraclesAndGiveTheSameBitsTwice) {
  std::string why_not;
  const auto device = device_of(GetParam(), why_not);
  if (!device) GTEST_SKIP() << why_not;
  const auto shapes = tested_shapes();
  ASSERT_FALSE(shapes.empty());
  std::string missing;
  for (const TestedShape& shape : shapes) {
    if (std::string why = missing_library(*shape.kernel, GetParam()); !why.empty())
      missing = std::move(why);
    else
      expect_right_twice(*device, *shape.kernel, shape.text);
  }
  if (!missing.empty()) GTEST_SKIP() << missing;
}

INSTANTIATE_TEST_SUITE_P(Lanes, KernelsOnEveryLane, testing::Values(Lane::host, Lane::cuda),
                         [](const auto& info) { return info.param == Lane::host ? "host" : "cuda"; });

TEST(KernelsOnTheGpu, AgreeWithTheirOraclesOverManyTiles) {
  std::string why_not;
  const auto device = device_of(Lane::cuda, why_not);
  if (!device) GTEST_SKIP() << why_not;
  expect_right_twice(*device, Sampling({.rows = 64, .vocab = 151936, .top_k = 50}), "sampling");
  for (const char* const type : {"fp32", "bf16"}) {
    expect_right_twice(
        *device, PrefillAttention({.type = type, .queries = 777, .prefix = 250, .heads = 4, .head_dim = 128}),
        std::string("prefill ") + type);
    expect_right_twice(*device,
                       DecodeAttention({.type = type,
                                        .seqlens = {2049, 0, 4097, 1},
                                        .page_size = 16,
                                        .splits = 8,
                                        .heads = 8,
                                        .kv_heads = 2,
                                        .head_dim = 128}),
                       std::string("decode ") + type);
    expect_right_twice(*device, VisionAttention({.type = type, .cu_seqlens = {0, 900, 900, 964, 1500}}),
                       std::string("vision ") + type);
    expect_right_twice(*device, Norm({.type = type, .kind = "layer", .rows = 300, .width = 5120}),
                       std::string("norm ") + type);
    expect_right_twice(*device, GatedActivation({.type = type, .rows = 200, .width = 4097}),
                       std::string("activation ") + type);
    const Linear linear({.type = type, .rows = 333, .columns = 520, .depth = 1176, .bias = true});
    if (const std::string why = missing_library(linear, Lane::cuda); !why.empty()) GTEST_SKIP() << why;
    expect_right_twice(*device, linear, std::string("linear ") + type);
  }
}

TEST(KernelsOnTheGpu, HopperPrefillAgreesWithTheOracleAtTheEdgesOfItsTiles) {
  std::string why_not;
  const auto device = device_of(Lane::cuda, why_not);
  if (!device) GTEST_SKIP() << why_not;
  for (const std::size_t head_dim : {64, 128})
    for (const bool causal : {false, true})
      for (const std::size_t queries : {1, 127, 193, 385})
        for (const std::size_t prefix : {0, 577}) {
          const std::string text = "head_dim " + std::to_string(head_dim) + (causal ? " causal " : " full ") +
                                   std::to_string(queries) + " + " + std::to_string(prefix);
          expect_right_twice(*device,
                             PrefillAttention({.batch = 2,
                                               .queries = queries,
                                               .prefix = prefix,
                                               .heads = 3,
                                               .kv_heads = 1,
                                               .head_dim = head_dim,
                                               .causal = causal,
                                               .body = "hopper"}),
                             text);
        }
}

}  // namespace
}  // namespace drought
