#include "allocators/paged_kv.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

std::size_t slab_bytes(const PagedKv::Options& options) {
  if (options.blocks < 2 || options.block_bytes == 0)
    throw std::invalid_argument("paged_kv: two blocks, of which one is the null block, of 1 B are the least");
  if (options.blocks >= std::size_t{1} << 31)
    throw std::invalid_argument("paged_kv: blocks must be below 2^31");
  if (options.block_bytes >= (std::size_t{1} << 60) / options.blocks)
    throw std::invalid_argument("paged_kv: a slab of more than 1 EB");
  return options.blocks * options.block_bytes;
}

}  // namespace

PagedKv::Bug PagedKv::bug_named(const std::string& word) {
  if (word == "none") return Bug::none;
  if (word == "touch_uncounted") return Bug::touch_uncounted;
  if (word == "touch_stays_queued") return Bug::touch_stays_queued;
  if (word == "stale_hash") return Bug::stale_hash;
  throw std::invalid_argument("paged_kv: unknown bug '" + word +
                              "'; known: none, touch_uncounted, touch_stays_queued, stale_hash");
}

PagedKv::PagedKv(Resource& upstream, Options options)
    : block_bytes_(options.block_bytes),
      caching_(options.caching),
      bug_(bug_named(options.bug)),
      slab_(upstream, Request{.bytes = slab_bytes(options), .tag = "paged_kv.slab"}),
      blocks_(options.blocks) {
  for (BlockId block = 1; block < blocks_.size(); ++block) link(block, kNullBlock);
}

/// Puts a block into the queue in front of `before`; the null block stands for the end.
void PagedKv::link(BlockId block, BlockId before) {
  const BlockId after = blocks_[before].before;
  blocks_[block].next = before;
  blocks_[block].before = after;
  blocks_[after].next = blocks_[before].before = block;
  ++free_count_;
}

void PagedKv::unlink(BlockId block) {
  blocks_[blocks_[block].before].next = blocks_[block].next;
  blocks_[blocks_[block].next].before = blocks_[block].before;
  --free_count_;
}

void* PagedKv::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("paged_kv: a request of no bytes");
  const std::size_t alignment = std::min<std::size_t>(256, block_bytes_ & (~block_bytes_ + 1));
  if (request.alignment > alignment)
    throw std::invalid_argument("paged_kv: blocks are aligned to " + std::to_string(alignment) + " B");
  if (request.bytes > block_bytes_)
    throw OutOfMemory(request, "blocks have " + std::to_string(block_bytes_) + " B");
  if (free_count_ == 0) throw OutOfMemory(request, "every block is in use");
  const BlockId block = get_new_blocks(1).front();
  blocks_[block].is_lent = true;
  return address_of(block);
}

void PagedKv::deallocate(void* data, Request) noexcept {
  const auto offset = reinterpret_cast<std::uintptr_t>(data) - reinterpret_cast<std::uintptr_t>(slab_.data());
  const std::size_t block = offset / block_bytes_;
  if (offset % block_bytes_ != 0 || block >= blocks_.size() || !blocks_[block].is_lent) {
    ++refused_frees_;
    return;
  }
  blocks_[block].is_lent = false;
  const BlockId freed[] = {static_cast<BlockId>(block)};
  if (--blocks_[block].refs == 0) queue(freed);
}

void PagedKv::require_free(std::size_t count) const {
  if (count > free_count_)
    throw OutOfMemory({.bytes = count * block_bytes_, .tag = "paged_kv"},
                      std::to_string(count) + " blocks: " + std::to_string(free_count_) + " of " +
                          std::to_string(blocks_.size() - 1) + " are free");
}

std::vector<PagedKv::BlockId> PagedKv::get_new_blocks(std::size_t count) {
  require_free(count);
  std::vector<BlockId> taken(count);
  for (BlockId& block : taken) {
    block = blocks_[kNullBlock].next;
    unlink(block);
    if (blocks_[block].has_hash) {
      ++evictions_;
      forget_hash(block);
    }
    blocks_[block].refs = 1;
  }
  return taken;
}

void PagedKv::touch(std::span<const BlockId> blocks) {
  for (const BlockId block : blocks) {
    const bool known = block < blocks_.size() && block != kNullBlock;
    const bool has_owner = known && (blocks_[block].refs != 0 || blocks_[block].has_hash);
    if (!has_owner && bug_ != Bug::stale_hash)
      throw std::invalid_argument("paged_kv: block " + std::to_string(block) + " is neither used nor cached");
  }
  for (const BlockId block : blocks) {
    Block& touched = blocks_[block];
    if (touched.refs == 0) {
      if (bug_ != Bug::touch_stays_queued) unlink(block);
    } else if (bug_ == Bug::touch_uncounted) {
      continue;
    }
    ++touched.refs;
  }
}

void PagedKv::free_blocks(std::span<const BlockId> ordered) {
  std::vector<BlockId> freed;
  freed.reserve(ordered.size());
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    const BlockId block = ordered[i];
    if (block < blocks_.size() && block != kNullBlock && blocks_[block].refs != 0) {
      if (--blocks_[block].refs == 0) freed.push_back(block);
      continue;
    }
    if (bug_ != Bug::none) continue;  // vLLM's count would go below zero here.
    for (const BlockId counted : ordered.first(i)) ++blocks_[counted].refs;
    throw std::invalid_argument("paged_kv: block " + std::to_string(block) + " is freed and not in use");
  }
  queue(freed);
}

void PagedKv::queue(std::span<const BlockId> freed) {
  const BlockId front = blocks_[kNullBlock].next;
  for (const bool to_the_back : {false, true}) {
    for (const BlockId block : freed) {
      if ((blocks_[block].has_hash || !caching_) != to_the_back) continue;
      const bool is_queued = blocks_[blocks_[block].before].next == block;
      if (is_queued && bug_ == Bug::touch_stays_queued) continue;
      link(block, to_the_back ? kNullBlock : front);
    }
  }
}

void PagedKv::cache(BlockId block, Hash hash) {
  Block& full = blocks_[block];
  if (!caching_ || full.has_hash) return;
  by_hash_[hash].push_back(block);
  full.hash = hash;
  full.has_hash = true;
}

std::optional<PagedKv::BlockId> PagedKv::cached(Hash hash) const {
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return {};
  return found->second.front();
}

void PagedKv::forget_hash(BlockId block) {
  blocks_[block].has_hash = false;
  if (bug_ == Bug::stale_hash) return;
  const auto found = by_hash_.find(blocks_[block].hash);
  std::erase(found->second, block);
  if (found->second.empty()) by_hash_.erase(found);
}

void PagedKv::evict(std::span<const BlockId> blocks) {
  for (const BlockId block : blocks)
    if (block < blocks_.size() && blocks_[block].has_hash) forget_hash(block);
}

bool PagedKv::reset_prefix_cache() {
  if (free_count_ != blocks_.size() - 1) return false;
  by_hash_.clear();
  for (Block& block : blocks_) block.has_hash = false;
  return true;
}

std::vector<PagedKv::BlockId> PagedKv::free_queue() const {
  std::vector<BlockId> queued;
  for (BlockId block = blocks_[kNullBlock].next; block != kNullBlock; block = blocks_[block].next)
    queued.push_back(block);
  return queued;
}

std::string PagedKv::broken_invariant() const {
  const auto called = [](BlockId block) { return "block " + std::to_string(block); };
  std::vector<bool> queued(blocks_.size());
  std::size_t length = 0;
  for (BlockId block = blocks_[kNullBlock].next; block != kNullBlock; block = blocks_[block].next) {
    if (queued[block]) return called(block) + " is free twice";
    if (blocks_[block].refs != 0) return called(block) + " is free and in use";
    queued[block] = true;
    ++length;
  }
  if (length != free_count_) return "the queue is not as long as the count says";
  for (BlockId block = 1; block < blocks_.size(); ++block)
    if (blocks_[block].refs == 0 && !queued[block]) return called(block) + " is lost";
  std::size_t hashes = 0, named = 0;
  for (const Block& block : blocks_) hashes += block.has_hash;
  for (const auto& [hash, holders] : by_hash_) {
    named += holders.size();
    for (const BlockId block : holders)
      if (block == kNullBlock || !blocks_[block].has_hash || blocks_[block].hash != hash)
        return called(block) + " is cached under a hash that is not its own";
  }
  if (hashes != named) return "a hashed block is not in the cache";
  if (blocks_[kNullBlock].refs != 0) return "the null block is in use";
  return {};
}

}  // namespace drought
