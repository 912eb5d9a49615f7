#include "allocators/arena.hpp"

#include <stdexcept>
#include <utility>

namespace drought {
namespace {

constexpr std::size_t kAlignment = 256;  // CUDA_ALLOCATION_ALIGNMENT
constexpr std::size_t kRequestEnd = std::size_t{1} << 60;

bool is_large(std::size_t bytes) { return bytes > Superblock::kLeastBytes; }

Request slab_request(Device& device, std::size_t bytes) {
  if (bytes == 0) {
    MemInfo info;
    const Status status = device.mem_info(info);
    if (status != Status::success) throw DeviceError(status, "cudaMemGetInfo");
    bytes = info.free_bytes / 2;
  }
  bytes = round_down(bytes, kAlignment);
  if (bytes < Superblock::kLeastBytes || bytes >= kRequestEnd)
    throw std::invalid_argument("arena: arena_bytes must be at least 1 MiB");
  return {.bytes = bytes, .tag = "arena.slab"};
}

}  // namespace

Arena::Arena(Resource& upstream, Device& device, Options options)
    : upstream_(upstream),
      device_(device),
      slab_request_(slab_request(device, options.arena_bytes)),
      slab_(upstream.allocate(slab_request_)),
      global_(reinterpret_cast<std::uintptr_t>(slab_), slab_request_.bytes) {
  global_.insert(std::make_unique<Superblock>(reinterpret_cast<std::uintptr_t>(slab_), slab_request_.bytes));
}

Arena::~Arena() {
  if (lent_.size() == 0) upstream_.deallocate(slab_, slab_request_);
}

Arena::StreamArena& Arena::arena_of(Stream stream) {
  for (const auto& arena : arenas_)
    if (arena->stream == stream) return *arena;
  arenas_.push_back(std::make_unique<StreamArena>(
      StreamArena{stream, Superblocks(reinterpret_cast<std::uintptr_t>(slab_), slab_request_.bytes)}));
  return *arenas_.back();
}

void* Arena::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("arena: a request of no bytes");
  if (request.alignment > kAlignment) throw std::invalid_argument("arena: blocks are aligned to 256 B");
  if (request.bytes >= kRequestEnd) throw OutOfMemory(request, "more than 1 EB");
  lent_.reserve_one();
  const std::size_t bytes = round_up(request.bytes, kAlignment);
  StreamArena& arena = arena_of(request.stream);
  std::optional<std::uintptr_t> begin = try_allocate(arena, bytes);
  if (!begin) {
    defragment();
    begin = try_allocate(arena, bytes);
  }
  if (!begin) {
    std::size_t idle_bytes = 0, largest_bytes = 0;
    for (const FreeBlock& block : free_blocks()) {
      idle_bytes += block.bytes;
      largest_bytes = std::max(largest_bytes, block.bytes);
    }
    throw OutOfMemory(request, "the arena has " + std::to_string(idle_bytes) + " of " +
                                   std::to_string(slab_request_.bytes) + " B idle, the largest hole " +
                                   std::to_string(largest_bytes) + " B");
  }
  lent_.insert(*begin, bytes);
  return reinterpret_cast<void*>(*begin);
}

std::optional<std::uintptr_t> Arena::try_allocate(StreamArena& arena, std::size_t bytes) {
  Superblocks& owner = is_large(bytes) ? global_ : arena.owned;
  Superblock* found = is_large(bytes) ? nullptr : owner.first_fit(bytes);
  if (!found) found = acquire(owner, bytes);
  if (!found) return {};
  return owner.take(found, bytes);
}

/// Moves the global arena's first superblock that fits, or of an empty one as much as is wanted, to `into`.
Superblock* Arena::acquire(Superblocks& into, std::size_t bytes) {
  Superblock* const found = global_.first_fit(bytes);
  if (!found) return nullptr;
  std::unique_ptr<Superblock> head = global_.extract(found);
  const std::size_t least_bytes = std::max(Superblock::kLeastBytes, bytes);
  if (head->is_empty() && head->bytes() >= least_bytes + Superblock::kLeastBytes) {
    const std::uintptr_t begin = head->begin();
    global_.insert(std::make_unique<Superblock>(begin + least_bytes, head->bytes() - least_bytes));
    head = std::make_unique<Superblock>(begin, least_bytes);
  }
  Superblock* const acquired = head.get();
  into.insert(std::move(head));
  return acquired;
}

/// An empty superblock joins its empty neighbours.
void Arena::release(std::unique_ptr<Superblock> superblock) {
  if (!superblock->is_empty()) return global_.insert(std::move(superblock));
  std::uintptr_t begin = superblock->begin(), end = superblock->end();
  const auto& owned = global_.owned();
  if (const auto next = owned.find(end); next != owned.end() && next->second->is_empty())
    end = global_.extract(next->second.get())->end();
  if (Superblock* const before = global_.containing(begin - 1, 1); before && before->is_empty())
    begin = global_.extract(before)->begin();
  global_.insert(std::make_unique<Superblock>(begin, end - begin));
}

void Arena::defragment() {
  const Status status = device_.synchronize();
  if (status != Status::success) throw DeviceError(status, "cudaDeviceSynchronize");
  ++defragmentations_;
  for (const Span block : std::exchange(set_aside_, {})) give_to_any(block);
  for (const auto& arena : arenas_)
    while (!arena->owned.owned().empty())
      release(arena->owned.extract(arena->owned.owned().begin()->second.get()));
}

void Arena::deallocate(void* data, Request request) noexcept {
  std::size_t* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(data));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  const Span block{reinterpret_cast<std::uintptr_t>(data), *lent};
  lent_.erase(lent);
  Superblocks& own = arena_of(request.stream).owned;
  Superblock* const home = is_large(block.bytes) ? nullptr : own.containing(block.begin, block.bytes);
  if (home) return own.give(home, block.begin, block.bytes);
  if (device_.stream_synchronize(request.stream) == Status::success) return give_to_any(block);
  set_aside_.push_back(block);
  fell_back_ = true;
}

bool Arena::give_to_global(Span block) {
  Superblock* const home = global_.containing(block.begin, block.bytes);
  if (!home) return false;
  global_.give(home, block.begin, block.bytes);
  if (home->is_empty()) release(global_.extract(home));
  return true;
}

void Arena::give_to_any(Span block) {
  if (give_to_global(block)) return;
  for (const auto& arena : arenas_) {
    Superblock* const home = arena->owned.containing(block.begin, block.bytes);
    if (home) return arena->owned.give(home, block.begin, block.bytes);
  }
}

std::string_view Arena::take_fallback() noexcept {
  return std::exchange(fell_back_, false) ? "a block whose stream could not be waited for is set aside" : "";
}

std::vector<ListsFreeBlocks::FreeBlock> Arena::free_blocks() const {
  std::vector<FreeBlock> blocks;
  const auto list = [&](const Superblocks& arena, std::uint64_t stream) {
    for (const auto& [begin, superblock] : arena.owned())
      for (const auto& [address, bytes] : superblock->free_blocks())
        blocks.push_back({address, bytes, stream});
  };
  list(global_, kGlobal);
  for (const auto& arena : arenas_) list(arena->owned, arena->stream.id);
  return blocks;
}

}  // namespace drought
