// The kernels on both lanes, in memory that the device lends, against the same oracles: one source, two
// compilers. The cuda lane also gets shapes of many tiles that simulated threads would take minutes for.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "harness/device/device.hpp"
#include "kernels/catalogue.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/sampling.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/device_memory.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

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

/// Every kernel as an empty table makes it, and those that have several bodies with the one named. Few enough
/// launches for compute-sanitizer, which makes each a hundred times as long.
void expect_catalogue_right(Lane lane, const std::string& body) {
  std::string why_not;
  const auto device = device_of(lane, why_not);
  if (!device) GTEST_SKIP() << why_not;
  std::string missing;
  for (const KernelEntry& entry : kernel_catalogue()) {
    const bool has_bodies = entry.name == PrefillAttention::kernel_name ||
                            entry.name == DecodeAttention::kernel_name ||
                            entry.name == VisionAttention::kernel_name;
    const auto kernel = entry.make(parse_toml(has_bodies ? "body = '" + body + "'" : "", "shape.toml"));
    if (std::string why = missing_library(*kernel, lane); !why.empty())
      missing = std::move(why);
    else
      expect_right_twice(*device, *kernel, std::string(entry.name) + " " + body);
  }
  if (!missing.empty()) GTEST_SKIP() << missing;
}

TEST_P(KernelsOnEveryLane, AreRightAsAnEmptyTableMakesThem) { expect_catalogue_right(GetParam(), "best"); }
TEST_P(KernelsOnEveryLane, AreRightWithPortableBodies) { expect_catalogue_right(GetParam(), "portable"); }

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

}  // namespace
}  // namespace drought
