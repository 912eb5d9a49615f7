// Rotary position embedding: the tables that a shape makes of each kind of positions, and what is refused.
#include "kernels/rope.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/shape.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

TEST(Rope, RefusesAxesAndPositionsThatItsShapeDoesNotHave) {
  const Rope kernel({.tokens = 3, .head_dim = 64, .positions = "vision"});
  KernelMemory memory(kernel, 1);
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "");
  fill_integers(std::vector<std::int32_t>{0, 1, 2, 3, -4, 5}, memory.bytes("positions"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "positions[1][1] is -4");
  auto axes = integers(memory.bytes("axes"));
  axes[15] = 2;
  fill_integers(axes, memory.bytes("axes"));
  EXPECT_EQ(kernel.wrong_inputs(memory.views()), "axes[15] is 2, the shape says 0");
}

/// transformers' apply_interleaved_mrope overwrites every third pair from the second and the third on.
TEST(Rope, DealsOutPairsToTimeHeightAndWidthInTurnUntilTheSectionsAreUsedUp) {
  const Rope kernel({.head_dim = 128, .positions = "interleaved-m-rope", .sections = {24, 20, 20}});
  std::vector<std::int32_t> wanted(64, 0);
  for (std::size_t pair = 1; pair < 60; pair += 3) wanted[pair] = 1;
  for (std::size_t pair = 2; pair < 60; pair += 3) wanted[pair] = 2;
  KernelMemory memory(kernel, 1);
  EXPECT_EQ(integers(memory.bytes("axes")), wanted);
}

/// Llama-3.1-8B's rope_scaling. Pair 29 turns 3.4 times in 8192 tokens, and is stretched in part.
TEST(Rope, StretchesTheFrequenciesThatTurnSeldomAsLlama3Does) {
  const Rope kernel({.head_dim = 128, .base = 5e5, .scaling = "llama3", .factor = 8});
  KernelMemory memory(kernel, 1);
  std::vector<float> got(64);
  std::memcpy(got.data(), memory.bytes("frequencies").data(), got.size() * sizeof(float));
  EXPECT_FLOAT_EQ(got[0], 1.0f);
  EXPECT_FLOAT_EQ(got[28], 0.00321144599f);
  EXPECT_FLOAT_EQ(got[29], 0.00216657076f);
  EXPECT_FLOAT_EQ(got[33], 0.00031269375f);
  EXPECT_FLOAT_EQ(got[36], 7.78465527e-05f);
}

}  // namespace
}  // namespace drought
