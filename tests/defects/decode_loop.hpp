// Decodes a few sequences in batches: a workspace for as many as memory allows, halved after each refusal
// down to one, a cache that grows, a kernel for each sequence. Whatever the batch, the answers are the same.
#pragma once

#include <array>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "kernels/checksum.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class DecodeLoop final : public Workload {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"stale_cache_after_refused_growth", "frees the cache before the larger one is there", "failed"},
      {"same_batch_again", "halves nothing, and ends when the batch is nothing", "hung"},
      {"batch_of_none", "goes one step on, to a batch of no sequences, and calls it done", "swallowed"},
      {"gives_up_a_step_early", "never tries the batch of one", "failed"},
      {"launch_error_ignored", "reads the sums of a kernel that did not run", "swallowed"},
      {"sums_of_before", "answers with the last sequence's sums when the copy fails", "swallowed"},
      {"workspace_leaked_when_launch_fails", "gives back only what succeeded", "leaked"},
      {"workspace_freed_twice", "gives back where it is caught and where it is owned", "leaked"},
      {"retries_what_is_no_shortage", "takes every error for a lack of memory", "failed"},
  };
  explicit DecodeLoop(Options options) : planted_(std::move(options)) {}

  void run(Rig& rig) override {
    Buffer cache(rig.memory(), kv(1));
    std::size_t batch = kSequences;
    for (std::size_t number = 1;; ++number) {
      AttemptScope attempt(rig, {.what = "batch", .number = number, .cap = 3, .size = batch});
      rig.record().output_digests.clear();
      try {
        decode(rig, cache, batch);
        attempt.succeeded();
        break;
      } catch (const OutOfMemory&) {
        if (batch == (planted_("gives_up_a_step_early") ? 2 : 1) && !planted_("batch_of_none")) throw;
      } catch (const DeviceError&) {
        attempt.failed_otherwise();
        if (!planted_("retries_what_is_no_shortage") || batch == 1) throw;
      }
      if (planted_("same_batch_again")) {
        number = 0;
      } else {
        batch /= 2;
      }
      if (batch == 0) break;
    }
    cache.reset();
    rig.ledger().mark_teardown({"kv", "workspace"});
  }

 private:
  static constexpr std::size_t kSequences = 4, kWords = 256;
  static constexpr std::size_t kSums = ChecksumBlock::threads_max;

  static Request kv(std::size_t length) { return {.bytes = length * kWords * 4, .tag = "kv"}; }

  void decode(Rig& rig, Buffer& cache, std::size_t batch) const {
    const Request wanted{.bytes = batch * kSums * 4, .tag = "workspace"};
    void* const workspace = rig.memory().allocate(wanted);
    bool keeps = false;
    try {
      for (std::size_t sequence = 0; sequence < kSequences; ++sequence)
        answer(rig, cache, workspace, sequence, sequence % batch, keeps);
    } catch (...) {
      if (!keeps) rig.memory().deallocate(workspace, wanted);
      if (planted_("workspace_freed_twice")) rig.memory().deallocate(workspace, wanted);
      throw;
    }
    rig.memory().deallocate(workspace, wanted);
  }

  void answer(Rig& rig, Buffer& cache, void* workspace, std::size_t sequence, std::size_t place,
              bool& keeps) const {
    Device& device = rig.device();
    void* const data = grown(rig, cache, sequence + 1);
    const std::size_t bytes = kv(sequence + 1).bytes;
    must(device.memset(data, static_cast<std::uint8_t>(sequence + 1), bytes), "cudaMemset");
    auto* const sums = static_cast<std::byte*>(workspace) + place * kSums * 4;
    must(device.memset(sums, 0xFF, kSums * 4), "cudaMemset");
    const Checksum kernel({.words = bytes / 4});
    void* const parts[] = {data, sums};
    const Status launched = kernel.launch(device, {}, parts);
    keeps = launched != Status::success && planted_("workspace_leaked_when_launch_fails");
    if (!planted_("launch_error_ignored")) must(launched, "checksum");
    std::array<std::uint32_t, kSums> seen = last_;
    const Status copied = device.memcpy(seen.data(), sums, kSums * 4);
    if (!planted_("sums_of_before")) must(copied, "cudaMemcpy");
    must(device.stream_synchronize({}), "cudaStreamSynchronize");
    std::uint64_t total = 0;
    for (const std::uint32_t sum : seen) total += sum;
    rig.record().output_digests.push_back(total);
    last_ = seen;
  }

  /// The cache, long enough for so many blocks.
  void* grown(Rig& rig, Buffer& cache, std::size_t length) const {
    const Request wanted = kv(length);
    if (cache.bytes() >= wanted.bytes) return cache.data();
    void* const before = cache.data();
    if (planted_("stale_cache_after_refused_growth")) {
      cache.reset();
      try {
        cache = Buffer(rig.memory(), wanted);
      } catch (const OutOfMemory&) {
        return before;
      }
      return cache.data();
    }
    cache = Buffer(rig.memory(), wanted);
    return cache.data();
  }

  const Planted planted_;
  mutable std::array<std::uint32_t, kSums> last_{};
};

}  // namespace drought
