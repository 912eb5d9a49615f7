// The kernels on both lanes, in memory that the device lends, against the same oracles: one source, two
// compilers. The cuda lane also gets shapes of many tiles that simulated threads would take minutes for.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/device_memory.hpp"

namespace drought {
namespace {

class KernelsOnEveryLane : public testing::TestWithParam<Lane> {};

TEST_P(KernelsOnEveryLane, AgreeWithTheirOraclesAndGiveTheSameBitsTwice) {
  std::string why_not;
  const auto device = device_of(GetParam(), why_not);
  if (!device) GTEST_SKIP() << why_not;
  const auto shapes = tested_shapes();
  ASSERT_FALSE(shapes.empty());
  for (const TestedShape& shape : shapes) expect_right_twice(*device, *shape.kernel, shape.text);
}

INSTANTIATE_TEST_SUITE_P(Lanes, KernelsOnEveryLane, testing::Values(Lane::host, Lane::cuda),
                         [](const auto& info) { return info.param == Lane::host ? "host" : "cuda"; });

TEST(KernelsOnTheGpu, AgreeWithTheirOraclesOverManyTiles) {
  std::string why_not;
  const auto device = device_of(Lane::cuda, why_not);
  if (!device) GTEST_SKIP() << why_not;
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
  }
}

}  // namespace
}  // namespace drought
