#include "allocators/gallocr.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {
namespace {

constexpr std::size_t kAlignment = 256;  // What a request wants unless it says otherwise.
constexpr std::size_t kRequestEnd = DynTallocr::kUnbounded;

DynTallocr::Options places_of(const std::string& bug) {
  if (bug != "none" && bug != "best_fit_per_chunk")
    throw std::invalid_argument("gallocr: unknown bug '" + bug + "'; known: none, best_fit_per_chunk");
  return {.alignment = kAlignment,
          .lent_max = DynTallocr::kFreeBlocks - 1,
          .best_fit_per_chunk = bug == "best_fit_per_chunk"};
}

}  // namespace

Gallocr::Gallocr(Resource& upstream, Options options)
    : upstream_(upstream),
      chunk_bytes_(round_up(options.chunk_bytes, kAlignment)),
      places_(places_of(options.bug)) {
  if (options.chunk_bytes == 0) throw std::invalid_argument("gallocr: chunk_bytes must not be 0");
}

Gallocr::~Gallocr() { trim(); }

void* Gallocr::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("gallocr: a request of no bytes");
  const std::size_t slack = request.alignment > kAlignment ? request.alignment - kAlignment : 0;
  if (request.bytes >= kRequestEnd || slack >= kRequestEnd) throw OutOfMemory(request, "more than 4 EiB");
  lent_.reserve_one();
  const std::size_t bytes = request.bytes + slack;
  const DynTallocr::Place place = place_for(request, bytes);
  const std::uintptr_t begin = chunks_[place.chunk].begin + place.offset;
  const std::uintptr_t data = slack ? round_up(begin, request.alignment) : begin;
  lent_.insert(data, {place, bytes});
  return reinterpret_cast<void*>(data);
}

DynTallocr::Place Gallocr::place_for(const Request& request, std::size_t bytes) {
  std::optional<DynTallocr::Place> place = places_.take(bytes);
  if (place) return *place;
  open_chunk(request, bytes);
  return *places_.take(bytes);
}

void Gallocr::open_chunk(const Request& request, std::size_t bytes) {
  if (places_.open_chunks() == DynTallocr::kChunks) make_place_for_a_chunk(request);
  Request wanted = request;
  wanted.bytes = std::max(places_.rounded(bytes), chunk_bytes_);
  wanted.alignment = kAlignment;
  void* const data = upstream_.allocate(wanted);
  const std::size_t chunk = *places_.open(wanted.bytes, wanted.bytes);
  chunks_[chunk] = {reinterpret_cast<std::uintptr_t>(data), wanted};
  reserved_bytes_ += wanted.bytes;
}

// A chunk with nothing lent is too small for the request, or it would have been used.
void Gallocr::make_place_for_a_chunk(const Request& request) {
  std::size_t smallest = DynTallocr::kChunks;
  for (std::size_t c = 0; c < DynTallocr::kChunks; ++c)
    if (places_.is_unused(c) &&
        (smallest == DynTallocr::kChunks || chunks_[c].request.bytes < chunks_[smallest].request.bytes))
      smallest = c;
  if (smallest == DynTallocr::kChunks)
    throw OutOfMemory(request, "no room in any of the " + std::to_string(DynTallocr::kChunks) + " chunks, " +
                                   format_bytes(reserved_bytes_) + " in all, and each is in use");
  give_back(smallest);
}

void Gallocr::deallocate(void* block, Request) noexcept {
  Lent* const found = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!found) {
    ++refused_frees_;
    return;
  }
  const Lent lent = *found;
  lent_.erase(found);
  // As many free blocks as lent_max allows always fit.
  (void)places_.free(lent.place, lent.bytes);
}

std::size_t Gallocr::trim() {
  std::size_t bytes = 0;
  for (std::size_t c = 0; c < DynTallocr::kChunks; ++c)
    if (places_.is_unused(c)) bytes += give_back(c);
  return bytes;
}

std::size_t Gallocr::give_back(std::size_t chunk) noexcept {
  const auto [begin, request] = chunks_[chunk];
  places_.close(chunk);
  chunks_[chunk] = {};
  reserved_bytes_ -= request.bytes;
  upstream_.deallocate(reinterpret_cast<void*>(begin), request);
  return request.bytes;
}

std::vector<ListsFreeBlocks::FreeBlock> Gallocr::free_blocks() const {
  std::vector<FreeBlock> blocks;
  for (std::size_t c = 0; c < DynTallocr::kChunks; ++c)
    for (const auto& [offset, bytes] : places_.free_blocks(c))
      blocks.push_back({chunks_[c].begin + offset, bytes, 0});
  return blocks;
}

}  // namespace drought
