#include "allocators/fixed_size.hpp"

#include <stdexcept>

namespace drought {
namespace {

constexpr std::size_t kAlignment = 256;  // CUDA_ALLOCATION_ALIGNMENT
constexpr std::size_t kChunkEnd = std::size_t{1} << 60;

std::size_t checked_chunk_bytes(const FixedSize::Options& options) {
  if (options.block_bytes == 0 || options.blocks_to_preallocate == 0)
    throw std::invalid_argument("fixed_size: block_bytes and blocks_to_preallocate must be above 0");
  if (options.block_bytes >= kChunkEnd / options.blocks_to_preallocate)
    throw std::invalid_argument("fixed_size: a chunk of more than 1 EB");
  return round_up(options.block_bytes, kAlignment) * options.blocks_to_preallocate;
}

}  // namespace

FixedSize::FixedSize(Resource& upstream, Device& device, Options options)
    : upstream_(upstream),
      block_bytes_(round_up(options.block_bytes, kAlignment)),
      chunk_bytes_(checked_chunk_bytes(options)),
      lists_(device, true) {
  borrow_chunk({.bytes = chunk_bytes_, .tag = "fixed_size.chunk"}, lists_.of({}));
}

FixedSize::~FixedSize() {
  lists_.release_events();
  for (const Chunk& chunk : chunks_)
    if (chunk.lent == 0) upstream_.deallocate(chunk.data, chunk.request);
}

void FixedSize::borrow_chunk(const Request& request, Fifo& into) {
  Request wanted = request;
  wanted.bytes = chunk_bytes_;
  wanted.alignment = kAlignment;
  if (chunks_.size() == chunks_.capacity()) chunks_.reserve(2 * chunks_.size() + 1);
  std::deque<Place> places(chunk_bytes_ / block_bytes_);
  auto* const data = static_cast<std::byte*>(upstream_.allocate(wanted));
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = {data + i * block_bytes_, chunks_.size()};
  chunks_.push_back({data, wanted});
  into.places.swap(places);  // No stream had a block left.
}

void* FixedSize::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("fixed_size: a request of no bytes");
  if (request.alignment > kAlignment) throw std::invalid_argument("fixed_size: blocks are aligned to 256 B");
  if (request.bytes > block_bytes_)
    throw OutOfMemory(request, "blocks have " + std::to_string(block_bytes_) + " B");
  lent_.reserve_one();
  const auto merge = [](Fifo& into, Fifo& from) {
    into.places.insert(into.places.end(), from.places.begin(), from.places.end());
    from.places.clear();
  };
  Fifo* home = lists_.find(block_bytes_, request.stream, merge).home;
  if (!home) {
    borrow_chunk(request, *(home = &lists_.of(request.stream)));
    // What upstream lends is good in the order of this stream alone, as a block that was freed there is.
    lists_.freed(request.stream);
  }
  const Place place = home->places.front();
  home->places.pop_front();
  ++chunks_[place.chunk].lent;
  lent_.insert(reinterpret_cast<std::uintptr_t>(place.data), place.chunk);
  return place.data;
}

void FixedSize::deallocate(void* block, Request request) noexcept {
  std::size_t* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  const std::size_t chunk = *lent;
  lent_.erase(lent);
  --chunks_[chunk].lent;
  lists_.freed(request.stream);
  lists_.of(request.stream).places.push_back({static_cast<std::byte*>(block), chunk});
}

std::size_t FixedSize::free_blocks() const {
  std::size_t count = 0;
  lists_.for_each([&](const Fifo& list) { count += list.places.size(); });
  return count;
}

}  // namespace drought
