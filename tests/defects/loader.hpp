// Loads the tensors of a checkpoint: through a pinned block on a stream of its own, from a file that is
// registered with the device, all of them or none. Each of its handles is owned by hand, as in C.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class Loader final : public Workload {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"staging_leaked_when_stream_refused", "forgets the pinned block when there is no stream", "leaked"},
      {"stream_leaked_when_tensor_refused", "forgets the stream when a tensor is refused", "leaked"},
      {"registration_left", "leaves the file registered when a tensor is refused", "leaked"},
      {"tensors_leaked_when_copy_fails", "gives back the last tensor only", "leaked"},
      {"copy_error_ignored", "goes on after a copy that was refused", "failed"},
      {"wait_error_ignored", "reads what may not have arrived", "swallowed"},
      {"partial_batch_kept", "calls the tensors that fitted the checkpoint", "swallowed"},
      {"exception_dropped", "catches every device error and goes on", "swallowed"},
  };
  explicit Loader(Options options) : planted_(std::move(options)) {}

  void run(Rig& rig) override {
    try {
      load(rig);
    } catch (const DeviceError&) {
      if (!planted_("exception_dropped")) throw;
    }
    rig.ledger().mark_teardown({"tensor"});
  }

 private:
  static constexpr std::size_t kTensors = 4, kBytes = 64 << 10, kPage = 4096;

  /// What is owned, given back in the order in which it was taken.
  struct Owned {
    Device& device;
    Resource& memory;
    void* staging = nullptr;
    void* file = nullptr;
    Stream stream{};
    bool registered = false;
    std::vector<void*> tensors{};
  };

  void load(Rig& rig) const {
    Owned owned{rig.device(), rig.memory()};
    try {
      take(owned);
      fill(owned);
      read_back(rig, owned);
    } catch (const OutOfMemory&) {
      give_back(owned, owned.stream.id != 0 && planted_("stream_leaked_when_tensor_refused"),
                planted_("registration_left"));
      if (planted_("partial_batch_kept")) return;
      throw;
    } catch (...) {
      give_back(owned, false, false);
      throw;
    }
    give_back(owned, false, false);
  }

  void take(Owned& owned) const {
    if (owned.device.malloc_host(owned.staging, kBytes) != Status::success)
      throw OutOfMemory({.bytes = kBytes}, "cudaMallocHost");
    if (const Status status = owned.device.stream_create(owned.stream); status != Status::success) {
      owned.stream = {};
      if (planted_("staging_leaked_when_stream_refused")) owned.staging = nullptr;
      throw DeviceError(status, "cudaStreamCreate");
    }
    owned.file = std::aligned_alloc(kPage, kBytes);
    std::fill_n(static_cast<char*>(owned.file), kBytes, char{3});
    must(owned.device.host_register(owned.file, kBytes, {}), "cudaHostRegister");
    owned.registered = true;
    for (std::size_t i = 0; i < kTensors; ++i) owned.tensors.push_back(owned.memory.allocate(tensor()));
  }

  void fill(Owned& owned) const {
    for (void* const tensor : owned.tensors) {
      Status status = owned.device.memcpy(owned.staging, owned.file, kBytes, owned.stream);
      if (status == Status::success)
        status = owned.device.memcpy(tensor, owned.staging, kBytes, owned.stream);
      if (status == Status::success || planted_("copy_error_ignored")) continue;
      if (planted_("tensors_leaked_when_copy_fails")) {
        std::swap(owned.tensors.front(), owned.tensors.back());
        owned.tensors.resize(1);
      }
      throw DeviceError(status, "cudaMemcpy");
    }
  }

  void read_back(Rig& rig, Owned& owned) const {
    std::vector<std::uint8_t> seen(kBytes);
    for (const void* const tensor : owned.tensors) {
      must(owned.device.memcpy(seen.data(), tensor, kBytes, owned.stream), "cudaMemcpy");
      const Status status = owned.device.stream_synchronize(owned.stream);
      if (!planted_("wait_error_ignored")) must(status, "cudaStreamSynchronize");
      rig.record().output_digests.push_back(seen.front() + 256u * seen.back());
    }
  }

  static Request tensor() { return {.bytes = kBytes, .tag = "tensor"}; }

  static void give_back(Owned& owned, bool keeps_stream, bool keeps_registration) noexcept {
    for (void* const block : owned.tensors) owned.memory.deallocate(block, tensor());
    if (owned.stream.id != 0 && !keeps_stream) (void)owned.device.stream_destroy(owned.stream);
    if (owned.registered && !keeps_registration) (void)owned.device.host_unregister(owned.file);
    if (owned.staging) (void)owned.device.free_host(owned.staging);
    std::free(owned.file);
  }

  const Planted planted_;
};

}  // namespace drought
