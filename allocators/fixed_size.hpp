// RMM's fixed-size resource: every block has one size, whatever less was asked for, and more is refused.
//
// Blocks come from chunks of `blocks_to_preallocate`, of which the first is borrowed at once and the next
// when no stream's list has a block left. Free blocks are taken first in, first out; streams are ordered
// as in the pool. Nothing goes back before the end.
// Rules: rmm/mr/detail/fixed_size_memory_resource_impl, fixed_size_free_list.hpp.
#pragma once

#include <cstdint>
#include <deque>
#include <tuple>
#include <vector>

#include "allocators/stream_lists.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class FixedSize final : public Resource, public LendsUpTo, public FallsBack {
 public:
  struct Options {
    std::size_t block_bytes = 1_MiB;  ///< Rounded up to 256 B.
    std::size_t blocks_to_preallocate = 128;
    static constexpr auto keys() {
      return std::tuple{key("block_bytes", &Options::block_bytes),
                        key("blocks_to_preallocate", &Options::blocks_to_preallocate)};
    }
  };

  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"block_bytes", 1, 16_MiB}, {"blocks_to_preallocate", 1, 16}};

  /// Borrows the first chunk. `upstream` and `device` outlive this; the device is asked for events only.
  /// Throws std::invalid_argument for blocks or chunks of nothing.
  FixedSize(Resource& upstream, Device& device, Options options);
  /// Waits for the last uses and gives the chunks back, but those in which a block is still lent.
  ~FixedSize() override;

  /// OutOfMemory for more than a block. Alignment is 256 B; more is std::invalid_argument.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  std::size_t request_bytes_max() const override { return block_bytes_; }
  std::string_view take_fallback() noexcept override { return lists_.take_fallback(); }

  std::size_t chunks() const { return chunks_.size(); }
  std::size_t free_blocks() const;
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  struct Chunk {
    std::byte* data = nullptr;
    Request request;
    std::size_t lent = 0;
  };
  struct Place {
    std::byte* data = nullptr;
    std::size_t chunk = 0;  ///< Index into chunks_.
    explicit operator bool() const { return data != nullptr; }
  };
  /// One stream's free blocks, first in, first out.
  struct Fifo {
    explicit Fifo(std::uint64_t) {}
    Place at_least(std::size_t) const { return places.empty() ? Place{} : places.front(); }
    std::deque<Place> places;
  };

  void borrow_chunk(const Request& request, Fifo& into);

  Resource& upstream_;
  const std::size_t block_bytes_, chunk_bytes_;
  StreamLists<Fifo> lists_;
  AddressTable<std::size_t> lent_;  // To the index of the chunk.
  std::vector<Chunk> chunks_;
  std::size_t refused_frees_ = 0;
};

}  // namespace drought
