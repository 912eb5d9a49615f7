// Decode attention on this machine's GPU at the shapes of a served model (32 query heads on 8 KV heads of
// 128) in GB/s of K and V read, by the GPU's own clock, with a plain read beside them. Where the cache is
// small, calls take turns over several, so that none finds its own in the L2 cache.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "harness/device/cuda_timer.hpp"
#include "harness/device/device.hpp"
#include "kernels/decode_attention.hpp"
#include "tests/bench/benches.hpp"
#include "tests/bench/gpu_bench.hpp"
#include "tests/bench/read_bandwidth.hpp"

namespace drought {
namespace {

constexpr std::size_t kColdBytes = std::size_t{512} << 20;  // Ten times an H200's L2.
constexpr int kLaunches = 20;

/// Device memory that goes with the bench that took it.
class Lent {
 public:
  Lent(Device& device, std::size_t bytes) : device_(device) {
    if (bytes != 0) ok_ = device.malloc(data_, bytes) == Status::success;
  }
  ~Lent() { static_cast<void>(device_.free(data_)); }
  Lent(const Lent&) = delete;
  void* data() const { return data_; }
  bool ok() const { return ok_; }

  /// Writes `pattern` over and over: what is there is doubled until it is enough.
  void fill(const std::vector<std::byte>& pattern, std::size_t bytes) {
    auto* const begin = static_cast<std::byte*>(data_);
    const auto copy = [&](std::byte* to, const std::byte* from, std::size_t count) {
      ok_ = ok_ && device_.memcpy(to, from, count) == Status::success;
    };
    std::size_t filled = std::min(pattern.size(), bytes);
    copy(begin, pattern.data(), filled);
    for (std::size_t more; filled < bytes; filled += more) {
      more = std::min(filled, bytes - filled);
      copy(begin + filled, begin, more);
    }
  }

 private:
  Device& device_;
  void* data_ = nullptr;
  bool ok_ = true;
};

/// A decode step with as many caches as are needed for none to be warm.
class DecodeCall {
 public:
  DecodeCall(Device& device, const DecodeAttention& kernel) : device_(device), kernel_(kernel) {
    const std::vector<Part> plan = kernel.plan();
    const auto cold = static_cast<std::size_t>(kColdBytes / kernel.kv_bytes()) + 1;
    DecodeAttention::Shape few = kernel.shape();
    few.seqlens = {1024}, few.page_size = 16;
    const DecodeAttention sample(few);  // Rows of a pool, which are repeated.
    const std::vector<Part> sample_plan = sample.plan();
    std::vector<std::vector<std::byte>> patterns(plan.size());
    for (std::size_t i = 0; i < plan.size(); ++i) {
      patterns[i].resize(is_pool(i) ? sample_plan[i].bytes : plan[i].bytes);
      if (plan[i].role == Part::Role::input && plan[i].bytes != 0)
        (is_pool(i) ? sample : kernel).fill(i, 1, patterns[i]);
    }
    for (std::size_t turn = 0; turn < std::min<std::size_t>(cold, 16); ++turn) {
      std::vector<void*> parts;
      for (std::size_t i = 0; i < plan.size(); ++i) {
        if (turn != 0 && !is_pool(i)) {
          parts.push_back(turns_[0][i]);
          continue;
        }
        lent_.push_back(std::make_unique<Lent>(device, plan[i].bytes));
        parts.push_back(lent_.back()->data());
        if (plan[i].role == Part::Role::input || plan[i].zeroed)
          lent_.back()->fill(patterns[i], plan[i].bytes);
      }
      turns_.push_back(std::move(parts));
    }
  }

  static bool is_pool(std::size_t part) {
    return part == DecodeAttention::k_pages || part == DecodeAttention::v_pages ||
           part == DecodeAttention::k_scales || part == DecodeAttention::v_scales;
  }

  ~DecodeCall() {
    static_cast<void>(device_.graph_instance_destroy(calls_));
    static_cast<void>(device_.graph_destroy(graph_));
    static_cast<void>(device_.stream_destroy(stream_));
  }
  DecodeCall(const DecodeCall&) = delete;

  /// Seconds of one call, of several in a row, replayed from a graph, so that nothing but the GPU is
  /// measured; nothing when one was refused.
  std::optional<double> seconds() {
    bool ok = captured_ || capture();
    const std::optional<double> spent =
        cuda_milliseconds([&] { ok = ok && device_.graph_launch(calls_, {}) == Status::success; });
    if (!ok || !spent) return {};
    return *spent * 1e-3 / kLaunches;
  }

 private:
  bool capture() {
    bool ok = std::all_of(lent_.begin(), lent_.end(), [](const auto& lent) { return lent->ok(); }) &&
              kernel_.launch(device_, {}, turns_[0]) == Status::success &&  // Loads it.
              device_.synchronize() == Status::success && device_.stream_create(stream_) == Status::success &&
              device_.stream_begin_capture(stream_, CaptureMode::thread) == Status::success;
    for (int i = 0; i < kLaunches; ++i)
      ok = ok && kernel_.launch(device_, stream_, turns_[static_cast<std::size_t>(i) % turns_.size()]) ==
                     Status::success;
    captured_ = ok && device_.stream_end_capture(stream_, graph_) == Status::success &&
                device_.graph_instantiate(calls_, graph_) == Status::success;
    return captured_;
  }

  Device& device_;
  const DecodeAttention& kernel_;
  std::vector<std::unique_ptr<Lent>> lent_;
  std::vector<std::vector<void*>> turns_;
  Stream stream_{};
  Graph graph_{};
  GraphInstance calls_{};
  bool captured_ = false;
};

void time_decode(benchmark::State& state, const DecodeAttention::Shape& shape) {
  const auto device = bench_gpu(state);
  if (!device) return;
  const DecodeAttention kernel(shape);
  DecodeCall call(*device, kernel);
  report_median(state, [&] { return call.seconds(); }, {"GB/s", kernel.kv_bytes() * 1e-9});
}

void time_read(benchmark::State& state) {
  const auto device = bench_gpu(state);
  if (!device) return;
  constexpr std::size_t bytes = std::size_t{2} << 30;
  Lent data(*device, bytes), sink(*device, sizeof(float));
  bool ok = data.ok() && sink.ok() && device->memset(data.data(), 0, bytes) == Status::success;
  const auto seconds = [&]() -> std::optional<double> {
    const std::optional<double> spent = cuda_milliseconds([&] {
      for (int i = 0; i < kLaunches; ++i)
        ok = ok && enqueue_read(data.data(), bytes, static_cast<float*>(sink.data()));
    });
    if (!ok || !spent) return {};
    return *spent * 1e-3 / kLaunches;
  };
  report_median(state, seconds, {"GB/s", static_cast<double>(bytes) * 1e-9});
}

struct Case {
  const char* name;
  std::size_t batch, tokens, page_size;
  const char* cache = "bf16";
};

constexpr Case kCases[] = {
    {"decode/bf16/B1/N128", 1, 128, 8192},           {"decode/bf16/B1/N8192", 1, 8192, 8192},
    {"decode/bf16/B1/N131072", 1, 131072, 131072},   {"decode/bf16/B16/N8192", 16, 8192, 8192},
    {"decode/bf16/B64/N4096", 64, 4096, 4096},       {"decode/bf16/B64/N8192", 64, 8192, 8192},
    {"decode/bf16/B1/N8192/page16", 1, 8192, 16},    {"decode/bf16/B64/N8192/page16", 64, 8192, 16},
    {"decode/bf16/B64/N8192/page1", 64, 8192, 1},    {"decode/fp8_e4m3/B64/N8192", 64, 8192, 16, "fp8_e4m3"},
    {"decode/int8/B64/N8192", 64, 8192, 16, "int8"}, {"decode/q8_0/B64/N8192", 64, 8192, 16, "q8_0"},
    {"decode/q4_0/B64/N8192", 64, 8192, 16, "q4_0"}, {"decode/q8_0/B16/N8192", 16, 8192, 16, "q8_0"},
    {"decode/q4_0/B16/N8192", 16, 8192, 16, "q4_0"},
};

}  // namespace

void register_decode_benches() {
  register_gpu_kernel("decode/read", time_read);
  for (const Case& of : kCases) {
    const DecodeAttention::Shape shape{.cache = of.cache,
                                       .seqlens = std::vector<std::size_t>(of.batch, of.tokens),
                                       .page_size = of.page_size,
                                       .splits = 0,
                                       .heads = 32,
                                       .kv_heads = 8,
                                       .head_dim = 128};
    register_gpu_kernel(of.name, [shape](benchmark::State& state) { time_decode(state, shape); });
  }
}

}  // namespace drought
