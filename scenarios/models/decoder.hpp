// The operations of a language model over a batch of tokens, as a plain list: embedding, layers, head and
// sampling. Attention with grouped queries, MLPs and all that stands between are kernels; experts, latent and
// linear attention are planned operations (planned_operation.hpp), with the buffers that vLLM's fused
// experts, DeepSeek's absorbed attention and flash-linear-attention's chunked gated delta rule take. Queries
// and keys of plain attention are turned by their positions before keys go to the cache.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scenarios/models/cache.hpp"
#include "scenarios/models/model.hpp"
#include "scenarios/models/program.hpp"
#include "scenarios/models/rotation.hpp"
#include "scenarios/models/weights.hpp"

namespace drought {

/// A batch, and where its integers lie on the device.
struct DecoderBatch {
  bool is_prefill = false;  ///< One sequence's prompt; else one new token of each sequence.
  std::size_t tokens = 0;   ///< Rows of the batch.
  std::size_t sampled = 0;  ///< Rows that get a next token.
  std::size_t splits = 1;   ///< Parts of a sequence in decode attention.
  Program::Value ids = 0, slots = 0, sampled_rows = 0, uniforms = 0;
  Program::Value page_table = 0, seqlens = 0;  ///< Of decode attention.
  Rotation rotation;                           ///< Of attention that is plain.
  std::size_t image_tokens = 0;                ///< Rows of `image` that replace embeddings; 0: none do.
  Program::Value image = 0, image_rows = 0;    ///< Those rows, and which of the batch they replace.
  /// As many rows from each of the tower's taps, added behind the first layers (Qwen3-VL's DeepStack), and
  /// for each row of the batch which of them.
  std::vector<Program::Value> taps = {};
  Program::Value tap_rows = 0;
};

struct DecoderOptions {
  std::size_t library_workspace_bytes = 0, top_k = 0;
  double temperature = 1;
  bool drops_residual = false;  ///< A bug: the last layer adds nothing to what came in.
  bool leaves_keys = false;     ///< A bug: queries are turned by their positions, keys are not.
};

/// What a program is read by.
struct DecoderOutput {
  Program::Value logits = 0, tokens = 0;
};

class Decoder {
 public:
  /// All of them outlive this.
  Decoder(Program& program, const Model& model, const Weights& weights, const SequenceCache& cache,
          DecoderOptions options)
      : program_(program), model_(model), weights_(weights), cache_(cache), options_(options) {}

  /// Adds every operation. Throws std::invalid_argument for a shape that no kernel takes.
  DecoderOutput add(const DecoderBatch& batch);

 private:
  using Value = Program::Value;
  struct Normed {
    Value sum, out;
  };
  struct Planned {
    std::string_view name;
    std::size_t bytes;
    Part::Role role;
    Value value;
  };

  std::size_t bytes_of(std::size_t elements) const { return elements * model_.element_bytes(); }
  Value activation(std::string_view tag, std::size_t elements) {
    return program_.made(tag, bytes_of(elements));
  }
  Value weight(std::string_view name) { return weights_.value(program_, name, layer_); }

  Value linear(Value x, std::string_view weight_name, std::size_t columns, std::size_t depth,
               std::string_view bias_name = {});
  Value linear_of(Value x, Value weight, std::size_t rows, std::size_t columns, std::size_t depth,
                  Value* bias, std::string_view out_type);
  Normed add_and_norm(Value x, const Value* residual, std::string_view weight_name);
  Value head_norm(Value x, std::string_view weight_name, std::size_t heads);
  Value attention(Value normed, const DecoderBatch& batch);
  Value attend(Value q, Value k, Value v, const DecoderBatch& batch);
  Value latent_attention(Value normed, const DecoderBatch& batch);
  Value linear_attention(Value normed, const DecoderBatch& batch);
  Value mlp(Value normed, std::size_t ffn);
  Value mixture(Value normed);
  /// Rows of keys, and of values if there are any, into the layer's pages.
  void append(Value keys, const Value* values, Value slots, std::size_t heads, std::size_t width);
  DecoderOutput add_head(Value hidden, Value delta, const DecoderBatch& batch);

  static Planned in(std::string_view name, std::size_t bytes, Value value) {
    return {name, bytes, Part::Role::input, value};
  }
  static Planned out(std::string_view name, std::size_t bytes, Value value) {
    return {name, bytes, Part::Role::output, value};
  }
  static Planned scratch(std::string_view name, std::size_t bytes) {
    return {name, bytes, Part::Role::workspace, 0};
  }
  void plan(std::string_view name, const std::vector<Planned>& parts);
  std::string what(std::string_view name) const;

  Program& program_;
  const Model& model_;
  const Weights& weights_;
  const SequenceCache& cache_;
  const DecoderOptions options_;
  std::size_t tokens_ = 0, layer_ = 0;
};

}  // namespace drought
