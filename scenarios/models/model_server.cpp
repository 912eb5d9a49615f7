#include "scenarios/models/model_server.hpp"

#include <algorithm>

#include "scenarios/device_calls.hpp"
#include "scenarios/digest.hpp"

namespace drought {

Program::Value ProgramInputs::add(Program& program, std::string_view tag, std::span<const std::byte> content,
                                  bool payload) {
  buffers_.emplace_back(rig_.memory(), Request{.bytes = content.size(), .stream = stream_, .tag = tag});
  meter_.note();
  if (!payload || rig_.full()) upload(buffers_.size() - 1, content);
  return program.given(tag, buffers_.back().data(), content.size());
}

void ProgramInputs::upload(std::size_t index, std::span<const std::byte> content) {
  must(rig_.device().memcpy(buffers_[index].data(), content.data(), content.size(), stream_), "cudaMemcpy");
}

std::vector<Tag> ModelServer::tags() {
  return {
      "weights",         "kv_pages",        "state",      "pixels",        "image_tokens",   "ids",
      "slots",           "sampled_rows",    "uniforms",   "page_table",    "seqlens",        "cu_seqlens",
      "positions",       "frequencies",     "axes",       "rotated",       "image_rows",     "tap_rows",
      "hidden",          "normed",          "linear_out", "workspace",     "attention_out",  "mlp",
      "head_normed",     "tokens",          "logits",     "probabilities", "vision_linear",  "vision_normed",
      "vision_hidden",   "vision_attended", "vision_mlp", "merger_active", "experts_in_out", "experts_active",
      "experts_out_out", "experts_sum",     "split_out",  "split_lse"};
}

void ModelServer::note_peak(const char* what, std::size_t base_bytes) {
  rig_.decide(what, meter_.peak_bytes() - base_bytes);
}

void ModelServer::load() {
  weights_.emplace(rig_, model_, weight_matrices(model_), meter_);
  rig_.decide("parameters", model_.parameters());
  rig_.decide("weight_bytes", weights_->bytes());
  if (options_.image_patches != 0) {
    tower_.emplace(rig_, model_, weight_matrices(model_.vision), meter_);
    rig_.decide("tower_bytes", tower_->bytes());
  }
  cache_.emplace(rig_, model_,
                 SequenceCache::Size{.sequences = options_.sequences,
                                     .tokens_max = options_.batch_max_tokens + options_.decode_steps,
                                     .page_size = options_.page_size},
                 meter_);
  rig_.decide("cell_bytes", model_.cell_bytes());
  rig_.decide("cache_bytes", cache_->bytes());
}

DecoderOptions ModelServer::decoder_options() const {
  return {.library_workspace_bytes = options_.library_workspace_bytes,
          .top_k = options_.top_k,
          .leaves_keys = options_.bug == "keys_left"};
}

Rope::Shape ModelServer::rope() const {
  Rope::Shape shape = model_.rope;
  if (options_.bug == "pairs_in_sections") shape.positions = "m-rope";
  return shape;
}

const ImageLayout* ModelServer::image_of(std::size_t sequence) const {
  return sequence == 0 && layout_ ? &*layout_ : nullptr;
}

Rotation ModelServer::rotation(Program& program, ProgramInputs& inputs, const Rope::Shape& shape,
                               const std::vector<std::int32_t>& positions) const {
  const Rope kernel(shape);
  const std::vector<Part> plan = kernel.plan();
  const auto table = [&](Rope::PartIndex part) {
    std::vector<std::byte> content(plan[part].bytes);
    kernel.fill(part, 0, content);
    return content;
  };
  Rotation made{.shape = shape};
  made.positions = inputs.add(program, "positions", bytes_of(positions));
  made.frequencies = inputs.add(program, "frequencies", table(Rope::frequencies), true);
  made.axes = inputs.add(program, "axes", table(Rope::axes));
  return made;
}

std::vector<float> ModelServer::draws(std::size_t count, std::uint64_t draw) const {
  Random random = rig_.random(2).split(draw);
  std::vector<float> drawn(count);
  for (float& number : drawn) number = static_cast<float>(random() >> 40) * 0x1p-24f;
  return drawn;
}

ModelServer::Result ModelServer::read(void* logits, void* tokens, std::size_t rows) {
  Result result;
  if (rig_.full()) {
    result.logits.resize(rows * model_.vocab);
    result.tokens.resize(rows);
    must(rig_.device().memcpy(result.logits.data(), logits, result.logits.size() * sizeof(float), stream_),
         "cudaMemcpy");
    must(rig_.device().memcpy(result.tokens.data(), tokens, rows * sizeof(std::int32_t), stream_),
         "cudaMemcpy");
  }
  must(rig_.device().stream_synchronize(stream_), "cudaStreamSynchronize");
  result.tokens.resize(rows);  // Shapes work draws token 0.
  return result;
}

void ModelServer::add_taps(DecoderBatch& batch, Program& program, ProgramInputs& inputs) const {
  if (image_.size() == 1 || options_.bug == "taps_dropped") return;
  std::vector<std::int32_t> rows(batch.tokens, -1);
  const std::vector<std::int32_t>& order = layout_->token_order();
  for (std::size_t i = 0; i < order.size(); ++i)
    rows[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  batch.tap_rows = inputs.add(program, "tap_rows", bytes_of(rows));
  for (std::size_t tap = 1; tap < image_.size(); ++tap)
    batch.taps.push_back(program.given("image_tokens", image_[tap].data(), image_[tap].bytes()));
}

ModelServer::Result ModelServer::run_prompt(std::size_t sequence, std::size_t tokens, bool judges) {
  Program program(
      {.rig = &rig_, .memory = &rig_.memory(), .meter = &meter_, .stream = stream_, .judges_each = judges});
  ProgramInputs inputs(rig_, meter_, stream_);
  const std::vector<std::int32_t>& all = tokens_[sequence];
  const std::vector<std::int32_t> ids(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(tokens));
  std::vector<std::int32_t> slots;
  for (std::size_t i = 0; i < tokens; ++i) slots.push_back(cache_->slot(sequence, i));
  const std::vector<std::int32_t> last{static_cast<std::int32_t>(tokens - 1)};
  DecoderBatch batch{.is_prefill = true, .tokens = tokens, .sampled = 1};
  batch.ids = inputs.add(program, "ids", bytes_of(ids));
  batch.slots = inputs.add(program, "slots", bytes_of(slots));
  batch.sampled_rows = inputs.add(program, "sampled_rows", bytes_of(last));
  batch.uniforms = inputs.add(program, "uniforms", bytes_of(draws(1, sequence)), true);
  const ImageLayout* const image = image_of(sequence);
  if (model_.latent.kv_rank == 0)
    batch.rotation = rotation(program, inputs, rope(), token_positions(rope(), image, 0, tokens));
  if (image) {
    batch.image_tokens = image->tokens();
    batch.image = program.given("image_tokens", image_[0].data(), image_[0].bytes());
    batch.image_rows = inputs.add(program, "image_rows", bytes_of(image->token_order()));
    add_taps(batch, program, inputs);
  }
  const DecoderOutput output = Decoder(program, model_, *weights_, *cache_, decoder_options()).add(batch);
  program.run();
  return read(program.data(output.logits), program.data(output.tokens), 1);
}

void ModelServer::compare_bits(const std::string& what, const Result& expected, const Result& got) {
  if (!rig_.full()) return;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < expected.logits.size(); ++i)
    wrong += std::bit_cast<std::uint32_t>(expected.logits[i]) != std::bit_cast<std::uint32_t>(got.logits[i]);
  rig_.record().comparisons.push_back(
      {what, wrong == 0 && expected.tokens == got.tokens,
       std::to_string(wrong) + " of " + std::to_string(expected.logits.size()) + " logits have other bits"});
}

void ModelServer::prefill() {
  const std::size_t base = meter_.reserved_bytes();
  meter_.restart_peak();
  for (std::size_t s = 0; s < options_.sequences; ++s) {
    const std::size_t tokens = tokens_[s].size();
    // In shapes work one prompt of the full length says all; the others are taken as if they had run.
    const bool runs = rig_.full() || s == 0;
    Result result{.logits = {}, .tokens = {0}};
    if (runs) result = run_prompt(s, tokens, true);
    if (s == 0) compare_bits("the first prompt run again", result, run_prompt(s, tokens, false));
    if (rig_.full()) rig_.record().output_digests.push_back(digest_of(bytes_of(result.logits)));
    prompt_logits_[s] = std::move(result.logits);
    tokens_[s].push_back(result.tokens[0]);
  }
  note_peak("prefill_peak_bytes", base);
}

}  // namespace drought
