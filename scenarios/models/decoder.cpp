#include "scenarios/models/decoder.hpp"

#include <algorithm>

#include "kernels/add_rows.hpp"
#include "kernels/decode_attention.hpp"
#include "kernels/embedding.hpp"
#include "kernels/gated_activation.hpp"
#include "kernels/kv_append.hpp"
#include "kernels/linear.hpp"
#include "kernels/norm.hpp"
#include "kernels/prefill_attention.hpp"
#include "kernels/sampling.hpp"
#include "scenarios/models/planned_operation.hpp"

namespace drought {

std::string Decoder::what(std::string_view name) const {
  const std::string where = layer_ < model_.layers ? " of layer " + std::to_string(layer_) : std::string();
  return std::string(name) + where + ", " + std::to_string(tokens_) + " tokens";
}

void Decoder::plan(std::string_view name, const std::vector<Planned>& parts) {
  std::vector<Part> plan;
  std::vector<Value> values;
  for (const Planned& part : parts) {
    plan.push_back({.name = part.name, .bytes = part.bytes, .role = part.role});
    if (part.role != Part::Role::workspace) values.push_back(part.value);
  }
  program_.call(what(name), std::make_unique<PlannedOperation>(name, std::move(plan)), values);
}

Decoder::Value Decoder::linear_of(Value x, Value weight, std::size_t rows, std::size_t columns,
                                  std::size_t depth, Value* bias, std::string_view out_type) {
  auto kernel = std::make_unique<Linear>(Linear::Shape{.type = model_.type,
                                                       .out_type = std::string(out_type),
                                                       .rows = rows,
                                                       .columns = columns,
                                                       .depth = depth,
                                                       .bias = bias != nullptr,
                                                       .workspace_bytes = options_.library_workspace_bytes});
  const Value made = program_.made("linear_out", kernel->plan()[Linear::out].bytes);
  program_.call(what("linear"), std::move(kernel),
                bias ? std::vector<Value>{x, weight, *bias, made} : std::vector<Value>{x, weight, made});
  return made;
}

Decoder::Value Decoder::linear(Value x, std::string_view weight_name, std::size_t columns, std::size_t depth,
                               std::string_view bias_name) {
  const Value matrix = weight(weight_name);
  if (program_.bytes(matrix) >= bytes_of(columns * depth)) {
    Value bias = 0;
    if (!bias_name.empty()) bias = weight(bias_name);
    return linear_of(x, matrix, tokens_, columns, depth, bias_name.empty() ? nullptr : &bias, "");
  }
  // fp8: x is quantised in groups of 128 with a scale each before the product (DeepSeek-V3, section 3.3.2).
  const Value made = activation("linear_out", tokens_ * columns);
  const std::size_t groups = (depth + 127) / 128;
  plan("fp8_linear",
       {in("x", bytes_of(tokens_ * depth), x), in("weight", program_.bytes(matrix), matrix),
        scratch("x_fp8", tokens_ * depth), scratch("x_scales", tokens_ * groups * sizeof(float)),
        out("out", bytes_of(tokens_ * columns), made)});
  return made;
}

Decoder::Normed Decoder::add_and_norm(Value x, const Value* residual, std::string_view weight_name) {
  auto kernel = std::make_unique<Norm>(Norm::Shape{.type = model_.type,
                                                   .rows = tokens_,
                                                   .width = model_.hidden,
                                                   .residual = residual != nullptr,
                                                   .epsilon = model_.norm_epsilon});
  const Value matrix = weight(weight_name), normed = activation("normed", tokens_ * model_.hidden);
  if (!residual) {
    program_.call(what("norm"), std::move(kernel), {x, matrix, normed});
    return {x, normed};
  }
  const Value sum = activation("hidden", tokens_ * model_.hidden);
  program_.call(what("norm"), std::move(kernel), {x, *residual, matrix, normed, sum});
  return {sum, normed};
}

Decoder::Value Decoder::head_norm(Value x, std::string_view weight_name, std::size_t heads) {
  auto kernel = std::make_unique<Norm>(Norm::Shape{.type = model_.type,
                                                   .rows = tokens_ * heads,
                                                   .width = model_.head_dim,
                                                   .residual = false,
                                                   .epsilon = model_.norm_epsilon});
  const Value normed = activation("head_normed", tokens_ * heads * model_.head_dim);
  program_.call(what(weight_name), std::move(kernel), {x, weight(weight_name), normed});
  return normed;
}

void Decoder::append(Value keys, const Value* values, Value slots, std::size_t heads, std::size_t width) {
  std::vector<Value> parts{keys};
  if (values) parts.push_back(*values);
  parts.push_back(slots);
  for (std::size_t half = 0; half < (values ? 2u : 1u); ++half)
    parts.push_back(cache_.pages_of(program_, layer_, half));
  program_.call(what("kv_append"),
                std::make_unique<KvAppend>(KvAppend::Shape{.type = model_.type,
                                                           .tokens = tokens_,
                                                           .page_size = cache_.size().page_size,
                                                           .pages = cache_.pages(),
                                                           .padded = 0,
                                                           .kv_heads = heads,
                                                           .head_dim = width,
                                                           .values = values != nullptr,
                                                           .in_use = true}),
                parts);
}

Decoder::Value Decoder::attention(Value normed, const DecoderBatch& batch) {
  const std::size_t queries = model_.heads * model_.head_dim, keys = model_.kv_heads * model_.head_dim;
  const auto bias = [&](std::string_view name) { return model_.qkv_bias ? name : std::string_view(); };
  Value gate = 0;
  Value q = linear(normed, "q", queries * (model_.output_gate ? 2 : 1), model_.hidden, bias("q_bias"));
  Value k = linear(normed, "k", keys, model_.hidden, bias("k_bias"));
  const Value v = linear(normed, "v", keys, model_.hidden, bias("v_bias"));
  if (model_.output_gate) {
    const Value both = q;
    q = activation("q", tokens_ * queries);
    gate = activation("gate", tokens_ * queries);
    plan("split_gate",
         {in("both", bytes_of(2 * tokens_ * queries), both), out("q", bytes_of(tokens_ * queries), q),
          out("gate", bytes_of(tokens_ * queries), gate)});
  }
  if (model_.qk_norm) {
    q = head_norm(q, "q_norm", model_.heads);
    k = head_norm(k, "k_norm", model_.kv_heads);
  }
  q = batch.rotation.turn(program_, what("rope of q"), q, tokens_, model_.heads);
  if (!options_.leaves_keys)
    k = batch.rotation.turn(program_, what("rope of k"), k, tokens_, model_.kv_heads);
  append(k, &v, batch.slots, model_.kv_heads, model_.head_dim);
  Value out_rows = attend(q, k, v, batch);
  if (model_.output_gate) {
    const Value gated = activation("gated", tokens_ * queries);
    plan("gate_output",
         {in("x", bytes_of(tokens_ * queries), out_rows), in("gate", bytes_of(tokens_ * queries), gate),
          out("out", bytes_of(tokens_ * queries), gated)});
    out_rows = gated;
  }
  return linear(out_rows, "o", model_.hidden, queries);
}

/// Where no kernel is compiled for the head's size, what attention without stored scores takes.
Decoder::Value Decoder::attend(Value q, Value k, Value v, const DecoderBatch& batch) {
  const std::size_t queries = model_.heads * model_.head_dim, keys = model_.kv_heads * model_.head_dim;
  const Value made = activation("attention_out", tokens_ * queries);
  const bool has_kernel = model_.head_dim == 64 || model_.head_dim == 128;
  if (batch.is_prefill && has_kernel) {
    program_.call(what("prefill_attention"),
                  std::make_unique<PrefillAttention>(PrefillAttention::Shape{.type = model_.type,
                                                                             .queries = tokens_,
                                                                             .heads = model_.heads,
                                                                             .kv_heads = model_.kv_heads,
                                                                             .head_dim = model_.head_dim}),
                  {q, k, v, made});
    return made;
  }
  if (batch.is_prefill) {
    plan("prefill_attention",
         {in("q", bytes_of(tokens_ * queries), q), in("k", bytes_of(tokens_ * keys), k),
          in("v", bytes_of(tokens_ * keys), v), out("out", bytes_of(tokens_ * queries), made)});
    return made;
  }
  const Value key_pages = cache_.pages_of(program_, layer_, 0),
              value_pages = cache_.pages_of(program_, layer_, 1);
  if (has_kernel) {
    program_.call(
        what("decode_attention"),
        std::make_unique<DecodeAttention>(DecodeAttention::Shape{
            .type = model_.type,
            .seqlens = std::vector<std::size_t>(tokens_, cache_.pages_each() * cache_.size().page_size),
            .page_size = cache_.size().page_size,
            .pages = cache_.pages(),
            .splits = batch.splits,
            .heads = model_.heads,
            .kv_heads = model_.kv_heads,
            .head_dim = model_.head_dim}),
        {q, key_pages, value_pages, batch.page_table, batch.seqlens, made});
    return made;
  }
  const std::size_t partial = batch.splits > 1 ? batch.splits * tokens_ * model_.heads * sizeof(float) : 0;
  plan("decode_attention",
       {in("q", bytes_of(tokens_ * queries), q), in("k_pages", program_.bytes(key_pages), key_pages),
        in("v_pages", program_.bytes(value_pages), value_pages),
        in("page_table", program_.bytes(batch.page_table), batch.page_table),
        in("seqlens", program_.bytes(batch.seqlens), batch.seqlens),
        scratch("split_out", partial * model_.head_dim), scratch("split_lse", partial),
        out("out", bytes_of(tokens_ * queries), made)});
  return made;
}

Decoder::Value Decoder::mlp(Value normed, std::size_t ffn) {
  const Value gate = linear(normed, "gate", ffn, model_.hidden),
              up = linear(normed, "up", ffn, model_.hidden);
  const Value made = activation("mlp", tokens_ * ffn);
  program_.call(what("gated_activation"),
                std::make_unique<GatedActivation>(
                    GatedActivation::Shape{.type = model_.type, .rows = tokens_, .width = ffn}),
                {gate, up, made});
  return linear(made, "down", model_.hidden, ffn);
}

DecoderOutput Decoder::add_head(Value hidden, Value delta, const DecoderBatch& batch) {
  layer_ = WeightMatrix::no_layer;
  const Normed last = add_and_norm(hidden, &delta, "final_norm");
  const Value rows = activation("sampled_rows", batch.sampled * model_.hidden);
  program_.call(what("gather"),
                std::make_unique<Embedding>(Embedding::Shape{
                    .type = model_.type, .rows = batch.sampled, .entries = tokens_, .width = model_.hidden}),
                {batch.sampled_rows, last.out, rows});
  const Value logits = linear_of(rows, weight(model_.tied_embeddings ? "embedding" : "head"), batch.sampled,
                                 model_.vocab, model_.hidden, nullptr, "fp32");
  const Value next = program_.made("tokens", batch.sampled * sizeof(std::int32_t));
  const Value probabilities = program_.made("probabilities", batch.sampled * model_.vocab * sizeof(float));
  program_.call(what("sampling"),
                std::make_unique<Sampling>(Sampling::Shape{.rows = batch.sampled,
                                                           .vocab = model_.vocab,
                                                           .top_k = std::min(options_.top_k, model_.vocab),
                                                           .temperature = options_.temperature}),
                {logits, batch.uniforms, next, probabilities});
  program_.keep(logits);
  program_.keep(next);
  return {logits, next};
}

DecoderOutput Decoder::add(const DecoderBatch& batch) {
  tokens_ = batch.tokens;
  layer_ = WeightMatrix::no_layer;
  Value hidden = activation("hidden", tokens_ * model_.hidden), delta = 0;
  program_.call(what("embedding"),
                std::make_unique<Embedding>(Embedding::Shape{
                    .type = model_.type, .rows = tokens_, .entries = model_.vocab, .width = model_.hidden}),
                {batch.ids, weight("embedding"), hidden});
  if (batch.image_tokens != 0)
    program_.call(what("image tokens"),
                  std::make_unique<KvAppend>(KvAppend::Shape{.type = model_.type,
                                                             .tokens = batch.image_tokens,
                                                             .page_size = 1,
                                                             .pages = tokens_,
                                                             .padded = 0,
                                                             .kv_heads = 1,
                                                             .head_dim = model_.hidden,
                                                             .values = false,
                                                             .in_use = true}),
                  {batch.image, batch.image_rows, hidden});
  for (layer_ = 0; layer_ < model_.layers; ++layer_) {
    const Normed first = add_and_norm(hidden, layer_ == 0 ? nullptr : &delta, "input_norm");
    const Value mixed = !model_.attends_in_full(layer_) ? linear_attention(first.out, batch)
                        : model_.latent.kv_rank != 0    ? latent_attention(first.out, batch)
                                                        : attention(first.out, batch);
    const bool drops = options_.drops_residual && layer_ + 1 == model_.layers;
    const Normed second = add_and_norm(mixed, drops ? nullptr : &first.sum, "post_norm");
    hidden = second.sum;
    delta = model_.has_experts(layer_) ? mixture(second.out) : mlp(second.out, model_.ffn);
    if (layer_ >= batch.taps.size()) continue;
    hidden = activation("hidden", tokens_ * model_.hidden);
    program_.call(
        what("tap"),
        std::make_unique<AddRows>(AddRows::Shape{
            .type = model_.type, .rows = tokens_, .entries = batch.image_tokens, .width = model_.hidden}),
        {second.sum, batch.taps[layer_], batch.tap_rows, hidden});
  }
  return add_head(hidden, delta, batch);
}

}  // namespace drought
