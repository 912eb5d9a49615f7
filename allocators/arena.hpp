// RMM's arenas: one slab, divided into superblocks of at least 1 MiB between a global arena and one arena
// for each stream, so that streams do not wait for each other.
//
// Up to 1 MiB a request is served from its stream's own superblocks, the first that fits by address, and
// else from one that the stream acquires from the global arena; above, by the global arena itself. Freed
// small blocks return to the superblock they came from, which its stream keeps even when it is empty. Only
// a failure gives superblocks back: the device is waited for, all streams give up all of theirs, and the
// request is tried once more. So a stream strands up to the whole slab while another fails, until then.
// (RMM's further arenas are for threads on per-thread default streams; a fiber has none.)
// Rules: rmm/mr/detail/arena.hpp, arena_memory_resource_impl.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "allocators/superblocks.hpp"
#include "harness/device/device.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class Arena final : public Resource, public FallsBack, public ListsFreeBlocks {
 public:
  struct Options {
    std::size_t arena_bytes = 256_MiB;  ///< 0: half of what the device has free, RMM's default.
    static constexpr auto keys() { return std::tuple{key("arena_bytes", &Options::arena_bytes)}; }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn[] = {{"arena_bytes", 1_MiB, 256_MiB}};

  /// Under which free_blocks() lists what the global arena owns.
  static constexpr std::uint64_t kGlobal = ~std::uint64_t{0};

  /// Borrows the slab at once. `upstream` and `device` outlive this; the device is asked to synchronise
  /// and, for a default size, how much is free. Throws std::invalid_argument for less than 1 MiB.
  Arena(Resource& upstream, Device& device, Options options);
  /// Gives the slab back, unless a block is still lent.
  ~Arena() override;

  /// Alignment is 256 B; more is std::invalid_argument. Throws DeviceError when the device cannot be
  /// waited for before superblocks change hands.
  void* allocate(Request request) override;
  /// A large block, and one whose superblock belongs to another arena by now, waits for its stream. When
  /// it cannot, the block is set aside until the device has been waited for.
  void deallocate(void* block, Request request) noexcept override;

  std::string_view take_fallback() noexcept override;
  /// By arena, the global one first, and by address.
  std::vector<FreeBlock> free_blocks() const override;
  /// Blocks of one superblock are joined; two superblocks of one stream stay apart, side by side or not.
  bool joins_neighbours() const override { return false; }

  std::size_t arena_bytes() const { return slab_request_.bytes; }
  /// How often a failure made the streams give their superblocks up.
  std::size_t defragmentations() const { return defragmentations_; }
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  struct Span {
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
  };
  struct StreamArena {
    Stream stream;
    Superblocks owned;
  };

  StreamArena& arena_of(Stream stream);
  std::optional<std::uintptr_t> try_allocate(StreamArena& arena, std::size_t bytes);
  Superblock* acquire(Superblocks& into, std::size_t bytes);
  void release(std::unique_ptr<Superblock> superblock);
  void defragment();
  bool give_to_global(Span block);
  void give_to_any(Span block);

  Resource& upstream_;
  Device& device_;
  const Request slab_request_;
  void* const slab_;
  Superblocks global_;
  std::vector<std::unique_ptr<StreamArena>> arenas_;  // In the order in which streams were first seen.
  AddressTable<std::size_t> lent_;                    // To the rounded bytes.
  std::vector<Span> set_aside_;
  std::size_t defragmentations_ = 0, refused_frees_ = 0;
  bool fell_back_ = false;
};

}  // namespace drought
