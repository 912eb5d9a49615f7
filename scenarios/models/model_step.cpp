#include "scenarios/models/model_step.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "kernels/shape.hpp"
#include "scenarios/models/config.hpp"
#include "scenarios/models/model_server.hpp"

namespace drought {
namespace {

constexpr std::array<std::string_view, 11> kBugs{
    "none",        "wrong_page",      "slot_before",       "residual_dropped", "scratch_freed",
    "keys_left",   "image_forgotten", "pairs_in_sections", "patches_in_rows",  "starts_swapped",
    "taps_dropped"};

/// Why nothing of the model can be computed; empty when all can.
std::string planned_only(const Model& model) {
  if (model.experts.routed != 0) return "a mixture of experts";
  if (model.latent.kv_rank != 0) return "latent attention";
  if (model.linear.interval != 0) return "linear attention";
  if (model.output_gate) return "gated attention";
  if (model.fp8_weights) return "fp8 weights";
  if (!model.unknown_rope.empty()) return "rope scaling '" + model.unknown_rope + "'";
  if (model.head_dim != 64 && model.head_dim != 128) return "heads of " + std::to_string(model.head_dim);
  return {};
}

}  // namespace

ModelStep::ModelStep(Options options) : options_(std::move(options)) {
  const auto refuse = [](const std::string& why) { throw std::invalid_argument("model: " + why); };
  if (std::ranges::find(kBugs, options_.bug) == kBugs.end()) {
    std::string known;
    for (const std::string_view bug : kBugs) known += (known.empty() ? "" : ", ") + std::string(bug);
    refuse("unknown bug '" + options_.bug + "'; known: " + known);
  }
  model_ = options_.config.empty() ? model_named(options_.model) : load_config(options_.config);
  if (options_.layers != 0) {
    model_.layers = std::min(model_.layers, options_.layers);
    model_.experts.dense_layers = std::min(model_.experts.dense_layers, model_.layers);
    model_.vision.layers = std::min(model_.vision.layers, options_.layers);
    std::erase_if(model_.vision.taps, [&](std::size_t tap) { return tap >= model_.vision.layers; });
    if (model_.linear.interval != 0 && model_.layers % model_.linear.interval != 0)
      refuse("layers must be a multiple of " + std::to_string(model_.linear.interval));
  }
  model_ = model_.share_of(options_.ranks);
  if (options_.batch_max_tokens == 0 || options_.batch_max_tokens > tokens_max / 2)
    refuse("batch_max_tokens must be between 1 and 2^29");
  if (options_.sequences == 0 || options_.sequences > grid_rows_max)
    refuse("sequences must be between 1 and 65535");
  if (options_.decode_steps == 0 || options_.decode_steps > 10'000)
    refuse("decode_steps must be between 1 and 10000");
  if (options_.page_size == 0 || options_.page_size > 65536) refuse("page_size must be between 1 and 65536");
  if (options_.sequences * ((options_.batch_max_tokens + options_.decode_steps) / options_.page_size + 1) >
      tokens_max / options_.page_size)
    refuse("the cache holds more than 2^30 tokens");
  for (const std::size_t batch : options_.decode_batches)
    if (batch == 0 || batch > options_.sequences) refuse("decode_batches must be between 1 and sequences");
  const std::size_t merged = model_.vision.merge * model_.vision.merge;
  if (options_.image_patches != 0 && model_.vision.layers == 0) refuse("the model has no vision tower");
  if (options_.image_patches % merged != 0)
    refuse("image_patches must be a multiple of " + std::to_string(merged));
  if (options_.image_patches / merged >= options_.batch_max_tokens && options_.image_patches != 0)
    refuse("the image takes " + std::to_string(options_.image_patches / merged) +
           " tokens, which must be below batch_max_tokens");
}

void ModelStep::run(Rig& rig) {
  const bool needs_tower = options_.image_patches != 0;
  std::string why = planned_only(model_);
  if (why.empty() && needs_tower && model_.vision.class_token) why = "a class token";
  if (rig.full() && !why.empty())
    throw UserError("model: " + why + " is planned and not computed; write work = \"shapes\"");
  {
    ModelServer server(rig, model_, options_);
    {
      const Phase phase(rig, "load");
      server.load();
    }
    {
      const Phase phase(rig, "vision");
      server.encode_image();
    }
    {
      const Phase phase(rig, "prefill");
      server.prefill();
    }
    {
      const Phase phase(rig, "decode");
      server.decode();
    }
    const Phase phase(rig, "verify");
    server.verify();
  }
  rig.ledger().mark_teardown(ModelServer::tags());
}

}  // namespace drought
