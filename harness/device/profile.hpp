// What kind of GPU a scenario runs on. Byte figures are cudaMemGetInfo differences measured on one
// H200 (driver 580.159, CUDA 13.0) unless a profile's own source is named beside it.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "harness/memory/bytes.hpp"

namespace drought {

struct Profile {
  std::string_view name;
  std::string_view source;  ///< Where the figures that are not the H200's came from.
  std::size_t total_bytes = 150'109'880'320;
  std::size_t context_bytes = 552'402'944;       ///< Taken by the first context and the system together.
  std::size_t peer_context_bytes = 549'000'000;  ///< Taken by each further process.
  std::size_t first_launch_bytes = 2_MiB;
  std::size_t granularity_bytes = 2_MiB;      ///< VMM granularity, and the chunk of small cudaMallocs.
  std::size_t small_limit_bytes = 1_MiB;      ///< At or below: shares chunks. Above: own mapping.
  std::size_t small_stride_bytes = 512;       ///< Blocks in a chunk start this far apart at least.
  std::size_t pool_chunk_bytes = 32_MiB;      ///< cudaMallocAsync's pool grows in these.
  std::size_t graph_bytes = 2_MiB;            ///< Taken by an instantiated graph.
  std::size_t managed_chunk_bytes = 128_MiB;  ///< Taken when managed memory first comes to the device.
  std::size_t address_space_bytes = 64_TiB;   ///< Most that one reservation may ask for.
  std::size_t host_register_limit_bytes = 0;  ///< 0: no limit but the host's.
  std::size_t shared_bytes_max = 227_KiB;     ///< Dynamic shared memory of one block, opted in.
  int threads_max = 1024;
  int sm_count = 132;
  bool has_vmm = true;
  bool unified_memory = false;  ///< Host and device share one memory.

  std::size_t free_bytes_at_start() const { return total_bytes - context_bytes; }
};

/// Every profile, in the order `drought list devices` prints.
std::span<const Profile> profiles();

/// Throws std::invalid_argument that names the known profiles.
const Profile& profile_named(std::string_view name);

}  // namespace drought
