// cudaMallocAsync's default pool: each allocate is one cudaMallocAsync in the request's stream and each
// deallocate one cudaFreeAsync, so that the driver decides what is used again and when memory goes back
// to the device. It splits and joins blocks as it likes, and moves the memory behind them, so it strands
// little; what it keeps over a synchronisation is release_threshold_bytes (cudaMemPoolAttrReleaseThreshold,
// 0 by default, as in CUDA; PyTorch's cudaMallocAsync backend sets the maximum).
//
// A block that was used on other streams is freed in its own stream after that stream has waited for
// them, as PyTorch's backend does (c10/cuda/CUDAMallocAsyncAllocator.cpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class StreamOrdered final : public Resource, public Trims, public RecordsStreams, public FallsBack {
 public:
  struct Options {
    std::size_t release_threshold_bytes = 0;
    static constexpr auto keys() {
      return std::tuple{key("release_threshold_bytes", &Options::release_threshold_bytes)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"release_threshold_bytes", 0, 256_MiB}};

  /// `device` outlives this, and no other resource over it uses the pool. DeviceError.
  StreamOrdered(Device& device, Options options);
  /// Waits for the device and gives idle memory back; what is still lent stays with the pool.
  ~StreamOrdered() override;

  /// A refusal leaves the device's last-error slot clean, unless the error is sticky. Alignment is the
  /// driver's, 256 bytes or better; a request for more than came is std::invalid_argument.
  void* allocate(Request request) override;
  /// In the order of the stream that the block was allocated for; where that cannot be had, once the device
  /// has come to rest. If it cannot be waited for either, the block goes back with the next call that can.
  void deallocate(void* block, Request request) noexcept override;

  /// Waits for the device, then trims the pool to nothing. DeviceError.
  std::size_t trim() override;
  /// What the pool has reserved, as the device counts it. DeviceError.
  std::size_t reserved_bytes() const override;
  void record_stream(void* block, Stream stream) override;

  /// Blocks that deallocate did not know and left alone, and frees that the device refused.
  std::size_t refused_frees() const { return refused_frees_; }
  std::string_view take_fallback() noexcept override {
    return std::exchange(fell_back_, false) ? "a free without an event waits for the device" : "";
  }

 private:
  struct Lent {
    Stream stream;
    std::vector<Stream> other_uses;
  };

  struct Unordered {
    void* block = nullptr;
    Tag tag;
  };

  /// Makes `stream` wait for what `used_on` has to do by now; false when that could not be arranged.
  bool order_after(Stream stream, Stream used_on) noexcept;
  /// Waits for the device. With nothing running, any stream will do to free in.
  Status settle();

  Device& device_;
  AddressTable<Lent> lent_;
  std::vector<Unordered> unordered_;  ///< Freed, and their uses not yet waited for.
  std::size_t refused_frees_ = 0;
  bool fell_back_ = false;  // Since it was last asked.
};

}  // namespace drought
