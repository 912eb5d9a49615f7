// ggml's graph allocator, served call by call: blocks are placed by the rules of ggml_dyn_tallocr
// (ggml-alloc.c) in up to 16 chunks, each borrowed whole from upstream when no open chunk has room. What
// ggml does ahead of time, with the whole graph in hand, is GraphAllocator, beside this.
//
// A chunk can hold 256 free blocks. ggml aborts at the next; here a chunk takes at most 255 blocks at a
// time, which can never leave more. Where all 16 chunks are open and none has room, one that is wholly free
// makes place for a new one. Like the original it serves one stream's order.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "allocators/dyn_tallocr.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Gallocr final : public Resource, public Trims, public ListsFreeBlocks {
 public:
  struct Options {
    std::size_t chunk_bytes = 32_MiB;  ///< A chunk is this large, or as large as the request that opens it.
    /// none; best_fit_per_chunk: ggml's rule, by which the last chunk with a hole that fits is taken.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("chunk_bytes", &Options::chunk_bytes), key("bug", &Options::bug)};
    }
  };

  /// `upstream` outlives this. Throws std::invalid_argument for an unknown bug or chunks of nothing.
  Gallocr(Resource& upstream, Options options);
  /// Gives every chunk back in which nothing is lent.
  ~Gallocr() override;

  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// Gives every chunk back that is wholly free.
  std::size_t trim() override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  std::vector<FreeBlock> free_blocks() const override;

  std::size_t open_chunks() const { return places_.open_chunks(); }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  struct Lent {
    DynTallocr::Place place;
    std::size_t bytes = 0;
  };
  struct Chunk {
    std::uintptr_t begin = 0;
    Request request;
  };

  DynTallocr::Place place_for(const Request& request, std::size_t bytes);
  void open_chunk(const Request& request, std::size_t bytes);
  void make_place_for_a_chunk(const Request& request);
  std::size_t give_back(std::size_t chunk) noexcept;

  Resource& upstream_;
  const std::size_t chunk_bytes_;
  DynTallocr places_;
  std::array<Chunk, DynTallocr::kChunks> chunks_{};
  AddressTable<Lent> lent_;
  std::size_t reserved_bytes_ = 0, refused_frees_ = 0;
};

}  // namespace drought
