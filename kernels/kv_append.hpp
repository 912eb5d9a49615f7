// Writes the keys and values of new tokens into a paged KV cache, in the cache's own type: what a server runs
// before every attention. A token goes to the slot that its mapping names, page * page_size + place in the
// page; -1 is a padded token, which goes nowhere. Without values it stores rows of any kind: the latent rows
// of DeepSeek, the tokens of an image among those of a prompt. A block is one warp, and takes one token and
// KV head.
//
// Quantised as ggml and vLLM do (kv_cache.hpp), by single roundings that no compiler may fuse, so that the
// host's cache and the GPU's are the same bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/key.hpp"
#include "harness/simt/kernel.hpp"
#include "kernels/kv_append_block.hpp"
#include "kernels/kv_cache.hpp"

namespace drought {

class KvAppend final : public Kernel {
 public:
  struct Shape {
    std::string type = "bf16";  ///< Of the new keys and values.
    std::string cache;          ///< Empty: as `type`.
    std::size_t tokens = 5;
    std::size_t page_size = 16;
    std::size_t pages = 2;
    std::size_t padded = 1;  ///< Of the tokens, how many have no slot.
    std::size_t kv_heads = 2;
    std::size_t head_dim = 64;
    bool values = true;               ///< Else there are keys only.
    double k_scale = 1, v_scale = 1;  ///< What fp8_e4m3 is divided by.
    /// Slots that no token has hold rows of earlier tokens, in place of poison: no oracle knows them.
    bool in_use = false;
    static constexpr auto keys() {
      return std::tuple{key("type", &Shape::type),         key("cache", &Shape::cache),
                        key("tokens", &Shape::tokens),     key("page_size", &Shape::page_size),
                        key("pages", &Shape::pages),       key("padded", &Shape::padded),
                        key("kv_heads", &Shape::kv_heads), key("head_dim", &Shape::head_dim),
                        key("values", &Shape::values),     key("in_use", &Shape::in_use),
                        key("k_scale", &Shape::k_scale),   key("v_scale", &Shape::v_scale)};
    }
  };
  using Options = Shape;

  static constexpr std::string_view kernel_name = "kv_append";
  static constexpr std::string_view summary = "new keys and values into a paged cache of any type, exact";
  enum PartIndex : std::size_t { k, v, slots, k_pages, v_pages, k_scales, v_scales, part_count };

  /// Throws std::invalid_argument, in one line, for a shape that cannot be.
  explicit KvAppend(const Shape& shape);

  static std::vector<Shape> cases();

  std::string_view name() const override { return kernel_name; }
  std::vector<Part> plan() const override;
  void fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const override;
  /// A slot that the pool does not have, or that two tokens share.
  std::string wrong_inputs(std::span<const std::span<const std::byte>> parts) const override;
  Status launch(Device& device, Stream stream, std::span<void* const> parts) const override;
  /// Bit for bit; slots that no token has keep the bytes 0xff, with which outputs are poisoned, unless the
  /// pool is in use.
  Comparison compare(std::span<const std::span<const std::byte>> parts) const override;
  double flops() const override { return 0; }

 private:
  /// The rows and scales that K, or V, must have become.
  struct Pool {
    std::vector<std::byte> rows, scales;
  };
  Pool expected(bool is_keys, std::span<const std::span<const std::byte>> parts) const;

  Shape shape_;
  KvType cache_{};
  std::size_t row_bytes_ = 0;
  std::array<std::size_t, part_count> bytes_{};
};

}  // namespace drought
