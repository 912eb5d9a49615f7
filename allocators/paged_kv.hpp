// vLLM's pool of KV cache blocks: one slab, block i at base + i * block_bytes, shared by reference counts.
//
// Free blocks form one queue, in the order in which they will be taken. A block that is freed while the
// prefix cache knows it keeps its hash and goes to the back, to be found again until it is taken, which
// evicts it; one without a hash goes to the front (with caching off, to the back: PR 48017). A block in
// use is in no queue, so nothing can evict it; touching a cached free block takes it out of the queue.
// Equal blocks are not merged: a hash may name several, and the one that was cached first answers. Block 0
// is the null block, which stands for what need not be stored and is never lent, cached or freed.
//
// As a resource it lends one block a request; more is refused, for vLLM never asks for neighbours. vLLM
// believes whoever frees; here a list with a block that is not in use, or named more often than it is
// used, is refused whole. Blocks know nothing of streams: all work on them is queued in one.
// Rules: vllm/v1/core/block_pool.py, kv_cache_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "harness/memory/buffer.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class PagedKv final : public Resource, public LendsUpTo {
 public:
  using BlockId = std::uint32_t;
  using Hash = std::uint64_t;  ///< vLLM's is a SHA-256; both believe that equal hashes are equal tokens.
  struct Options {
    std::size_t blocks = 256;          ///< The null block included.
    std::size_t block_bytes = 917504;  ///< 16 tokens of Qwen2.5-7B in bf16, 57,344 B each.
    bool caching = true;               ///< Freed blocks keep their hashes.
    /// none; touch_uncounted: touching a block in use counts no reference; touch_stays_queued: a touched
    /// block is still in the queue; stale_hash: a block that is taken stays in the prefix cache.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("blocks", &Options::blocks), key("block_bytes", &Options::block_bytes),
                        key("caching", &Options::caching), key("bug", &Options::bug)};
    }
  };
  static constexpr BlockId kNullBlock = 0;

  /// Borrows the slab at once. `upstream` outlives this. Throws std::invalid_argument for fewer than two
  /// blocks, 2^31, or blocks of nothing.
  PagedKv(Resource& upstream, Options options);

  /// A block, at the alignment that all of them have: the power of two in block_bytes, 256 B at most; more
  /// is std::invalid_argument.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;
  std::size_t request_bytes_max() const override { return block_bytes_; }

  /// Throws OutOfMemory when fewer than `count` are free.
  void require_free(std::size_t count) const;
  /// The first `count` of the queue, each with one reference. What they had cached is evicted. Throws
  /// OutOfMemory and takes none when fewer are free.
  std::vector<BlockId> get_new_blocks(std::size_t count);
  /// A reference more to each. Throws std::invalid_argument for a block that is neither in use nor cached.
  void touch(std::span<const BlockId> blocks);
  /// A reference less to each; those that have none left join the queue in this order, so that the first
  /// is taken first. Throws std::invalid_argument, and changes nothing, when a reference is not there.
  void free_blocks(std::span<const BlockId> ordered);

  /// A block in use is full and holds what `hash` stands for. No effect with caching off, or for one that
  /// has a hash already.
  void cache(BlockId block, Hash hash);
  std::optional<BlockId> cached(Hash hash) const;
  /// The blocks keep their place and references and lose their hashes.
  void evict(std::span<const BlockId> blocks);
  /// Forgets every hash; false, and nothing is forgotten, while a block is in use.
  bool reset_prefix_cache();

  std::byte* address_of(BlockId block) const { return slab_.data() + block * block_bytes_; }
  std::size_t blocks() const { return blocks_.size(); }
  std::size_t free_count() const { return free_count_; }
  std::size_t ref_count(BlockId block) const { return blocks_[block].refs; }
  bool is_cached(BlockId block) const { return blocks_[block].has_hash; }
  std::size_t evictions() const { return evictions_; }
  /// The queue, the next to be taken first.
  std::vector<BlockId> free_queue() const;
  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

  /// What is wrong with the books, a sentence; empty when exactly the blocks without references are in the
  /// queue, once each, the cache names what has its hash, and the null block is in neither. O(blocks).
  std::string broken_invariant() const;

 private:
  enum class Bug { none, touch_uncounted, touch_stays_queued, stale_hash };
  struct Block {
    BlockId next = kNullBlock, before = kNullBlock;  ///< In the queue; the null block is both of its ends.
    std::uint32_t refs = 0;
    bool has_hash = false, is_lent = false;  ///< is_lent: by allocate().
    Hash hash = 0;
  };

  static Bug bug_named(const std::string& word);
  void link(BlockId block, BlockId before);
  void unlink(BlockId block);
  void forget_hash(BlockId block);
  void queue(std::span<const BlockId> freed);

  const std::size_t block_bytes_;
  const bool caching_;
  const Bug bug_;
  const Buffer slab_;
  std::vector<Block> blocks_;
  std::unordered_map<Hash, std::vector<BlockId>> by_hash_;  ///< The one cached first in front.
  std::size_t free_count_ = 0, evictions_ = 0, refused_frees_ = 0;
};

}  // namespace drought
