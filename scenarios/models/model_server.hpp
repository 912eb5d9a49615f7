// One life of a model on a rig: load, encode, prefill, decode, verify, tear down. What the workload runs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scenarios/captured_graph.hpp"
#include "scenarios/models/cache.hpp"
#include "scenarios/models/decoder.hpp"
#include "scenarios/models/image_layout.hpp"
#include "scenarios/models/model_step.hpp"
#include "scenarios/models/reference_model.hpp"
#include "scenarios/models/weights.hpp"

namespace drought {

template <typename Number>
std::span<const std::byte> bytes_of(const std::vector<Number>& numbers) {
  return std::as_bytes(std::span(numbers));
}

/// Small inputs of a program, on the device: each uploaded as it is made, or again before another run.
class ProgramInputs {
 public:
  ProgramInputs(Rig& rig, PeakMeter& meter, Stream stream) : rig_(rig), meter_(meter), stream_(stream) {}

  /// Allocates, uploads and hands out. Payload is left out in shapes work. Throws what the resource throws.
  Program::Value add(Program& program, std::string_view tag, std::span<const std::byte> content,
                     bool payload = false);
  /// Uploads to the input with number `index`, in the order of add().
  void upload(std::size_t index, std::span<const std::byte> content);

 private:
  Rig& rig_;
  PeakMeter& meter_;
  const Stream stream_;
  std::vector<Buffer> buffers_;
};

class ModelServer {
 public:
  /// All of them outlive this.
  ModelServer(Rig& rig, const Model& model, const ModelStep::Options& options);
  ~ModelServer();

  void load();
  void encode_image();
  /// Runs each sequence's prompt; the first one's twice, to compare bits.
  void prefill();
  void decode();
  /// Full work: each sequence's prompt and last decode against the model in float64.
  void verify();
  static std::vector<Tag> tags();

 private:
  /// One decode batch size: its program, its inputs and its graph.
  struct DecodeBatch;

  struct Result {
    std::vector<float> logits;  ///< [rows][vocab]; empty in shapes work.
    std::vector<std::int32_t> tokens;
  };

  Result run_prompt(std::size_t sequence, std::size_t tokens, bool judges);
  Result read(void* logits, void* tokens, std::size_t rows);
  DecodeBatch& batch_of(std::size_t size);
  Result run_decode(DecodeBatch& batch, std::uint64_t draw);
  void upload(DecodeBatch& batch, std::uint64_t draw);
  void compare_bits(const std::string& what, const Result& expected, const Result& got);
  DecoderOptions decoder_options() const;
  Rotation rotation(Program& program, ProgramInputs& inputs, const Rope::Shape& shape,
                    const std::vector<std::int32_t>& positions) const;
  /// What the tower's taps give to a prompt that begins with the image.
  void add_taps(DecoderBatch& batch, Program& program, ProgramInputs& inputs) const;
  /// Of the decoder, as its programs take it.
  Rope::Shape rope() const;
  /// Null but of the sequence that begins with the image.
  const ImageLayout* image_of(std::size_t sequence) const;
  std::size_t prompt_tokens(std::size_t sequence) const {
    return std::max(options_.batch_max_tokens, sequence + 1) - sequence;
  }
  /// Numbers for each patch, row after row of the image.
  std::vector<std::byte> drawn_patches(std::size_t width, std::uint64_t part) const;
  ReferenceModel::Image reference_image() const;
  /// How far logits may be from the float64 model's, in parts of their norm.
  double error_limit(bool has_image) const;
  std::vector<float> draws(std::size_t count, std::uint64_t draw) const;
  void note_peak(const char* what, std::size_t base_bytes);

  Rig& rig_;
  const Model& model_;
  const ModelStep::Options& options_;
  PeakMeter meter_;
  std::optional<Weights> weights_, tower_;
  std::optional<SequenceCache> cache_;
  std::optional<ImageLayout> layout_;
  std::vector<Buffer> image_;                      ///< Tokens of the image, and those of the tower's taps.
  std::vector<std::vector<std::int32_t>> tokens_;  ///< Of each sequence, prompt and generated.
  std::vector<std::vector<float>> prompt_logits_;  ///< Of each sequence's prompt.
  std::vector<std::vector<float>> last_logits_;    ///< Of each sequence's last decode.
  std::vector<std::unique_ptr<DecodeBatch>> batches_;
  const Streams streams_;  ///< One of its own where graphs are captured: the default stream cannot be.
  const Stream stream_;
};

}  // namespace drought
