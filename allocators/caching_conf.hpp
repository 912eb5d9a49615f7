// The settings of PyTorch's caching allocator, and the string in which its users give them:
// PYTORCH_CUDA_ALLOC_CONF, "max_split_size_mb:32,expandable_segments:True". Also the two functions of
// them that decide every size: what a request is rounded to, and how large a segment it borrows.
// Rules: c10/core/AllocatorConfig.cpp and c10/cuda/CUDAAllocatorConfig.cpp.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <string>
#include <string_view>

#include "harness/memory/bytes.hpp"

namespace drought {

struct CachingConf {
  static constexpr std::size_t kUnlimited = ~std::size_t{0};
  // Names and values as in CUDACachingAllocator.
  static constexpr std::size_t kMinBlockSize = 512;
  static constexpr std::size_t kSmallSize = 1_MiB;
  static constexpr std::size_t kSmallBuffer = 2_MiB;
  static constexpr std::size_t kMinLargeAlloc = 10_MiB;
  static constexpr std::size_t kRoundLarge = 2_MiB;

  std::size_t large_segment_bytes = 20_MiB;
  std::size_t max_split_bytes = kUnlimited;
  std::size_t max_non_split_rounding_bytes = 20_MiB;
  /// Divisions of a power of two by rising power, from 1 MiB on; the first and the last also serve all
  /// sizes below and above. 0 and 1 round to 512 B.
  std::array<std::size_t, 16> roundup_divisions{};
  bool divides = false;                     ///< Some division is above 1.
  double garbage_collection_threshold = 0;  ///< 0: off.
  double memory_fraction = 1;
  bool has_memory_fraction = false;  ///< A fraction of 1 is no limit at all.
  bool expandable_segments = false;
  bool throw_on_cudamalloc_oom = false;

  std::size_t round_size(std::size_t bytes) const {
    if (divides) [[unlikely]]
      return round_by_divisions(bytes);
    return round_up(bytes, kMinBlockSize);
  }

  /// `bytes` is rounded.
  std::size_t segment_size(std::size_t bytes) const {
    if (bytes <= kSmallSize) return kSmallBuffer;
    if (bytes < kMinLargeAlloc) return large_segment_bytes;
    return round_up(bytes, kRoundLarge);
  }

 private:
  std::size_t round_by_divisions(std::size_t bytes) const;
};

/// Where "> : divisions" of a list begins: after the last size that the list names, as releases from
/// 2.9 on read it, or at that size, as earlier ones did.
enum class DivisionsRest : std::uint8_t { after_last, from_last };

/// Every setting that PyTorch knows is accepted, those included that concern pinned memory or locks and
/// decide nothing here. An unknown name or a bad value is std::invalid_argument, which tells the position
/// and what is known.
CachingConf parse_caching_conf(std::string_view text, DivisionsRest rest = DivisionsRest::after_last);

}  // namespace drought
