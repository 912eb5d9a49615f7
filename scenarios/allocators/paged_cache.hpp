// Keys and values of sequences in vLLM's blocks on the device, and decode attention over them. A row is
// drawn from all tokens up to its own, as a model's would follow from them, so that a prefix may be shared
// exactly when its tokens are the same.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "allocators/kv_sequences.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

class PagedCache {
 public:
  struct Options {
    std::size_t blocks = 0, block_tokens = 0;
    std::size_t heads = 0, head_dim = 0;  ///< One KV head.
    bool caching = true;
    std::string bug;
  };

  /// Takes the pool's slab for the keys and as much for the values from the rig's memory, and poisons both.
  PagedCache(Rig& rig, const Options& options);

  /// Computes what the prefix cache does not have. Throws OutOfMemory, having changed nothing.
  KvSequences::Started start(const std::vector<KvSequences::Token>& prompt);
  /// Throws OutOfMemory, having changed nothing.
  void append(KvSequences::Id id, KvSequences::Token token);
  /// Runs decode attention for these sequences and records comparisons and digests. Several launches when
  /// more blocks are named than there are, because blocks are shared: the kernel's shape counts each.
  void verify(const std::vector<KvSequences::Id>& ids);

  KvSequences& sequences() { return sequences_; }
  const PagedKv& pool() const { return pool_; }
  std::size_t copies() const { return copies_; }

 private:
  using Rows = std::vector<float>;

  std::size_t row_bytes() const { return options_.head_dim * sizeof(float); }
  std::size_t block_bytes() const { return options_.block_tokens * row_bytes(); }
  /// Of every token from `first` on; `part` 0: keys, 1: values.
  Rows rows(KvSequences::Id id, std::size_t first, int part) const;
  void write(KvSequences::Id id, std::size_t first);
  std::unique_ptr<Kernel> kernel_for(const std::vector<KvSequences::Id>& ids, std::size_t pages) const;
  void verify_batch(const std::vector<KvSequences::Id>& ids);
  void compare(const std::vector<KvSequences::Id>& ids, const std::vector<std::byte>& q,
               const std::vector<std::byte>& out);

  Rig& rig_;
  const Options options_;
  PagedKv pool_;
  Buffer values_;
  KvSequences sequences_;
  std::size_t copies_ = 0;
};

}  // namespace drought
