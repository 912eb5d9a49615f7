// What a warp does together: shuffles, reductions and products of tiles.
#include "kernels/shape.hpp"
#include "tests/simt_kernels.hpp"

namespace drought {
namespace {

struct WarpWork : OnWords {
  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    const int lane = context.lane();
    const auto thread = static_cast<std::size_t>(context.thread());
    float values[2] = {static_cast<float>(lane), static_cast<float>(-lane)};
    context.template reduce_max<4>(values);
    float sums[1] = {static_cast<float>(lane)};
    context.template reduce_sum<32>(sums);
    const int neighbour = context.shuffle_xor(lane, 1), third = context.shuffle(lane, 3);
    const bool right = values[0] == static_cast<float>(lane | 3) &&
                       values[1] == -static_cast<float>(lane & ~3) && sums[0] == 496.0f &&
                       neighbour == (lane ^ 1) && third == 3;
    context.global(given.out)[thread] = right;
  }
};

TEST_F(Simt, ShufflesAndReducesWithinWarpsAndGroups) {
  std::vector<std::uint32_t> out(64);
  set_thread_order_seed(3);
  ASSERT_EQ(run<WarpWork>(numbers(1), out), Status::success) << host_launch_report();
  EXPECT_EQ(out, std::vector<std::uint32_t>(64, 1));
}

template <typename T, bool b_is_transposed>
struct Product : OnWords {
  static constexpr int depth = 48, columns = 24, pitch = 56;
  static float element_a(int r, int k) { return static_cast<float>((r * 5 + k * 3) % 17 - 8); }
  static float element_b(int k, int n) { return static_cast<float>((k * 7 + n * 11) % 13 - 6); }

  template <typename Context>
  DROUGHT_DEVICE static void body(Context& context, const Words& given) {
    T* const a = context.template shared<T>(0, 16 * pitch);
    T* const b = context.template shared<T>(sizeof(T) * 16 * pitch, depth * pitch);
    const int lane = context.lane();
    for (int i = lane; i < 16 * depth; i += 32)
      a[i / depth * pitch + i % depth] = from_float<T>(element_a(i / depth, i % depth));
    for (int i = lane; i < columns * depth; i += 32) {
      const int k = i / columns, n = i % columns;
      b[b_is_transposed ? n * pitch + k : k * pitch + n] = from_float<T>(element_b(k, n));
    }
    context.sync_warp();
    Fragment<columns> c{};
    for (auto& tile : c.value)
      for (float& value : tile) value = 1000.0f;
    if constexpr (b_is_transposed) {
      context.template multiply_by_transposed<depth>(c, Tile<const T>{a, pitch}, Tile<const T>{b, pitch});
    } else {
      context.template multiply_by<depth>(c, Tile<const T>{a, pitch}, Tile<const T>{b, pitch});
    }
    for (int t = 0; t < columns / 8; ++t) {
      for (int e = 0; e < 4; ++e) {
        float expected = 1000.0f;
        for (int k = 0; k < depth; ++k)
          expected += element_a(c.row(lane, e), k) * element_b(k, c.column(lane, t, e));
        const auto at = static_cast<std::size_t>(c.row(lane, e) * columns + c.column(lane, t, e));
        context.global(given.out)[at] = c.value[t][e] == expected;
      }
    }
  }
};

TEST_F(Simt, MultipliesTilesOfBothTypesAndLayoutsIntoTheAccumulatorOfMmaSync) {
  const std::size_t elements = 16 * 24;
  const auto right = [&](auto kernel) {
    std::vector<std::uint32_t> out(elements);
    EXPECT_EQ(run<decltype(kernel)>(numbers(1), out, 32, 64 << 10), Status::success) << host_launch_report();
    return out;
  };
  const std::vector<std::uint32_t> all(elements, 1);
  EXPECT_EQ(right(Product<float, false>{}), all);
  EXPECT_EQ(right(Product<float, true>{}), all);
  EXPECT_EQ(right(Product<bf16, false>{}), all);
  EXPECT_EQ(right(Product<bf16, true>{}), all);
}

TEST(HostTile, GivesTheSameBitsWithTheVectorsOfThisProcessorAndWithout) {
  constexpr int depth = 80, columns = 72;
  std::vector<float> a(tile_rows * depth), b(depth * columns), c(tile_rows * columns);
  for (auto* const part : {&a, &b, &c})
    fill_normal("fp32", 5, part->size(), std::as_writable_bytes(std::span(*part)));
  std::vector<float> same = c;
  host_tile::multiply<depth, columns>(c.data(), a.data(), b.data());
  host_tile::multiply_rows<depth, columns>(same.data(), a.data(), b.data());
  EXPECT_EQ(c, same);
}

}  // namespace
}  // namespace drought
