// Attention and its surroundings on this machine's GPU at the shapes of served models, by the GPU's own
// clock, with nothing of them in its L2 cache. tests/bench/peers/attention.py reads the names, and measures
// what PyTorch needs for the same.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/cuda_timer.hpp"
#include "harness/device/device.hpp"
#include "kernels/patch_embedding.hpp"
#include "kernels/patch_merger.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/rope.hpp"
#include "kernels/vision_attention.hpp"
#include "tests/bench/benches.hpp"
#include "tests/bench/gpu_bench.hpp"

namespace drought {
namespace {

constexpr std::size_t kTokens = 16384, kColumns = 2048;  // As FlashAttention's own benchmarks have them.
constexpr std::size_t kCacheBytes = 256
                                    << 20;  // Several times the 50 MB of L2 that an H100 and an H200 have.

/// A kernel's parts on a device, inputs filled: a few million random numbers, over and over.
class KernelOnDevice {
 public:
  KernelOnDevice(Device& device, const Kernel& kernel) : device_(device), kernel_(kernel) {
    std::vector<std::byte> host;
    const std::vector<Part> plan = kernel.plan();
    for (std::size_t i = 0; i < plan.size(); ++i) {
      lent_.push_back(lend(plan[i].bytes));
      if (!ok_ || plan[i].bytes == 0) continue;
      host.assign(plan[i].bytes, std::byte{0});
      if (plan[i].role == Part::Role::input) fill(plan[i], i, host);
      ok_ = device.memcpy(lent_[i], host.data(), host.size()) == Status::success;
    }
    cache_ = lend(kCacheBytes);
  }
  ~KernelOnDevice() {
    for (void* const lent : lent_) static_cast<void>(device_.free(lent));
    static_cast<void>(device_.free(cache_));
  }
  KernelOnDevice(const KernelOnDevice&) = delete;

  /// Seconds of one launch that finds nothing of its own in the L2 cache; nothing when one was refused.
  std::optional<double> seconds() {
    ok_ = ok_ && device_.memset(cache_, 0, kCacheBytes) == Status::success;
    const auto spent =
        cuda_milliseconds([&] { ok_ = ok_ && kernel_.launch(device_, {}, lent_) == Status::success; });
    return ok_ && spent ? std::optional(*spent * 1e-3) : std::nullopt;
  }

 private:
  void* lend(std::size_t bytes) {
    void* lent = nullptr;
    if (bytes != 0) ok_ = ok_ && device_.malloc(lent, bytes) == Status::success;
    return lent;
  }
  void fill(const Part& part, std::size_t index, std::span<std::byte> to) {
    const auto pattern = part.payload ? to.first(std::min<std::size_t>(to.size(), 8 << 20)) : to;
    kernel_.fill(index, 1, pattern);
    for (std::size_t at = pattern.size(); at < to.size(); at += pattern.size())
      std::memcpy(&to[at], pattern.data(), std::min(pattern.size(), to.size() - at));
  }

  Device& device_;
  const Kernel& kernel_;
  std::vector<void*> lent_;
  void* cache_ = nullptr;
  bool ok_ = true;
};

/// What a kernel's figure counts.
enum class Counted { flops, bytes };

void time_kernel(benchmark::State& state, const Kernel& kernel, Counted counted) {
  const auto device = bench_gpu(state);
  if (!device) return;
  KernelOnDevice call(*device, kernel);
  double bytes = 0;
  for (const Part& part : kernel.plan())
    if (part.payload) bytes += static_cast<double>(part.bytes);
  const Amount amount =
      counted == Counted::flops ? Amount{"TFLOP/s", kernel.flops() * 1e-12} : Amount{"GB/s", bytes * 1e-9};
  report_median(
      state, [&] { return call.seconds(); }, amount);
}

void register_kernel(const std::string& name, std::shared_ptr<const Kernel> kernel, Counted counted) {
  register_gpu_kernel(name,
                      [kernel, counted](benchmark::State& state) { time_kernel(state, *kernel, counted); });
}

void register_prefill(std::size_t head_dim, std::size_t queries, PrefillAttention::Shape shape) {
  shape.batch = kTokens / queries;
  shape.queries = queries;
  shape.head_dim = head_dim;
  shape.value_dim = head_dim == 192 ? 128 : 0;
  if (shape.kv_heads == 0) shape.heads = shape.kv_heads = kColumns / (head_dim == 192 ? 128 : head_dim);
  const std::string mask = !shape.causal                    ? "full"
                           : shape.window_left < tokens_max ? "window" + std::to_string(shape.window_left)
                                                            : "causal";
  register_kernel("prefill/" + shape.body + "/D" + std::to_string(head_dim) +
                      (shape.heads == shape.kv_heads
                           ? ""
                           : "h" + std::to_string(shape.heads) + "k" + std::to_string(shape.kv_heads)) +
                      "/" + mask + "/" + std::to_string(queries),
                  std::make_shared<PrefillAttention>(shape), Counted::flops);
}

void register_vision(std::size_t tokens, VisionAttention::Shape shape) {
  while (shape.cu_seqlens.back() < kTokens) shape.cu_seqlens.push_back(shape.cu_seqlens.back() + tokens);
  register_kernel(
      "vision/" + shape.body + "/D" + std::to_string(shape.head_dim) + "/full/" + std::to_string(tokens),
      std::make_shared<VisionAttention>(shape), Counted::flops);
}

}  // namespace

void register_kernel_benches() {
  for (const bool causal : {false, true}) {
    for (const std::size_t head_dim : {128, 64})
      for (const std::size_t queries : {512, 1024, 2048, 4096, 16384})
        register_prefill(head_dim, queries, {.kv_heads = 0, .causal = causal, .body = "hopper"});
    for (const std::size_t head_dim : {96, 192, 256})
      for (const std::size_t queries : {512, 4096, 16384})
        register_prefill(head_dim, queries, {.kv_heads = 0, .causal = causal, .body = "hopper"});
    for (const std::size_t head_dim : {64, 128})
      register_prefill(head_dim, 4096, {.kv_heads = 0, .causal = causal, .body = "portable"});
    register_prefill(128, 4096, {.heads = 32, .kv_heads = 8, .causal = causal, .body = "hopper"});
  }
  for (const std::size_t queries : {4096, 16384})
    register_prefill(64, queries, {.heads = 64, .kv_heads = 8, .window_left = 1023, .body = "hopper"});
  register_kernel("vision/patch_embedding",
                  std::make_shared<PatchEmbedding>(
                      PatchEmbedding::Shape{.patches = kTokens, .patch = 14, .columns = 1280}),
                  Counted::flops);
  register_kernel("vision/patch_merger",
                  std::make_shared<PatchMerger>(
                      PatchMerger::Shape{.rows = 128, .columns = 128, .hidden = 1280, .norm = "rms"}),
                  Counted::bytes);
  register_kernel(
      "rope/text/D128",
      std::make_shared<Rope>(Rope::Shape{.tokens = kTokens, .heads = 40, .head_dim = 128, .base = 1e6}),
      Counted::bytes);
  register_kernel("rope/vision/D80",
                  std::make_shared<Rope>(
                      Rope::Shape{.tokens = kTokens, .heads = 32, .head_dim = 80, .positions = "vision"}),
                  Counted::bytes);
  for (const std::size_t head_dim : {64, 72, 80, 128})
    for (const std::size_t tokens : {64, 1024, 4096, 16384})
      register_vision(tokens, {.cu_seqlens = {0}, .heads = 16, .head_dim = head_dim, .body = "hopper"});
  for (const std::size_t tokens : {64, 4096})
    register_vision(tokens, {.cu_seqlens = {0}, .heads = 16, .head_dim = 80, .body = "portable"});
}

}  // namespace drought
