#include "scenarios/legacy_pool/pool_decode.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "harness/memory/interfaces.hpp"
#include "kernels/shape.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::size_t kTokensPerStep = 256;  // llama_kv_cache pads n_kv to this.

struct KvType {
  std::string_view name;
  std::size_t block_elements, block_bytes;
  bool needs_f16;  ///< Attention reads f16, so anything else is converted into scratch.
};
constexpr std::array kKvTypes{KvType{"q4_0", 32, 18, true}, KvType{"q8_0", 32, 34, true},
                              KvType{"f16", 1, 2, false}};

const KvType& kv_type_named(const std::string& word) {
  std::string known;
  for (const KvType& type : kKvTypes) {
    if (type.name == word) return type;
    known += (known.empty() ? "" : ", ") + std::string(type.name);
  }
  throw std::invalid_argument("unknown KV type '" + word + "'; known: " + known);
}

/// In shapes mode a launch is judged and not run.
Status never_run(const Launch&) { return Status::not_supported; }
Status never_run_on_stream(const Launch&, void*) { return Status::not_supported; }

void launch(Rig& rig, std::string_view kernel, std::span<const Operand> operands) {
  must(rig.device().launch({.kernel = kernel,
                            .block = {32},
                            .operands = operands,
                            .host = never_run,
                            .cuda = never_run_on_stream}),
       kernel);
}

Operand operand(std::string_view name, const Buffer& buffer, Access access) {
  return {name, buffer.data(), buffer.bytes(), access};
}

/// The account over the device that the chain begins with.
const Account& chain_base(Rig& rig) {
  const Account* base = nullptr;
  for (const Account* const account : rig.ledger().accounts())
    if (!account->below()) base = account;
  return *base;
}

}  // namespace

/// Where a run stands, and the high-water marks of what it borrowed from the device.
struct PoolDecode::Progress {
  const KvType& type;
  const Account& borrowed;
  Buffer kv_cache{};
  std::size_t model_bytes = 0;
  std::size_t token = 0, n_kv = 0;  ///< After the ubatch that runs now.
  std::size_t peak_bytes = 0;
};

PoolDecode::PoolDecode(Options options) : options_(std::move(options)) {
  const Options& o = options_;
  if (o.ubatch == 0 || o.tokens == 0 || o.tokens % o.ubatch != 0)
    throw std::invalid_argument("tokens must be a multiple of ubatch, and neither may be 0");
  if (o.kv_heads == 0 || o.head_dim == 0 || o.kv_layers == 0 || o.heads % o.kv_heads != 0)
    throw std::invalid_argument(
        "heads must be a multiple of kv_heads; kv_heads, head_dim and kv_layers not 0");
  if (o.parallel_blocks == 0) throw std::invalid_argument("parallel_blocks must be above 0");
  if (o.kv_types.empty()) throw std::invalid_argument("kv_types must name at least one type");
  for (const std::string& type : o.kv_types) kv_type_named(type);
  checked_product("the KV cache", {o.tokens + kTokensPerStep, o.kv_layers, o.kv_heads, o.head_dim, 4});
  checked_product("dst_tmp", {o.parallel_blocks, o.heads, o.head_dim, o.ubatch, sizeof(float)});
}

void PoolDecode::run(Rig& rig) {
  if (rig.full())
    throw UserError(
        "pool_decode replays sizes, its kernels have no bodies: it needs [device] work = \"shapes\"");
  for (const std::string& type : options_.kv_types) {
    if (auto* const pool = dynamic_cast<Trims*>(&rig.allocator())) pool->trim();
    run_type(rig, type);
  }
  rig.ledger().mark_teardown(
      {"weights", "kv_cache", "other", "activations", "K_f16", "V_f16", "dst_tmp", "dst_tmp_meta"});
}

void PoolDecode::run_type(Rig& rig, const std::string& kv_type) {
  Progress progress{kv_type_named(kv_type), chain_base(rig)};
  const std::size_t first_try = rig.record().attempts.size();
  const auto decide = [&](const std::string& what, std::uint64_t value) {
    rig.decide(options_.kv_types.size() == 1 ? what : kv_type + "." + what, value);
  };
  const auto decide_figures = [&] {
    std::size_t grows = 0, flushes = 0;
    for (std::size_t i = first_try; i < rig.record().attempts.size(); ++i) {
      grows += rig.record().attempts[i].end == Attempt::End::succeeded;
      flushes += rig.record().attempts[i].number == 2;
    }
    decide("peak_bytes", progress.peak_bytes);
    decide("peak_total_bytes", progress.peak_bytes + progress.model_bytes);
    decide("grows", grows);
    decide("flushes", flushes);
    decide("blocks_held", progress.borrowed.live().size());
  };
  Buffer weights, other;
  try {
    if (!options_.model_from.empty()) {
      Resource& model = rig.memory_named(options_.model_from);
      const std::size_t elements =
          2 * options_.tokens * options_.kv_layers * options_.kv_heads * options_.head_dim;
      const std::size_t kv_bytes = elements / progress.type.block_elements * progress.type.block_bytes;
      if (options_.weights_bytes != 0)
        weights = Buffer(model, {.bytes = options_.weights_bytes, .tag = "weights"});
      progress.kv_cache = Buffer(model, {.bytes = kv_bytes, .tag = "kv_cache"});
      if (options_.other_bytes != 0) other = Buffer(model, {.bytes = options_.other_bytes, .tag = "other"});
      progress.model_bytes = weights.bytes() + kv_bytes + other.bytes();
    }
    while (progress.token < options_.tokens) {
      progress.token += options_.ubatch;
      progress.n_kv = round_up(progress.token, kTokensPerStep);
      run_ubatch(rig, progress);
    }
  } catch (const OutOfMemory&) {
    decide("oom_token", progress.token);
    decide("oom_n_kv", progress.n_kv);
    decide_figures();
    throw;
  }
  decide_figures();
}

Buffer PoolDecode::scratch(Rig& rig, Progress& progress, std::size_t bytes, Tag tag) const {
  Buffer made(rig.memory(), {.bytes = bytes, .tag = tag});
  progress.peak_bytes = std::max(progress.peak_bytes, progress.borrowed.live_bytes());
  return made;
}

void PoolDecode::run_ubatch(Rig& rig, Progress& progress) const {
  for (const std::size_t bytes : options_.activation_bytes) {
    const Buffer activations = scratch(rig, progress, bytes, "activations");
    const Operand used[] = {operand("activations", activations, Access::read_write)};
    launch(rig, "mul_mat_q", used);
  }
  run_attention(rig, progress);
}

void PoolDecode::run_attention(Rig& rig, Progress& progress) const {
  const std::size_t cache_bytes = 2 * progress.n_kv * options_.kv_heads * options_.head_dim;
  const std::size_t rows = options_.heads * options_.ubatch;
  // Declared in llama.cpp's order, so they are given back in reverse.
  Buffer k_f16, v_f16, dst_tmp, dst_tmp_meta;
  if (progress.type.needs_f16) {
    k_f16 = scratch(rig, progress, cache_bytes, "K_f16");
    v_f16 = scratch(rig, progress, cache_bytes, "V_f16");
  }
  if (options_.parallel_blocks > 1) {
    dst_tmp = scratch(rig, progress, sizeof(float) * options_.parallel_blocks * rows * options_.head_dim,
                      "dst_tmp");
    dst_tmp_meta =
        scratch(rig, progress, 2 * sizeof(float) * options_.parallel_blocks * rows, "dst_tmp_meta");
  }
  if (k_f16) {
    const Operand converted[] = {operand("kv_cache", progress.kv_cache, Access::read),
                                 operand("K_f16", k_f16, Access::write),
                                 operand("V_f16", v_f16, Access::write)};
    launch(rig, "dequantize", converted);
  }
  const Operand attended[] = {operand("K", k_f16 ? k_f16 : progress.kv_cache, Access::read),
                              operand("V", v_f16 ? v_f16 : progress.kv_cache, Access::read),
                              operand("dst_tmp", dst_tmp, Access::read_write),
                              operand("dst_tmp_meta", dst_tmp_meta, Access::read_write)};
  launch(rig, "flash_attn_tile", attended);
}

}  // namespace drought
