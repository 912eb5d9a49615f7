#include "scenarios/auto_profile/kv_cache.hpp"

#include <algorithm>

#include "kernels/shape.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

std::size_t index_of(std::size_t layer, KvCache::Half half) {
  return 2 * layer + (half == KvCache::Half::values ? 1 : 0);
}

}  // namespace

KvCache::KvCache(Rig& rig, int rank, Resource& memory, const Model& model, std::uint64_t tokens)
    : rig_(rig),
      rank_(rank),
      model_(model),
      tokens_(tokens),
      buffer_(memory, {.bytes = (tokens + 1) * model.cell_bytes(), .tag = "kv_buffer"}),
      mirrors_(2 * model.layers) {
  must(rig_.device(rank_).memset(buffer_.data(), kPoison, buffer_.bytes()), "cudaMemset");
}

std::byte* KvCache::at(std::size_t layer, Half half) const {
  return buffer_.data() + index_of(layer, half) * half_bytes();
}

std::vector<std::byte>& KvCache::mirror(std::size_t layer, Half half) {
  std::vector<std::byte>& mirror = mirrors_[index_of(layer, half)];
  if (!mirror.empty()) return mirror;
  mirror.assign(half_bytes(), std::byte{kPoison});
  std::fill_n(mirror.begin() + static_cast<std::ptrdiff_t>(hold_slot() * model_.row_bytes()),
              model_.row_bytes(), std::byte{0});
  return mirror;
}

void KvCache::write(std::size_t layer, std::uint64_t count) {
  for (const Half half : {Half::keys, Half::values}) {
    const auto written = std::span(mirror(layer, half)).first(count * model_.row_bytes());
    fill_normal(model_.type, rig_.seed(), 0x4B56 + index_of(layer, half), written);
    must(rig_.device(rank_).memcpy(at(layer, half), written.data(), written.size()), "cudaMemcpy");
  }
}

void KvCache::zero_hold_slot(std::size_t layer) {
  const std::size_t row = model_.row_bytes();
  for (const Half half : {Half::keys, Half::values})
    must(rig_.device(rank_).memset(at(layer, half) + hold_slot() * row, 0, row), "cudaMemset");
}

std::span<const std::byte> KvCache::expected(std::size_t layer, Half half) const {
  return mirrors_[index_of(layer, half)];
}

RequestTable::RequestTable(Rig& rig, int rank, Resource& memory, std::size_t requests, std::size_t width)
    : rig_(rig),
      rank_(rank),
      requests_(requests),
      width_(width),
      mirror_((requests + 1) * width),
      buffer_(memory, {.bytes = mirror_.size() * sizeof(std::int32_t), .tag = "req_table"}) {
  must(rig_.device(rank_).memset(buffer_.data(), 0, buffer_.bytes()), "cudaMemset");
}

void RequestTable::lay_out(const Layout& layout) {
  for (std::size_t r = 0; r < requests_; ++r)
    for (std::size_t token = 0; token < layout.length; ++token)
      mirror_[r * width_ + token] = static_cast<std::int32_t>(token * requests_ + r);
  const std::size_t live_bytes = requests_ * width_ * sizeof(std::int32_t);
  std::fill_n(mirror_.begin() + static_cast<std::ptrdiff_t>(requests_ * width_), width_,
              static_cast<std::int32_t>(layout.hold));
  must(rig_.device(rank_).memcpy(buffer_.data(), mirror_.data(),
                                 layout.skips_padded ? live_bytes : buffer_.bytes()),
       "cudaMemcpy");
}

std::vector<std::int32_t> RequestTable::pages_of(const std::vector<std::int32_t>& table, std::size_t rows,
                                                 std::size_t length) const {
  std::vector<std::int32_t> pages((rows + 1) * length, -1);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(table.begin() + static_cast<std::ptrdiff_t>(r * width_), length,
                pages.begin() + static_cast<std::ptrdiff_t>(r * length));
  pages[rows * length] = table[requests_ * width_];
  return pages;
}

std::vector<std::int32_t> RequestTable::gather(std::size_t rows, std::size_t length) const {
  std::vector<std::int32_t> table(mirror_.size());
  must(rig_.device(rank_).memcpy(table.data(), buffer_.data(), buffer_.bytes()), "cudaMemcpy");
  must(rig_.device(rank_).stream_synchronize({}), "cudaStreamSynchronize");
  return pages_of(table, rows, length);
}

std::vector<std::int32_t> RequestTable::expected(std::size_t rows, std::size_t length) const {
  return pages_of(mirror_, rows, length);
}

}  // namespace drought
