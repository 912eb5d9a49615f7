// The sequences of a server on vLLM's blocks: tables of block ids that grow by tokens, share prefixes and
// fork.
//
// A prompt is matched block by block, by a chain of hashes, against what is cached, up to its last token
// but one: the last must be computed for its logits. A sequence that starts or grows takes all the blocks
// it needs or none. Full blocks are cached as soon as they are filled. A fork shares every block; whoever
// then appends to a shared block that is not full gets a copy (that and fork are of vLLM's first engine,
// core/block/; the second forks through the prefix cache). What finishes is freed from its tail, so that
// the blocks fewest prompts begin with are evicted first.
// Rules: vllm/v1/core/kv_cache_manager.py, single_type_kv_cache_manager.py; vllm/core/block/common.py.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "allocators/paged_kv.hpp"

namespace drought {

class KvSequences {
 public:
  using Token = std::uint32_t;
  using Id = std::uint64_t;
  using BlockId = PagedKv::BlockId;
  /// The contents of block `from` must be in block `to` before anything else is written there.
  struct Copy {
    BlockId from = 0, to = 0;
  };
  struct Started {
    Id id = 0;
    std::size_t cached_tokens = 0;  ///< Found, and not to be computed again.
  };

  /// `pool` outlives this. `copies_on_write`: false is a bug, for scenarios that must catch it.
  KvSequences(PagedKv& pool, std::size_t block_tokens, bool copies_on_write = true)
      : pool_(pool), block_tokens_(block_tokens), copies_on_write_(copies_on_write) {}
  KvSequences(const KvSequences&) = delete;
  KvSequences& operator=(const KvSequences&) = delete;
  /// Finishes every sequence.
  ~KvSequences();

  /// Throws OutOfMemory, having changed nothing, when too few blocks are free; std::invalid_argument for a
  /// prompt of nothing.
  Started start(std::span<const Token> prompt);
  /// Makes room for the tokens. Throws OutOfMemory, having changed nothing. At most one copy comes of it.
  std::vector<Copy> append(Id id, std::span<const Token> tokens);
  /// A second sequence with the same tokens and blocks. Takes no block.
  Id fork(Id id);
  void finish(Id id);

  const std::vector<Token>& tokens(Id id) const { return sequences_.at(id).tokens; }
  const std::vector<BlockId>& table(Id id) const { return sequences_.at(id).table; }
  std::size_t block_tokens() const { return block_tokens_; }
  std::size_t count() const { return sequences_.size(); }

  /// The pool's, or a block whose references are not the tables that name it. O(blocks + tables).
  std::string broken_invariant() const;

 private:
  struct Sequence {
    std::vector<Token> tokens;
    std::vector<BlockId> table;
    std::vector<PagedKv::Hash> hashes;  ///< Of the full blocks, each over all tokens up to its end.
  };

  std::size_t blocks_for(std::size_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  void hash_full_blocks(Sequence& sequence) const;
  void cache_full_blocks(const Sequence& sequence, std::size_t from);

  PagedKv& pool_;
  const std::size_t block_tokens_;
  const bool copies_on_write_;
  std::map<Id, Sequence> sequences_;
  Id last_id_ = 0;
};

}  // namespace drought
