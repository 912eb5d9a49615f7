#include "scenarios/auto_profile/server.hpp"

#include <algorithm>
#include <span>

#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kCanaryPattern = 0xC5;

/// Partial results of one sequence in a decode kernel: more for small batches, so that the memory they
/// take is largest at 16, 64 or the full batch (LightLLM's GQA flash decoding).
std::size_t splits_at(std::size_t batch) { return batch <= 16 ? 128 : batch <= 64 ? 64 : 32; }

std::vector<std::size_t> captured_batches(std::size_t most) {
  std::vector<std::size_t> batches{most};  // Largest first, as graphs that share a pool are captured.
  for (const std::size_t batch : {std::size_t{64}, std::size_t{16}})
    if (batch < most) batches.push_back(batch);
  return batches;
}

Value number(std::size_t n) { return {static_cast<std::int64_t>(n), {}}; }

template <typename Number>
std::span<const std::byte> bytes_of(const std::vector<Number>& numbers) {
  return std::as_bytes(std::span(numbers));
}

Table heads_of(const Model& model) {
  Table shape("auto_profile", {});
  shape.add({"type", {}, {std::string(model.type), {}}});
  shape.add({"heads", {}, number(model.heads)});
  shape.add({"kv_heads", {}, number(model.kv_heads)});
  shape.add({"head_dim", {}, number(model.head_dim)});
  return shape;
}

}  // namespace

Server::Server(Rig& rig, int rank, const Model& model, Limits limits, ServerBugs bugs)
    : rig_(rig), rank_(rank), model_(model), limits_(limits), bugs_(bugs), meter_(rig, rank) {}

std::vector<Tag> Server::torn_down_tags() {
  return {"kv_buffer", "req_table", "att_backend", "canary",      "q",
          "out",       "seqlens",   "split_out",   "split_lse",   "hidden",
          "mlp",       "logits",    "probs",       "sort_values", "sort_indices"};
}

Buffer Server::take(std::size_t bytes, Tag tag) {
  Buffer taken(memory(), {.bytes = bytes, .tag = tag});
  meter_.note();
  return taken;
}

std::unique_ptr<AttentionPass> Server::pass_of(std::string_view kernel, const Table& shape,
                                               const AttentionPass::Given& given) {
  auto pass = std::make_unique<AttentionPass>(rig_, rank_, memory(), kernel_at(rig_, kernel, shape), given);
  meter_.note();
  return pass;
}

void Server::load(std::size_t transient_bytes) {
  Buffer transient;
  if (transient_bytes != 0) transient = take(transient_bytes, "loader");
  weights_ = take(model_.weight_bytes(), "weights");
}

/// Kernels are run on the first and the last layer: the ends of the cache.
std::vector<std::size_t> Server::layers_used() const {
  if (model_.layers == 1) return {0};
  return {0, model_.layers - 1};
}

void Server::build(std::uint64_t tokens) {
  if (tokens < limits_.batch_max_tokens || tokens < limits_.graph_max_batch_size)
    throw Fatal("auto-profile: a KV cache of " + std::to_string(tokens) +
                " tokens does not hold one prefill of " + "--batch_max_tokens " +
                std::to_string(limits_.batch_max_tokens) + " and a decode batch of " +
                "--graph_max_batch_size " + std::to_string(limits_.graph_max_batch_size));
  const bool is_rebuild = builds_++ != 0;
  const bool skips_padded = bugs_.no_padded_request && is_rebuild;
  const std::size_t live_requests = limits_.graph_max_batch_size - 1;
  decode_tokens_ = std::min({tokens / live_requests, std::uint64_t{limits_.batch_max_tokens},
                             std::uint64_t{limits_.request_max_tokens}});
  cache_.emplace(rig_, rank_, memory(), model_, tokens);
  requests_.emplace(rig_, rank_, memory(), live_requests, limits_.request_max_tokens);
  managers_.push_back(cache_->lease("request manager"));
  backend_ = take((live_requests + 1) * decode_tokens_ * sizeof(std::int32_t), "att_backend");
  managers_.push_back(requests_->lease("attention backend"));
  requests_->lay_out({.length = decode_tokens_, .hold = cache_->hold_slot(), .skips_padded = skips_padded});
  if (!skips_padded)
    for (const std::size_t layer : layers_used()) cache_->zero_hold_slot(layer);
  padded_request_.push_back(cache_->lease("padded request"));
  padded_request_.push_back(requests_->lease("padded request"));
  std::size_t turn = 0;
  for (const std::size_t batch : captured_batches(limits_.graph_max_batch_size))
    capture(batch, layers_used()[turn++ % layers_used().size()]);
}

std::vector<std::int32_t> Server::lengths_of(std::size_t batch) const {
  std::vector<std::int32_t> lengths(batch, static_cast<std::int32_t>(decode_tokens_));
  lengths.back() = 1;  // The padded request.
  return lengths;
}

void Server::capture(std::size_t batch, std::size_t layer) {
  Table shape = heads_of(model_);
  Value::Items lengths;
  for (const std::int32_t length : lengths_of(batch))
    lengths.push_back(number(static_cast<std::size_t>(length)));
  shape.add({"seqlens", {}, {std::move(lengths), {}}});
  shape.add({"page_size", {}, number(1)});
  shape.add({"pages", {}, number(cache_->tokens() + 1)});
  shape.add({"splits", {}, number(std::min(splits_at(batch), limits_.decode_splits_max))});
  const AttentionPass::Given given{{"k_pages", cache_->at(layer, KvCache::Half::keys)},
                                   {"v_pages", cache_->at(layer, KvCache::Half::values)},
                                   {"page_table", backend_.data()}};
  const std::string holder = "graph of batch " + std::to_string(batch);
  Graph graph{batch, layer, nullptr, {}};
  graph.pass = pass_of("decode_attention", shape, given);
  graph.leases.push_back(cache_->lease(holder));
  graph.leases.push_back(requests_->lease(holder));
  graph.leases.push_back(backend_.lease(holder));
  graphs_.push_back(std::move(graph));
}

void Server::place_canary() {
  canary_ = take(limits_.canary_bytes, "canary");
  must(rig_.device(rank_).memset(canary_.data(), kCanaryPattern, canary_.bytes()), "cudaMemset");
}

void Server::verify_canary() {
  if (!rig_.full()) return;
  std::vector<std::byte> seen(canary_.bytes());
  must(rig_.device(rank_).memcpy(seen.data(), canary_.data(), seen.size()), "cudaMemcpy");
  must(rig_.device(rank_).stream_synchronize({}), "cudaStreamSynchronize");
  const auto wrong = std::find_if(seen.begin(), seen.end(),
                                  [](std::byte byte) { return byte != std::byte{kCanaryPattern}; });
  rig_.record().comparisons.push_back(
      {"canary", wrong == seen.end(), "byte " + std::to_string(wrong - seen.begin()) + " was written over"});
}

/// Logits and probabilities of `rows` tokens in fp32; a sort with its values and 64-bit indices, as top-p
/// sampling does (256 rows of 152,064: 148.5 MiB of logits, 445.5 MiB of sort).
void Server::sample(std::size_t rows, bool sorts) {
  const Buffer logits = take(rows * model_.vocab * 4, "logits");
  const Buffer probabilities = take(rows * model_.vocab * 4, "probs");
  if (!sorts) return;
  const Buffer values = take(rows * model_.vocab * 4, "sort_values");
  const Buffer indices = take(rows * model_.vocab * 8, "sort_indices");
}

std::uint64_t Server::prefill(std::size_t layer) {
  const std::size_t tokens = limits_.batch_max_tokens;
  const Buffer hidden = take(2 * tokens * model_.hidden * model_.element_bytes(), "hidden");
  std::uint64_t digest = 0;
  {
    Table shape = heads_of(model_);
    shape.add({"queries", {}, number(tokens)});
    const auto keys = KvCache::Half::keys, values = KvCache::Half::values;
    const auto pass = pass_of("prefill_attention", shape,
                              {{"k", cache_->at(layer, keys)}, {"v", cache_->at(layer, values)}});
    pass->draw("q");
    if (rig_.full()) {
      pass->expect("k", cache_->expected(layer, keys).first(tokens * model_.row_bytes()));
      pass->expect("v", cache_->expected(layer, values).first(tokens * model_.row_bytes()));
    }
    pass->launch();
    digest = pass->verify("prefill of layer " + std::to_string(layer));
  }
  const Buffer mlp = take(2 * tokens * model_.ffn * model_.element_bytes(), "mlp");
  return digest;
}

std::uint64_t Server::replay(const Graph& graph) {
  const std::size_t live = graph.batch - 1;
  const std::vector<std::int32_t> pages = requests_->gather(live, decode_tokens_);
  const std::vector<std::int32_t> expected_pages = requests_->expected(live, decode_tokens_);
  const std::vector<std::int32_t> lengths = lengths_of(graph.batch);
  AttentionPass& pass = *graph.pass;
  pass.upload("page_table", bytes_of(pages));
  pass.expect("page_table", bytes_of(expected_pages));
  pass.upload("seqlens", bytes_of(lengths));
  pass.expect("seqlens", bytes_of(lengths));
  pass.draw("q");
  if (rig_.full()) {
    pass.expect("k_pages", cache_->expected(graph.layer, KvCache::Half::keys));
    pass.expect("v_pages", cache_->expected(graph.layer, KvCache::Half::values));
  }
  pass.launch();
  return pass.verify("decode batch of " + std::to_string(graph.batch));
}

std::uint64_t Server::stress() {
  std::string what = "the prefill stress of --batch_max_tokens " + std::to_string(limits_.batch_max_tokens);
  std::uint64_t digest = 0;
  const auto add = [&](std::uint64_t part) { digest = Random(digest ^ part)(); };
  try {
    for (const std::size_t layer : layers_used()) {
      if (rig_.full())
        cache_->write(
            layer, std::max(limits_.batch_max_tokens, decode_tokens_ * (limits_.graph_max_batch_size - 1)));
      add(prefill(layer));
    }
    sample(std::min(limits_.batch_max_tokens, limits_.graph_max_batch_size), false);
    what = "the decode stress of --graph_max_batch_size " + std::to_string(limits_.graph_max_batch_size);
    for (const Graph& graph : graphs_) add(replay(graph));
    sample(limits_.graph_max_batch_size, true);
  } catch (const OutOfMemory&) {
    if (bugs_.oom_rewrapped) throw StressFailed(what + " failed: set it smaller");
    std::throw_with_nested(StressFailed("auto-profile: " + what + " ran out of memory: set it smaller"));
  }
  return digest;
}

void Server::teardown() noexcept {
  if (!bugs_.graph_kept) graphs_.clear();
  padded_request_.clear();
  backend_.reset();
  if (!bugs_.canary_kept) canary_.reset();
  managers_.clear();
  requests_.reset();
  cache_.reset();
}

}  // namespace drought
