// The execution context on the host: what a kernel body sees of one simulated thread. cuda_context.hpp has
// the same members for a real one; a kernel is a template over the two and uses nothing else.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "harness/sched/sanitizers.hpp"
#include "harness/simt/arithmetic.hpp"
#include "harness/simt/host_block.hpp"
#include "harness/simt/host_tile.hpp"
#include "harness/simt/number.hpp"
#include "harness/simt/tile.hpp"

namespace drought {

class HostContext {
 public:
  HostContext(HostBlock& block, unsigned thread) : block_(block), thread_(thread) {}

  Dim3 block() const { return block_.index(); }
  Dim3 grid() const { return block_.launch().grid; }
  int thread() const { return static_cast<int>(thread_); }
  int lane() const { return static_cast<int>(thread_ % warp_lanes); }
  int warp() const { return static_cast<int>(thread_ / warp_lanes); }

  /// The only way to global memory: every access is checked against the operand that the launch declared
  /// and that the pointer lies in. A launch that is not declared is checked by the page tables alone.
  template <typename T>
  class Global {
   public:
    T& operator[](std::size_t i) const {
      if (i >= count_) [[unlikely]]
        refuse(i);
      return data_[i];
    }

   private:
    friend class HostContext;
    Global(HostContext& context, T* data) : context_(&context), data_(data) {
      const Launch& launch = context.block_.launch();
      for (const Operand& operand : launch.operands) {
        const auto from = reinterpret_cast<std::uintptr_t>(operand.data);
        const auto at = reinterpret_cast<std::uintptr_t>(data);
        if (!data || at < from || at - from >= operand.bytes) continue;
        operand_ = &operand;
        if (std::is_const_v<T> || operand.access != Access::read)
          count_ = (operand.bytes - (at - from)) / sizeof(T);
      }
      if (!launch.declared && !operand_) count_ = std::numeric_limits<std::size_t>::max();
    }

    [[noreturn]] void refuse(std::size_t i) const {
      const bool read_only = operand_ && count_ == 0 && !std::is_const_v<T>;
      const char* const wrong = !operand_   ? "touches memory that no operand declares,"
                                : read_only ? "writes into the read-only operand"
                                            : "leaves the operand";
      const auto base = static_cast<const std::byte*>(operand_ ? operand_->data : data_);
      const auto start = reinterpret_cast<const std::byte*>(data_) - base;
      context_->block_.outside_operand(context_->thread_, operand_,
                                       start + static_cast<std::ptrdiff_t>(i * sizeof(T)), wrong);
    }

    HostContext* context_;
    T* data_;
    const Operand* operand_ = nullptr;
    std::size_t count_ = 0;
  };

  template <typename T>
  Global<T> global(T* data) {
    return Global<T>(*this, data);
  }

  /// `count` elements of dynamic shared memory from byte `offset`; NaNs when the block starts.
  template <typename T>
  T* shared(std::size_t offset, std::size_t count) {
    return static_cast<T*>(block_.shared(thread_, offset, count * sizeof(T)));
  }

  void sync() { block_.sync(thread_); }
  void sync_warp() { block_.sync_warp(thread_); }

  /// Ends the launch, with illegal_address, where an operand's content does not hold what it must: on a GPU
  /// a trap, which answers launch_failure, and both are told by the next synchronization.
  void require(bool holds) {
    if (!holds) block_.end(Status::illegal_address, thread_, "meets an index that it may not follow");
  }

  /// The value of lane `from`. All 32 lanes take part, in this and in every function down to multiply.
  template <typename T>
  T shuffle(T value, int from) {
    static_assert(sizeof(T) == 4);
    Shuffle mine{std::bit_cast<std::uint32_t>(value), from, 0};
    block_.collect(thread_, &shuffle_leaf, &mine);
    return std::bit_cast<T>(mine.result);
  }
  template <typename T>
  T shuffle_xor(T value, int mask) {
    return shuffle(value, lane() ^ mask);
  }

  /// Each value becomes the largest, or the sum, over the aligned group of `width` lanes; the sum in the
  /// order of a butterfly, so that all lanes hold the same bits.
  template <int width, int count>
  void reduce_max(float (&values)[count]) {
    block_.collect(thread_, &reduce_leaf<width, count, Largest>, values);
  }
  template <int width, int count>
  void reduce_sum(float (&values)[count]) {
    block_.collect(thread_, &reduce_leaf<width, count, Sum>, values);
  }

  /// The old value. Relaxed, as CUDA's are.
  template <typename T>
  T atomic_add(const Global<T>& view, std::size_t i, T value) {
    return __atomic_fetch_add(&view[i], value, __ATOMIC_RELAXED);
  }
  template <typename T>
  T atomic_max(const Global<T>& view, std::size_t i, T value) {
    T old = __atomic_load_n(&view[i], __ATOMIC_RELAXED);
    while (old < value &&
           !__atomic_compare_exchange_n(&view[i], &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
  }

  /// Copies the 16 bytes from from[i] into shared memory, or writes zeros there when not `valid`, not before
  /// this thread waits for the group that commit closes.
  template <typename T>
  void copy_async(T* to, const Global<const T>& from, std::size_t i, bool valid) {
    constexpr std::size_t elements = 16 / sizeof(T);
    const T* source = nullptr;
    if (valid) {
      static_cast<void>(&from[i + elements - 1]);
      source = &from[i];
    }
    const auto bits = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(source);
    if (bits % 16 != 0)
      block_.end(Status::misaligned_address, thread_, "copies 16 bytes that are not aligned");
    block_.copy_async(thread_, to, source);
  }
  void commit() { block_.commit(thread_); }
  /// Until at most `groups_left` of this thread's groups are under way.
  template <int groups_left>
  void wait() {
    block_.wait(thread_, groups_left);
  }

  /// c += a * b^T: a is 16 x depth, b is columns x depth. One rendezvous for the whole product.
  template <int depth, typename T, int columns>
  void multiply_by_transposed(Fragment<columns>& c, Tile<const T> a, Tile<const T> b) {
    TileProduct<T> mine{&c.value[0][0], a, b};
    for (int r = lane() / 4; r < tile_rows; r += 8) sanitizers::read(a.data + r * a.pitch, depth * sizeof(T));
    for (int r = lane() / 4; r < columns; r += 8) sanitizers::read(b.data + r * b.pitch, depth * sizeof(T));
    block_.collect(thread_, &multiply_leaf<depth, T, columns, true>, &mine);
  }
  /// c += a * b: a is 16 x depth, b is depth x columns.
  template <int depth, typename T, int columns>
  void multiply_by(Fragment<columns>& c, Tile<const T> a, Tile<const T> b) {
    TileProduct<T> mine{&c.value[0][0], a, b};
    for (int r = lane() / 4; r < tile_rows; r += 8) sanitizers::read(a.data + r * a.pitch, depth * sizeof(T));
    for (int r = lane() % 8; r < depth; r += 8) sanitizers::read(b.data + r * b.pitch, columns * sizeof(T));
    block_.collect(thread_, &multiply_leaf<depth, T, columns, false>, &mine);
  }

 private:
  struct Shuffle {
    std::uint32_t value;
    int from;
    std::uint32_t result;
  };
  static const char* shuffle_leaf(HostBlock&, void* const (&lanes)[warp_lanes]) {
    for (void* const lane : lanes) {
      auto& mine = *static_cast<Shuffle*>(lane);
      mine.result = static_cast<const Shuffle*>(lanes[mine.from & (warp_lanes - 1)])->value;
    }
    return nullptr;
  }

  struct Largest {
    static float of(float a, float b) { return a < b ? b : a; }
  };
  struct Sum {
    static float of(float a, float b) { return a + b; }
  };
  template <int width, int count, typename Operation>
  static const char* reduce_leaf(HostBlock&, void* const (&lanes)[warp_lanes]) {
    for (int offset = width / 2; offset > 0; offset /= 2) {
      float old[warp_lanes][count];
      for (int lane = 0; lane < warp_lanes; ++lane)
        for (int i = 0; i < count; ++i) old[lane][i] = static_cast<const float*>(lanes[lane])[i];
      for (int lane = 0; lane < warp_lanes; ++lane)
        for (int i = 0; i < count; ++i)
          static_cast<float*>(lanes[lane])[i] = Operation::of(old[lane][i], old[lane ^ offset][i]);
    }
    return nullptr;
  }

  HostBlock& block_;
  unsigned thread_;
};

}  // namespace drought
