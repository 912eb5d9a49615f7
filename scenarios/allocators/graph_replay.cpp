#include "scenarios/allocators/graph_replay.hpp"

#include <array>
#include <optional>
#include <stdexcept>

#include "harness/memory/interfaces.hpp"
#include "scenarios/captured_graph.hpp"

namespace drought {
namespace {

constexpr std::size_t kOutputBytes = 256;
constexpr std::uint8_t kPattern = 0x5A;

}  // namespace

/// The graph and what it keeps alive. The pool would otherwise lend the scratch to the next request, for
/// all it knows of graphs.
struct GraphReplay::Step {
  Lease scratch;
  std::optional<CapturedGraph> graph;
};

GraphReplay::~GraphReplay() = default;

GraphReplay::GraphReplay(Options options) : options_(std::move(options)) {
  if (options_.steps == 0) throw std::invalid_argument("steps must be above 0");
  if (options_.scratch_bytes < kOutputBytes)
    throw std::invalid_argument("scratch_bytes must be at least " + std::to_string(kOutputBytes));
  if (options_.batch_bytes < kOutputBytes)
    throw std::invalid_argument("batch_bytes must be at least " + std::to_string(kOutputBytes));
  if (options_.bug != "none" && options_.bug != "keeps_graph")
    throw std::invalid_argument("unknown bug '" + options_.bug + "'; known: none, keeps_graph");
}

std::unique_ptr<GraphReplay::Step> GraphReplay::capture(Rig& rig, Stream stream, const Buffer& output) const {
  Device& device = rig.device();
  auto step = std::make_unique<Step>();
  const auto scratch = [&] {
    return Buffer(rig.memory(), {.bytes = options_.scratch_bytes, .stream = stream, .tag = "scratch"});
  };
  const auto decode = [&](const std::byte* data) {
    auto* const begin = const_cast<std::byte*>(data);
    must(device.memset(begin, kPattern, options_.scratch_bytes, stream), "cudaMemset");
    must(device.memcpy(output.data(), begin, kOutputBytes, stream), "cudaMemcpy");
  };
  if (options_.captures_scratch) {
    step->graph.emplace(device, stream, [&] {
      const Buffer inside = scratch();
      decode(inside.data());
    });
  } else {
    Buffer outside = scratch();
    step->scratch = outside.lease("graph");
    outside.reset();
    step->graph.emplace(device, stream, [&] { decode(static_cast<const std::byte*>(step->scratch.data())); });
  }
  return step;
}

void GraphReplay::flush(Rig& rig, std::unique_ptr<Step>& step) const {
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
  if (options_.bug == "keeps_graph") {
    step->scratch.drop();
  } else {
    step.reset();
  }
  if (auto* const trims = dynamic_cast<Trims*>(&rig.allocator())) trims->trim();
}

void GraphReplay::serve_batch(Rig& rig, Stream stream, std::unique_ptr<Step>& step) const {
  const Request request{.bytes = options_.batch_bytes, .stream = stream, .tag = "batch"};
  for (std::size_t number = 1;; ++number) {
    AttemptScope attempt(rig, {.what = "batch", .number = number, .cap = 2, .size = request.bytes});
    try {
      try {
        const Buffer batch(rig.memory(), request);
        attempt.succeeded();
        must(rig.device().memset(batch.data(), 1, kOutputBytes, stream), "cudaMemset");
        return;
      } catch (const OutOfMemory&) {
        if (number == 2) throw;
      }
      flush(rig, step);
    } catch (const DeviceError&) {
      attempt.failed_otherwise();  // The pool's own flush may have met it as well as this one.
      throw;
    }
  }
}

void GraphReplay::run(Rig& rig) {
  const Streams streams(rig.device(), 2);
  const Stream stream = streams[0];
  {
    const Buffer output(rig.memory(), {.bytes = kOutputBytes, .stream = stream, .tag = "output"});
    std::unique_ptr<Step> step;
    std::uint64_t captures = 0;
    for (std::size_t i = 0; i < options_.steps; ++i) {
      if (i == options_.steps / 2) {
        serve_batch(rig, stream, step);
        must(rig.device().stream_synchronize(stream), "cudaStreamSynchronize");
      }
      if (!step) {
        step = capture(rig, stream, output);
        ++captures;
      }
      must(rig.device().memset(output.data(), 0, kOutputBytes, stream), "cudaMemset");
      step->graph->launch(stream);
      std::array<std::uint8_t, kOutputBytes> seen{};
      must(rig.device().memcpy(seen.data(), output.data(), kOutputBytes, stream), "cudaMemcpy");
      must(rig.device().stream_synchronize(stream), "cudaStreamSynchronize");
      if (!rig.full()) continue;
      std::size_t wrong = 0;
      for (const std::uint8_t byte : seen) wrong += byte != kPattern;
      rig.record().comparisons.push_back({"output of step " + std::to_string(i), wrong == 0,
                                          std::to_string(wrong) + " bytes differ from what it wrote"});
      rig.record().output_digests.push_back(seen[0] + 256 * wrong);
    }
    rig.decide("captures", captures);
  }
  rig.ledger().mark_teardown({"scratch", "output", "batch"});
}

}  // namespace drought
