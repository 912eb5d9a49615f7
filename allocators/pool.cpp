#include "allocators/pool.hpp"

#include <algorithm>
#include <stdexcept>

#include "allocators/choice.hpp"

namespace drought {
namespace {

constexpr std::size_t kAlignment = 256;  // CUDA_ALLOCATION_ALIGNMENT
constexpr std::size_t kRequestEnd = std::size_t{1} << 60;

}  // namespace

Pool::Pool(Resource& upstream, Device& device, Options options)
    : upstream_(upstream),
      options_(std::move(options)),
      grows_whole_(is_second({"pool", "growth", "half", "whole"}, options_.growth)),
      lists_(device, !is_second({"pool", "bug", "none", "stale_merge"}, options_.bug)) {
  if (options_.initial_bytes % kAlignment != 0 || options_.maximum_bytes % kAlignment != 0)
    throw std::invalid_argument("pool: initial_bytes and maximum_bytes must be multiples of 256");
  if (options_.maximum_bytes != 0 && options_.initial_bytes > options_.maximum_bytes)
    throw std::invalid_argument("pool: initial_bytes must not exceed maximum_bytes");
  if (options_.initial_bytes == 0) return;
  nodes_.reserve_two();
  const Request first{.bytes = options_.initial_bytes, .tag = "pool.initial"};
  const std::size_t bytes = grows_whole_ ? size_to_grow(options_.initial_bytes) : options_.initial_bytes;
  insert(try_to_expand(first, bytes, bytes), lists_.of({}));
}

Pool::~Pool() {
  lists_.release_events();
  try {
    trim();
  } catch (const DeviceError&) {
    // The device is past use: blocks whose uses cannot be waited for are not given back.
  }
}

void* Pool::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("pool: a request of no bytes");
  if (request.alignment > kAlignment) throw std::invalid_argument("pool: blocks are aligned to 256 B");
  if (request.bytes >= kRequestEnd) throw OutOfMemory(request, "more than 1 EB");
  lent_.reserve_one();
  nodes_.reserve_two();

  const std::size_t bytes = round_up(request.bytes, kAlignment);
  const auto join = [this](FreeBlocks& into, FreeBlocks& from) { merge(into, from); };
  const auto found = lists_.find(bytes, request.stream, join);
  CachedBlock* block = found.block;
  FreeBlocks& home = found.home ? *found.home : lists_.of(request.stream);
  if (block)
    home.erase(block);
  else
    block = expand(request, bytes);

  if (block->bytes > bytes) {
    CachedBlock* const rest = nodes_.take();
    rest->address = block->address + bytes;
    rest->bytes = block->bytes - bytes;
    rest->previous = block;
    rest->next = block->next;
    if (rest->next) rest->next->previous = rest;
    block->next = rest;
    block->bytes = bytes;
    rest->home = &home;
    home.insert(rest);
  }
  block->state = CachedBlock::State::lent;
  lent_bytes_ += bytes;
  lent_.insert(block->address, block);
  return reinterpret_cast<void*>(block->address);
}

void Pool::deallocate(void* data, Request request) noexcept {
  CachedBlock** const lent = lent_.find(reinterpret_cast<std::uintptr_t>(data));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  CachedBlock* const block = *lent;
  lent_.erase(lent);
  lent_bytes_ -= block->bytes;
  block->state = CachedBlock::State::free;
  lists_.freed(request.stream);
  insert(block, lists_.of(request.stream));
}

// Blocks join only within one list: a free neighbour of another stream may still be in use there.
void Pool::insert(CachedBlock* block, FreeBlocks& home) {
  const auto joins = [&](const CachedBlock* neighbour) {
    return neighbour && neighbour->is_free() && neighbour->home == &home;
  };
  for (CachedBlock* const neighbour : {block->previous, block->next}) {
    if (!joins(neighbour)) continue;
    home.erase(neighbour);
    block->absorb(neighbour);
    nodes_.put_back(neighbour);
  }
  block->home = &home;
  home.insert(block);
}

void Pool::merge(FreeBlocks& into, FreeBlocks& from) {
  std::vector<CachedBlock*> blocks;
  from.for_each([&](CachedBlock* block) { blocks.push_back(block); });
  for (CachedBlock* block : blocks) {
    from.erase(block);
    insert(block, into);
  }
}

CachedBlock* Pool::expand(const Request& request, std::size_t bytes) {
  std::size_t grow_bytes = size_to_grow(bytes);
  if (grow_bytes < bytes && options_.reclaims && bytes <= options_.maximum_bytes) {
    reclaim(bytes, lists_.of(request.stream));
    grow_bytes = size_to_grow(bytes);
  }
  return try_to_expand(request, grow_bytes, grows_whole_ ? std::max(bytes, grow_bytes) : bytes);
}

/// 0 when the pool's maximum leaves no room for the request.
std::size_t Pool::size_to_grow(std::size_t bytes) const {
  if (options_.maximum_bytes == 0) return std::max(bytes, reserved_bytes_);
  const std::size_t left_bytes = round_up(options_.maximum_bytes - reserved_bytes_, kAlignment);
  if (bytes > left_bytes) return 0;
  if (grows_whole_) return bytes <= left_bytes / 2 ? left_bytes / 2 : left_bytes;
  return std::max(bytes, left_bytes / 2);
}

CachedBlock* Pool::try_to_expand(const Request& request, std::size_t try_bytes, std::size_t least_bytes) {
  if (try_bytes < least_bytes) throw OutOfMemory(request, shortage());
  for (;; try_bytes = std::max(least_bytes, try_bytes / 2)) {
    try {
      return borrow(request, try_bytes);
    } catch (const OutOfMemory& refusal) {
      if (try_bytes == least_bytes) throw OutOfMemory(request, shortage() + "; " + refusal.what());
    }
  }
}

CachedBlock* Pool::borrow(const Request& request, std::size_t bytes) {
  Request wanted = request;
  wanted.bytes = bytes;
  wanted.alignment = kAlignment;
  void* const data = upstream_.allocate(wanted);
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  try {
    borrowed_.emplace(address, wanted);
  } catch (...) {
    upstream_.deallocate(data, wanted);
    throw;
  }
  CachedBlock* const block = nodes_.take();
  block->address = address;
  block->bytes = bytes;
  reserved_bytes_ += bytes;
  return block;
}

// Upstream frees behind the waits that brought the blocks to this list.
void Pool::reclaim(std::size_t bytes, FreeBlocks& from) {
  std::vector<CachedBlock*> whole;
  from.for_each([&](CachedBlock* block) {
    if (block->is_whole_segment()) whole.push_back(block);
  });
  std::sort(whole.begin(), whole.end(),
            [](const CachedBlock* a, const CachedBlock* b) { return a->address < b->address; });
  for (CachedBlock* block : whole) {
    if (options_.maximum_bytes - reserved_bytes_ >= bytes) return;
    give_back(block);
  }
}

void Pool::give_back(CachedBlock* block) noexcept {
  const auto borrowed = borrowed_.find(block->address);
  block->home->erase(block);
  reserved_bytes_ -= block->bytes;
  upstream_.deallocate(reinterpret_cast<void*>(block->address), borrowed->second);
  borrowed_.erase(borrowed);
  nodes_.put_back(block);
}

std::size_t Pool::trim() {
  FreeBlocks& all = lists_.settle({}, [this](FreeBlocks& into, FreeBlocks& from) { merge(into, from); });
  std::vector<CachedBlock*> whole;
  all.for_each([&](CachedBlock* block) {
    if (block->is_whole_segment()) whole.push_back(block);
  });
  const std::size_t before = reserved_bytes_;
  for (CachedBlock* block : whole) give_back(block);
  return before - reserved_bytes_;
}

std::string Pool::shortage() const {
  std::size_t largest_bytes = 0;
  for (const FreeBlock& block : free_blocks()) largest_bytes = std::max(largest_bytes, block.bytes);
  std::string text = "the pool holds " + std::to_string(reserved_bytes_) + " B";
  if (options_.maximum_bytes != 0)
    text += " and may borrow " + std::to_string(options_.maximum_bytes - reserved_bytes_) + " B more";
  return text + "; " + std::to_string(idle_bytes()) + " B are idle, the largest hole has " +
         std::to_string(largest_bytes) + " B";
}

std::vector<ListsFreeBlocks::FreeBlock> Pool::free_blocks() const {
  std::vector<FreeBlock> blocks;
  lists_.for_each([&](const FreeBlocks& list) {
    list.for_each([&](const CachedBlock* block) {
      blocks.push_back({block->address, block->bytes, list.stream()});
    });
  });
  return blocks;
}

}  // namespace drought
