// The image half of a model's server: pixels in the tower's order, and the tower's program.
#include "kernels/oracle.hpp"
#include "scenarios/device_calls.hpp"
#include "scenarios/models/model_server.hpp"
#include "scenarios/models/vision_encoder.hpp"

namespace drought {
namespace {

/// The rows of `from` that `order` names, one after the other.
std::vector<std::byte> in_order(std::span<const std::byte> from, const std::vector<std::int32_t>& order) {
  const std::size_t row_bytes = from.size() / order.size();
  std::vector<std::byte> made;
  for (const std::int32_t row : order) {
    const auto bytes = from.subspan(static_cast<std::size_t>(row) * row_bytes, row_bytes);
    made.insert(made.end(), bytes.begin(), bytes.end());
  }
  return made;
}

}  // namespace

std::vector<std::byte> ModelServer::drawn_patches(std::size_t width, std::uint64_t part) const {
  return weight_numbers(model_.type, layout_->patches() * width, 1, 0, rig_.seed(), 0x1336 + part);
}

ReferenceModel::Image ModelServer::reference_image() const {
  const auto numbers = [&](std::size_t width, std::uint64_t part) {
    const HostTensor drawn(drawn_patches(width, part), model_.type, {layout_->patches(), width});
    return Rows{width, {drawn.row({}).begin(), drawn.row({}).end()}};
  };
  const VisionTower& tower = model_.vision;
  ReferenceModel::Image image{
      .rows = layout_->rows(), .columns = layout_->columns(), .pixels = {}, .positions = {}};
  image.pixels = numbers(tower.patch_values, 0);
  if (tower.positions != 0) image.positions = numbers(tower.hidden, 1);
  return image;
}

void ModelServer::encode_image() {
  if (options_.image_patches == 0) return;
  const VisionTower& tower = model_.vision;
  const std::size_t base = meter_.reserved_bytes(), rows = layout_->patches() + (tower.class_token ? 1 : 0);
  meter_.restart_peak();
  Program program(
      {.rig = &rig_, .memory = &rig_.memory(), .meter = &meter_, .stream = stream_, .judges_each = true});
  ProgramInputs inputs(rig_, meter_, stream_);
  const auto numbers = [&](std::string_view tag, std::size_t width, std::size_t count, std::uint64_t part) {
    // Shapes work reads the length alone: the contents are never touched.
    if (!rig_.full())
      return inputs.add(program, tag,
                        {static_cast<const std::byte*>(nullptr), count * width * model_.element_bytes()},
                        true);
    const std::vector<std::byte> drawn = drawn_patches(width, part);
    const bool in_rows = options_.bug == "patches_in_rows";
    return inputs.add(program, tag, in_rows ? drawn : in_order(drawn, layout_->patch_order()), true);
  };
  const auto starts = [&](const std::vector<std::size_t>& from) {
    const std::vector<std::int32_t> narrow(from.begin(), from.end());
    return inputs.add(program, "cu_seqlens", bytes_of(narrow));
  };
  ImageBatch image{.layout = &*layout_, .swaps_starts = options_.bug == "starts_swapped"};
  image.pixels = numbers("pixels", tower.patch_values, layout_->patches(), 0);
  if (tower.positions != 0) image.positions = numbers("positions", tower.hidden, rows, 1);
  image.full_starts = starts({0, rows});
  image.window_starts = starts(layout_->window_starts());
  if (tower.rotates)
    image.rotation =
        rotation(program, inputs, {.type = model_.type, .head_dim = tower.head_dim(), .positions = "vision"},
                 layout_->patch_positions());
  std::vector<Program::Value> tokens;
  for (std::size_t i = 0; i < 1 + tower.taps.size(); ++i) {
    const std::size_t bytes = layout_->tokens() * tower.out * model_.element_bytes();
    image_.emplace_back(rig_.memory(), Request{.bytes = bytes, .stream = stream_, .tag = "image_tokens"});
    tokens.push_back(program.given("image_tokens", image_.back().data(), bytes));
  }
  VisionEncoder(program, model_, *tower_, options_.library_workspace_bytes).add(image, tokens);
  program.run();
  must(rig_.device().stream_synchronize(stream_), "cudaStreamSynchronize");
  note_peak("vision_peak_bytes", base);
}

}  // namespace drought
