#include "scenarios/allocators/churn.hpp"

#include <bit>
#include <stdexcept>
#include <vector>

#include "harness/memory/interfaces.hpp"
#include "scenarios/device_calls.hpp"
#include "scenarios/pool_scope.hpp"

namespace drought {
namespace {

struct Held {
  Buffer buffer;
  std::uint8_t pattern = 0;
  Stream stream;
};

std::size_t draw_size(Random& random, std::size_t low, std::size_t high) {
  const int low_bit = std::bit_width(low) - 1, high_bit = std::bit_width(high) - 1;
  const int bit =
      low_bit + static_cast<int>(random.below(static_cast<std::uint64_t>(high_bit - low_bit + 1)));
  const std::size_t drawn = (std::size_t{1} << bit) + random.below(std::size_t{1} << bit);
  return std::min(std::max(drawn, low), high);
}

/// Reads the block's first and last byte back.
void verify(Rig& rig, const Held& held) {
  if (!rig.full()) return;
  const std::size_t ends[] = {0, held.buffer.bytes() - 1};
  std::uint8_t seen[2] = {};
  for (int i = 0; i < 2; ++i)
    must(rig.device().memcpy(&seen[i], held.buffer.data() + ends[i], 1, held.stream), "cudaMemcpy");
  must(rig.device().stream_synchronize(held.stream), "cudaStreamSynchronize");
  const bool same = seen[0] == held.pattern && seen[1] == held.pattern;
  rig.record().comparisons.push_back({"contents of a block", same,
                                      "wrote " + std::to_string(held.pattern) + ", read " +
                                          std::to_string(seen[0]) + " and " + std::to_string(seen[1])});
}

Pools& pools_of(Rig& rig) {
  if (auto* const pools = dynamic_cast<Pools*>(&rig.allocator())) return *pools;
  throw UserError("churn: pools is above 0, and the allocator keeps no private pools");
}

RecordsStreams& recorder_of(Rig& rig) {
  if (auto* const recorder = dynamic_cast<RecordsStreams*>(&rig.allocator())) return *recorder;
  throw UserError("churn: used_elsewhere_every is above 0, and the allocator records no uses");
}

/// The block is written on the first `count` streams that are not its own, a part on each, and let go while
/// that may still run.
void use_elsewhere(Rig& rig, RecordsStreams& recorder, const Held& held, const Streams& streams,
                   std::size_t count) {
  must(rig.device().stream_synchronize(held.stream), "cudaStreamSynchronize");
  const std::size_t part = (held.buffer.bytes() + count - 1) / count;
  std::size_t at = 0;
  for (std::size_t i = 0; at < held.buffer.bytes(); ++i) {
    if (streams[i] == held.stream) continue;
    const std::size_t bytes = std::min(part, held.buffer.bytes() - at);
    must(rig.device().memset(held.buffer.data() + at, held.pattern, bytes, streams[i]), "cudaMemset");
    recorder.record_stream(held.buffer.data(), streams[i]);
    at += bytes;
  }
}

}  // namespace

Churn::Churn(Options options) : options_(options) {
  if (options_.bytes_min == 0 || options_.bytes_min > options_.bytes_max)
    throw std::invalid_argument("bytes_min must be above 0 and at most bytes_max");
  if (options_.live_max == 0 || options_.streams == 0)
    throw std::invalid_argument("live_max and streams must be above 0");
  if (options_.elsewhere_streams == 0) throw std::invalid_argument("elsewhere_streams must be above 0");
  if (options_.used_elsewhere_every != 0 && options_.streams <= options_.elsewhere_streams)
    throw std::invalid_argument("used_elsewhere_every needs streams above elsewhere_streams");
}

void Churn::run(Rig& rig) {
  Random random = rig.random(1);
  const Streams streams(rig.device(), options_.streams);
  Pools* const pools = options_.pools ? &pools_of(rig) : nullptr;
  RecordsStreams* const recorder = options_.used_elsewhere_every ? &recorder_of(rig) : nullptr;
  std::vector<Held> held;
  std::uint64_t digest = 0;
  std::size_t freed = 0;
  const auto verify_and_free = [&](Held taken) {
    verify(rig, taken);
    ++freed;
    if (recorder && freed % options_.used_elsewhere_every == 0)
      use_elsewhere(rig, *recorder, taken, streams, options_.elsewhere_streams);
    std::byte* const stale = taken.buffer.data();
    const Request request{.bytes = taken.buffer.bytes(), .stream = taken.stream, .tag = "block"};
    taken.buffer.reset();
    if (options_.double_free_every != 0 && freed % options_.double_free_every == 0)
      rig.allocator().deallocate(stale, request);
  };
  for (std::size_t i = 0; i < options_.allocations; ++i) {
    const auto frees = [&] { return options_.free_one_in != 0 && random.below(options_.free_one_in) == 0; };
    if (held.size() == options_.live_max || (!held.empty() && frees())) {
      const std::size_t victim = random.below(held.size());
      std::swap(held[victim], held.back());
      Held taken = std::move(held.back());
      held.pop_back();
      verify_and_free(std::move(taken));
    }
    const std::size_t bytes = draw_size(random, options_.bytes_min, options_.bytes_max);
    const Stream stream = streams[i];
    // Every other request goes to one of the private pools in turn.
    const bool in_pool = pools && i % 2 != 0;
    const PoolScope scope(in_pool ? pools : nullptr, {0, in_pool ? 1 + i / 2 % options_.pools : 0});
    Held made{Buffer(rig.memory(), {.bytes = bytes, .stream = stream, .tag = "block"}),
              static_cast<std::uint8_t>(random()), stream};
    must(rig.device().memset(made.buffer.data(), made.pattern, bytes, stream), "cudaMemset");
    digest = Random(digest ^ bytes ^ made.pattern)();
    held.push_back(std::move(made));
  }
  while (!held.empty()) {
    Held taken = std::move(held.back());
    held.pop_back();
    verify_and_free(std::move(taken));
  }
  rig.record().output_digests.push_back(digest);
  rig.ledger().mark_teardown({"block"});
}

}  // namespace drought
