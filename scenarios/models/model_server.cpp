#include "scenarios/models/model_server.hpp"

#include <algorithm>
#include <cmath>

#include "scenarios/device_calls.hpp"
#include "scenarios/digest.hpp"
#include "scenarios/models/vision_encoder.hpp"

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
  return {"weights",         "kv_pages",      "state",          "pixels",
          "image_tokens",    "ids",           "slots",          "sampled_rows",
          "uniforms",        "page_table",    "seqlens",        "cu_seqlens",
          "positions",       "image_rows",    "hidden",         "normed",
          "linear_out",      "workspace",     "attention_out",  "mlp",
          "head_normed",     "tokens",        "logits",         "probabilities",
          "vision_linear",   "vision_normed", "vision_hidden",  "vision_attended",
          "vision_mlp",      "merger_active", "experts_in_out", "experts_active",
          "experts_out_out", "experts_sum",   "split_out",      "split_lse"};
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

std::size_t ModelServer::image_tokens() const {
  return options_.image_patches / (model_.vision.merge * model_.vision.merge);
}

void ModelServer::encode_image() {
  if (options_.image_patches == 0) return;
  const VisionTower& tower = model_.vision;
  const std::size_t base = meter_.reserved_bytes(), patches = options_.image_patches;
  meter_.restart_peak();
  Program program(
      {.rig = &rig_, .memory = &rig_.memory(), .meter = &meter_, .stream = stream_, .judges_each = true});
  ProgramInputs inputs(rig_, meter_, stream_);
  const auto numbers = [&](std::string_view tag, std::size_t count, std::uint64_t part) {
    if (rig_.full()) {
      const auto drawn = weight_numbers(model_.type, count, 1, 0, rig_.seed(), 0x1336 + part);
      return inputs.add(program, tag, drawn, true);
    }
    // Shapes work reads the length alone: the contents are never touched.
    return inputs.add(program, tag, {static_cast<const std::byte*>(nullptr), count * model_.element_bytes()},
                      true);
  };
  const auto starts = [&](const std::vector<std::size_t>& from) {
    const std::vector<std::int32_t> narrow(from.begin(), from.end());
    return inputs.add(program, "cu_seqlens", bytes_of(narrow));
  };
  const std::size_t rows = patches + (tower.class_token ? 1 : 0);
  const ImageBatch image{.patches = patches,
                         .pixels = numbers("pixels", patches * tower.patch_values, 0),
                         .positions = tower.positions == 0 ? 0 : numbers("positions", rows * tower.hidden, 1),
                         .full_starts = starts(VisionEncoder::full_starts(rows)),
                         .window_starts = starts(VisionEncoder::window_starts(tower, patches))};
  std::vector<Program::Value> tokens;
  for (std::size_t i = 0; i < 1 + tower.taps.size(); ++i) {
    const std::size_t bytes = image_tokens() * tower.out * model_.element_bytes();
    image_.emplace_back(rig_.memory(), Request{.bytes = bytes, .stream = stream_, .tag = "image_tokens"});
    tokens.push_back(program.given("image_tokens", image_.back().data(), bytes));
  }
  VisionEncoder(program, model_, *tower_, options_.library_workspace_bytes).add(image, tokens);
  program.run();
  must(rig_.device().stream_synchronize(stream_), "cudaStreamSynchronize");
  note_peak("vision_peak_bytes", base);
}

DecoderOptions ModelServer::decoder_options() const {
  return {.library_workspace_bytes = options_.library_workspace_bytes, .top_k = options_.top_k};
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
  if (sequence == 0 && !image_.empty()) {
    std::vector<std::int32_t> rows(image_tokens());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
    batch.image_tokens = rows.size();
    batch.image = program.given("image_tokens", image_[0].data(), image_[0].bytes());
    batch.image_rows = inputs.add(program, "image_rows", bytes_of(rows));
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
    tokens_[s].push_back(result.tokens[0]);
  }
  note_peak("prefill_peak_bytes", base);
}

// Both ways compute the same sums in other orders. To first order each of n operations adds a difference of
// at most 2 (u + d e) of its result's norm, where u is half a unit of the type, e of fp32 and d the longest
// sum; what comes in passes on by a factor near one, as rows are normed before each block and added back
// after it. A layer has 14 operations.
void ModelServer::verify() {
  if (!rig_.full()) return;
  const double depth =
      static_cast<double>(std::max({model_.hidden, model_.ffn, model_.heads * model_.head_dim}));
  const double half_unit = model_.type == "bf16" ? 0x1p-9 : 0x1p-24;
  const double limit = static_cast<double>(14 * model_.layers + 4) * 2 * (half_unit + depth * 0x1p-24);
  for (std::size_t s = 0; s < options_.sequences; ++s) {
    if (last_logits_[s].empty()) continue;
    const Result expected = run_prompt(s, tokens_[s].size() - 1, false);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < model_.vocab; ++i) {
      const double wanted = expected.logits[i], difference = last_logits_[s][i] - wanted;
      error += difference * difference;
      norm += wanted * wanted;
    }
    const double ratio = std::sqrt(error / norm);
    rig_.record().comparisons.push_back(
        {"the last token of sequence " + std::to_string(s) + " against a prefill", ratio <= limit,
         "its logits differ by " + std::to_string(ratio) + " of their norm, above " + std::to_string(limit)});
  }
}

}  // namespace drought
