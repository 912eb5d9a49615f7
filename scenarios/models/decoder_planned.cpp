// What of a decoder is planned and not computed: mixtures of experts, latent and linear attention.
#include "scenarios/models/decoder.hpp"

namespace drought {
namespace {

// Rows that a block of vLLM's fused experts works on: each expert's are padded to a multiple.
constexpr std::size_t kExpertBlock = 64;
// Tokens of a chunk in flash-linear-attention's gated delta rule.
constexpr std::size_t kChunk = 64;
// Parts that DeepSeek's decode attention splits all sequences into, beside one for each: a quarter-wave of
// blocks on each of an H200's 132 multiprocessors, as LightLLM's 4 * vsm_count.
constexpr std::size_t kLatentParts = 4 * 132;

}  // namespace

Decoder::Value Decoder::mixture(Value normed) {
  const Experts& experts = model_.experts;
  const std::size_t chosen = tokens_ * experts.per_token, hidden = model_.hidden;
  const Value scores = linear_of(normed, weight("router"), tokens_, experts.routed, hidden, nullptr, "fp32");
  const Value weights = program_.made("expert_weights", chosen * sizeof(float));
  const Value ids = program_.made("expert_ids", chosen * sizeof(std::int32_t));
  plan("choose_experts",
       {in("scores", tokens_ * experts.routed * sizeof(float), scores),
        out("weights", chosen * sizeof(float), weights), out("ids", chosen * sizeof(std::int32_t), ids)});
  const std::size_t padded = chosen + experts.routed * (kExpertBlock - 1);
  const std::size_t blocks = (padded + kExpertBlock - 1) / kExpertBlock;
  const Value order = program_.made("expert_order", padded * sizeof(std::int32_t));
  const Value owners = program_.made("expert_owners", blocks * sizeof(std::int32_t));
  plan("align_experts", {in("ids", chosen * sizeof(std::int32_t), ids),
                         scratch("counts", (experts.routed + 1) * sizeof(std::int32_t)),
                         out("order", padded * sizeof(std::int32_t), order),
                         out("owners", blocks * sizeof(std::int32_t), owners)});
  const auto product = [&](std::string_view tag, std::string_view matrix_name, Value x, std::size_t x_rows,
                           std::size_t columns, std::size_t depth) {
    const Value matrix = weight(matrix_name), made = activation(tag, chosen * columns);
    const std::size_t quantised = model_.fp8_weights ? x_rows * depth : 0;
    plan("expert_product",
         {in("x", bytes_of(x_rows * depth), x), in("weight", program_.bytes(matrix), matrix),
          in("order", padded * sizeof(std::int32_t), order),
          in("owners", blocks * sizeof(std::int32_t), owners), in("weights", chosen * sizeof(float), weights),
          scratch("x_fp8", quantised), scratch("x_scales", (quantised + 127) / 128 * sizeof(float)),
          out("out", bytes_of(chosen * columns), made)});
    return made;
  };
  const Value wide = product("experts_in_out", "experts_in", normed, tokens_, 2 * experts.ffn, hidden);
  const Value active = activation("experts_active", chosen * experts.ffn);
  plan("expert_activation", {in("x", bytes_of(chosen * 2 * experts.ffn), wide),
                             out("out", bytes_of(chosen * experts.ffn), active)});
  const Value each = product("experts_out_out", "experts_out", active, chosen, hidden, experts.ffn);
  const Value sum = activation("experts_sum", tokens_ * hidden);
  plan("sum_experts",
       {in("x", bytes_of(chosen * hidden), each), out("out", bytes_of(tokens_ * hidden), sum)});
  if (experts.shared_ffn == 0) return sum;
  const Value shared = mlp(normed, experts.shared_ffn);
  const Value all = activation("mixture", tokens_ * hidden);
  plan("add_shared",
       {in("x", bytes_of(tokens_ * hidden), sum), in("shared", bytes_of(tokens_ * hidden), shared),
        out("out", bytes_of(tokens_ * hidden), all)});
  return all;
}

Decoder::Value Decoder::latent_attention(Value normed, const DecoderBatch& batch) {
  const Latent& latent = model_.latent;
  const std::size_t query = latent.nope_dim + latent.rope_dim, row = latent.kv_rank + latent.rope_dim;
  const std::size_t queries = tokens_ * model_.heads * query,
                    values = tokens_ * model_.heads * latent.value_dim;
  const auto norm = [&](Value x, std::string_view name, std::size_t in_width, std::size_t width) {
    const Value made = activation("latent_normed", tokens_ * in_width);
    const Value scale = weight(name);
    plan("latent_norm", {in("x", bytes_of(tokens_ * in_width), x), in("weight", bytes_of(width), scale),
                         out("out", bytes_of(tokens_ * in_width), made)});
    return made;
  };
  const Value down = linear(normed, "q_down", latent.q_rank, model_.hidden);
  const Value q =
      linear(norm(down, "q_norm", latent.q_rank, latent.q_rank), "q_up", model_.heads * query, latent.q_rank);
  // The last rope_dim columns of a row are the rotated key of all heads; only the others are normed.
  const Value rows = norm(linear(normed, "kv_down", row, model_.hidden), "kv_norm", row, latent.kv_rank);
  append(rows, nullptr, batch.slots, 1, row);
  const Value made = activation("attention_out", values);
  if (batch.is_prefill) {
    const std::size_t keys_values = model_.heads * (latent.nope_dim + latent.value_dim);
    const Value wide = linear(rows, "kv_up", keys_values, latent.kv_rank);
    plan("latent_prefill", {in("q", bytes_of(queries), q), in("rows", bytes_of(tokens_ * row), rows),
                            in("kv", bytes_of(tokens_ * keys_values), wide), scratch("k", bytes_of(queries)),
                            out("out", bytes_of(values), made)});
  } else {
    const Value pages = cache_.pages_of(program_, layer_, 0), up = weight("kv_up");
    const std::size_t absorbed = tokens_ * model_.heads * latent.kv_rank;
    plan("latent_decode",
         {in("q", bytes_of(queries), q), in("kv_up", program_.bytes(up), up),
          in("pages", program_.bytes(pages), pages),
          in("page_table", program_.bytes(batch.page_table), batch.page_table),
          in("seqlens", program_.bytes(batch.seqlens), batch.seqlens),
          scratch("q_absorbed", bytes_of(absorbed + tokens_ * model_.heads * latent.rope_dim)),
          scratch("split_out", model_.heads * (kLatentParts + tokens_) * latent.kv_rank * sizeof(float)),
          scratch("split_lse", model_.heads * (kLatentParts + tokens_) * sizeof(float)),
          scratch("latent_out", bytes_of(absorbed)), out("out", bytes_of(values), made)});
  }
  return linear(made, "o", model_.hidden, model_.heads * latent.value_dim);
}

Decoder::Value Decoder::linear_attention(Value normed, const DecoderBatch& batch) {
  const LinearAttention& linear_of_model = model_.linear;
  const std::size_t channels = linear_of_model.channels(), values = linear_of_model.values();
  const std::size_t heads = linear_of_model.value_heads;
  const std::size_t state = heads * linear_of_model.key_dim * linear_of_model.value_dim;
  const Value mixed = linear(normed, "qkvz", channels + values, model_.hidden);
  const Value gates = linear(normed, "ba", 2 * heads, model_.hidden);
  const Value state_value = cache_.state_of(program_, layer_);
  const std::size_t state_bytes = program_.bytes(state_value);
  const Value convolved = activation("convolved", tokens_ * channels);
  const Value kernel = weight("convolution");
  plan("convolve", {in("x", bytes_of(tokens_ * (channels + values)), mixed),
                    in("weight", bytes_of(channels * linear_of_model.kernel), kernel),
                    in("old_state", state_bytes, state_value), out("state", state_bytes, state_value),
                    out("out", bytes_of(tokens_ * channels), convolved)});
  const Value attended = activation("recurrent_out", tokens_ * values), decay = weight("decay");
  const std::size_t chunks = batch.is_prefill ? (tokens_ + kChunk - 1) / kChunk : 0;
  const std::size_t in_chunks = batch.is_prefill ? tokens_ : 0;
  plan("gated_delta_rule",
       {in("x", bytes_of(tokens_ * channels), convolved), in("gates", bytes_of(tokens_ * 2 * heads), gates),
        in("decay", bytes_of(2 * heads), decay), in("old_state", state_bytes, state_value),
        scratch("decay_sums", in_chunks * heads * sizeof(float)),
        scratch("within_chunks", bytes_of(in_chunks * heads * kChunk)),
        scratch("w", bytes_of(in_chunks * heads * linear_of_model.key_dim)),
        scratch("u", bytes_of(in_chunks * values)), scratch("chunk_states", bytes_of(chunks * state)),
        scratch("new_values", bytes_of(in_chunks * values)), out("state", state_bytes, state_value),
        out("out", bytes_of(tokens_ * values), attended)});
  const Value gated = activation("gated", tokens_ * values), scale = weight("state_norm");
  plan("gated_norm", {in("x", bytes_of(tokens_ * values), attended),
                      in("z", bytes_of(tokens_ * (channels + values)), mixed),
                      in("weight", bytes_of(linear_of_model.value_dim), scale),
                      out("out", bytes_of(tokens_ * values), gated)});
  return linear(gated, "o", model_.hidden, values);
}

}  // namespace drought
