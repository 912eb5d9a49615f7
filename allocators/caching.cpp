#include "allocators/caching.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

// Names and values as in CUDACachingAllocator.
constexpr std::size_t kMinBlockSize = 512;
constexpr std::size_t kSmallSize = 1_MiB;
constexpr std::size_t kSmallBuffer = 2_MiB;
constexpr std::size_t kLargeBuffer = 20_MiB;
constexpr std::size_t kMinLargeAlloc = 10_MiB;
constexpr std::size_t kRoundLarge = 2_MiB;
constexpr std::size_t kRequestEnd = std::size_t{1} << 60;

std::size_t segment_size(std::size_t bytes) {
  if (bytes <= kSmallSize) return kSmallBuffer;
  if (bytes < kMinLargeAlloc) return kLargeBuffer;
  return round_up(bytes, kRoundLarge);
}

bool ties_by_age(const std::string& word) {
  if (word != "address" && word != "age")
    throw std::invalid_argument("caching: unknown ties '" + word + "'; known: address, age");
  return word == "age";
}

}  // namespace

Caching::Caching(Resource& upstream, Device& device, Options options)
    : upstream_(upstream), device_(device), ties_by_age_(ties_by_age(options.ties)) {}

void* Caching::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("caching: a request of no bytes");
  const std::size_t slack = request.alignment > kMinBlockSize ? request.alignment - kMinBlockSize : 0;
  if (request.bytes >= kRequestEnd || slack >= kRequestEnd) throw OutOfMemory(request, "more than 1 EB");
  if (!pending_.empty()) poll_events();
  lent_.reserve_one();
  nodes_.reserve_two();

  const std::size_t bytes = round_up(request.bytes + slack, kMinBlockSize);
  CachedPool& pool = bytes <= kSmallSize ? small_ : large_;
  FreeBlocks& free = pool.of(request.stream.id);
  CachedBlock* block = free.at_least(bytes);
  if (block)
    free.erase(block);
  else
    block = borrow_or_make_room(request, bytes, pool);

  const std::size_t left_bytes = block->bytes - bytes;
  if (pool.is_small() ? left_bytes >= kMinBlockSize : left_bytes > kSmallSize) {
    // The request takes the low addresses; the old block keeps the high ones and stays free.
    CachedBlock* const rest = block;
    block = nodes_.take();
    block->address = rest->address;
    block->bytes = bytes;
    block->rank = rest->rank;
    block->home = rest->home;
    block->previous = rest->previous;
    if (block->previous) block->previous->next = block;
    block->next = rest;
    rest->previous = block;
    rest->address += bytes;
    rest->bytes = left_bytes;
    free.insert(rest);
  }
  block->is_lent = true;
  active_bytes_ += block->bytes;
  const std::uintptr_t data = slack ? round_up(block->address, request.alignment) : block->address;
  lent_.insert(data, block);
  return reinterpret_cast<void*>(data);
}

CachedBlock* Caching::borrow_or_make_room(const Request& request, std::size_t bytes, CachedPool& pool) {
  if (CachedBlock* block = borrow(request, bytes, pool)) return block;
  release_whole_segments();
  ++retries_;
  if (CachedBlock* block = borrow(request, bytes, pool)) return block;

  ++ooms_;
  MemInfo info;
  if (device_.mem_info(info) != Status::success) info = {};
  decide(Decision::Kind::oom, info.free_bytes, bytes, request.stream.id);
  throw OutOfMemory(request, "no room for a segment of " + format_bytes(segment_size(bytes)) +
                                 " beside the " + format_bytes(reserved_bytes_) + " reserved, of which " +
                                 format_bytes(active_bytes_) + " are in use");
}

// Null when upstream has no memory.
CachedBlock* Caching::borrow(const Request& request, std::size_t bytes, CachedPool& pool) {
  Request wanted = request;
  wanted.bytes = segment_size(bytes);
  wanted.alignment = kMinBlockSize;
  segments_.reserve_one();
  void* data = nullptr;
  try {
    data = upstream_.allocate(wanted);
  } catch (const OutOfMemory&) {
    return nullptr;
  }
  CachedBlock* const block = nodes_.take();
  block->address = reinterpret_cast<std::uintptr_t>(data);
  block->bytes = wanted.bytes;
  block->rank = ties_by_age_ ? ++segments_borrowed_ : 0;
  block->home = &pool.of(request.stream.id);
  segments_.insert(block->address, wanted);
  reserved_bytes_ += block->bytes;
  decide(Decision::Kind::segment_alloc, block->address, block->bytes, request.stream.id);
  return block;
}

void Caching::deallocate(void* data, Request) noexcept {
  CachedBlock** const lent = lent_.find(reinterpret_cast<std::uintptr_t>(data));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  CachedBlock* const block = *lent;
  lent_.erase(lent);
  block->is_lent = false;
  if (block->has_stream_uses) return fence(block);
  become_free(block);
}

void Caching::become_free(CachedBlock* block) {
  active_bytes_ -= block->bytes;
  if (CachedBlock* const before = block->previous; before && before->is_free()) absorb(block, before);
  if (CachedBlock* const after = block->next; after && after->is_free()) absorb(block, after);
  block->home->insert(block);
}

void Caching::absorb(CachedBlock* block, CachedBlock* neighbour) {
  neighbour->home->erase(neighbour);
  block->absorb(neighbour);
  nodes_.put_back(neighbour);
}

std::size_t Caching::trim() { return release_whole_segments(); }

std::size_t Caching::release_whole_segments() {
  wait_for_events();
  const std::size_t large_bytes = release_from(large_);
  return large_bytes + release_from(small_);
}

std::size_t Caching::release_from(const CachedPool& pool) {
  std::vector<CachedBlock*> whole;
  pool.for_each([&](CachedBlock* block) {
    if (block->is_whole_segment()) whole.push_back(block);
  });
  std::size_t released_bytes = 0;
  for (CachedBlock* block : whole) {
    decide(Decision::Kind::segment_free, block->address, block->bytes, block->home->stream());
    block->home->erase(block);
    Request* const borrowed = segments_.find(block->address);
    const Request request = *borrowed;
    segments_.erase(borrowed);
    released_bytes += request.bytes;
    reserved_bytes_ -= request.bytes;
    upstream_.deallocate(reinterpret_cast<void*>(block->address), request);
    nodes_.put_back(block);
  }
  return released_bytes;
}

void Caching::decide(Decision::Kind kind, std::uintptr_t address, std::size_t bytes, std::uint64_t stream) {
  if (listener_) listener_->decided({kind, address, bytes, stream});
}

std::vector<ListsFreeBlocks::FreeBlock> Caching::free_blocks() const {
  std::vector<FreeBlock> blocks;
  for (const CachedPool* pool : {&small_, &large_})
    pool->for_each([&](const CachedBlock* block) {
      blocks.push_back({block->address, block->bytes, block->home->stream()});
    });
  return blocks;
}

}  // namespace drought
