#include "allocators/caching.hpp"

#include <cmath>
#include <stdexcept>

#include "allocators/choice.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::size_t kRequestEnd = std::size_t{1} << 60;

}  // namespace

Caching::Caching(Resource& upstream, Device& device, Options options)
    : upstream_(upstream),
      device_(device),
      ties_by_age_(is_second({"caching", "ties", "address", "age"}, options.ties)),
      divisions_rest_(
          is_second({"caching", "divisions_rest", "after_last", "from_last"}, options.divisions_rest)
              ? DivisionsRest::from_last
              : DivisionsRest::after_last),
      heeds_last_error_(options.heeds_last_error),
      mutant_(caching_mutant_named(options.mutant)),
      small_(true, conf_),
      large_(false, conf_) {
  configure(options.conf, options.cap_bytes);
}

void Caching::configure(std::string_view conf, std::size_t cap_bytes) {
  conf_ = parse_caching_conf(conf, divisions_rest_);
  cap_bytes_ = cap_bytes ? cap_bytes : CachingConf::kUnlimited;
  if (cap_bytes == 0 && conf_.has_memory_fraction) {
    MemInfo info;
    const Status status = device_.mem_info(info);
    if (status != Status::success) throw DeviceError(status, "cudaMemGetInfo");
    cap_bytes_ =
        static_cast<std::size_t>(std::llround(conf_.memory_fraction * static_cast<double>(info.total_bytes)));
  }
  collects_ = conf_.garbage_collection_threshold > 0 && cap_bytes_ != CachingConf::kUnlimited;
  takes_first_fit_ =
      !collects_ && !conf_.expandable_segments && conf_.max_split_bytes == CachingConf::kUnlimited;
  split_below_bytes_ = conf_.expandable_segments ? CachingConf::kUnlimited : conf_.max_split_bytes;
  small_.follow(conf_);
  large_.follow(conf_);
  if (mutant_ == CachingMutant::splits_at_one_mib) --large_.split_remainder_min;
}

std::size_t Caching::segment_bytes(std::size_t bytes) const {
  return conf_.segment_size(conf_.round_size(bytes));
}

void* Caching::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("caching: a request of no bytes");
  constexpr std::size_t kGranularity = CachingConf::kMinBlockSize;
  const std::size_t slack = request.alignment > kGranularity ? request.alignment - kGranularity : 0;
  if (request.bytes >= kRequestEnd || slack >= kRequestEnd) throw OutOfMemory(request, "more than 1 EB");
  if (!pending_.empty() || !deferred_.empty()) poll_events();
  lent_.reserve_one();
  nodes_.reserve_two();

  const std::size_t bytes = conf_.round_size(request.bytes + slack);
  CachedPool& pool = pool_for(bytes, request.stream);
  CachedBlock* block = take_free(pool, request.stream.id, bytes);
  if (!block) block = borrow_or_make_room({request, bytes, pool});

  const std::size_t left_bytes = block->bytes - bytes;
  if (left_bytes >= block->home->pool().split_remainder_min && bytes < split_below_bytes_) {
    CachedBlock* const rest = block;
    block = cut_front(rest, bytes);
    put(rest);
  }
  block->state = CachedBlock::State::lent;
  active_bytes_ += block->bytes;
  const std::uintptr_t data = slack ? round_up(block->address, request.alignment) : block->address;
  lent_.insert(data, block);
  return reinterpret_cast<void*>(data);
}

// The first fit, taken out of the set, or null where PyTorch would rather borrow.
CachedBlock* Caching::take_free(CachedPool& pool, std::uint64_t stream, std::size_t bytes) {
  FreeBlocks& free = pool.of(stream);
  CachedBlock* block = free.at_least(bytes);
  if (!takes_first_fit_) [[unlikely]] {
    pool.searches += collects_;
    if (!block) return nullptr;
    // A block that can still grow counts as large as it could become.
    const auto size = [](const CachedBlock* at) {
      return at->bytes + (at->next && at->next->is_unmapped() ? at->next->bytes : 0);
    };
    if (conf_.expandable_segments && mutant_ != CachingMutant::ignores_growth)
      while (const CachedBlock* after = block->segment ? free.after(block) : nullptr) {
        if (size(after) >= size(block)) break;
        block = const_cast<CachedBlock*>(after);
      }
    const std::size_t large = conf_.max_split_bytes;
    if (bytes < large && block->bytes >= large && mutant_ != CachingMutant::lends_oversize) return nullptr;
    if (bytes >= large && block->bytes - bytes >= conf_.max_non_split_rounding_bytes &&
        mutant_ != CachingMutant::rounds_freely)
      return nullptr;
  }
  if (block) free.erase(block);
  return block;
}

// The request takes the low addresses; the old block keeps the high ones. Neither is in a set.
CachedBlock* Caching::cut_front(CachedBlock* rest, std::size_t bytes) {
  CachedBlock* const front = nodes_.take();
  front->address = rest->address;
  front->bytes = bytes;
  front->rank = rest->rank;
  front->home = rest->home;
  front->segment = rest->segment;
  front->state = rest->state;
  front->previous = rest->previous;
  if (front->previous) front->previous->next = front;
  front->next = rest;
  rest->previous = front;
  rest->address += bytes;
  rest->bytes -= bytes;
  return front;
}

CachedBlock* Caching::borrow_or_make_room(const Wanted& wanted) {
  if (collects_) collect_garbage();
  const std::size_t rejected_before = rejections_;
  if (CachedBlock* block = borrow(wanted)) return block;
  if (rejections_ != rejected_before) throw OutOfMemory(wanted.request, "preemptively rejected");
  if (CachedBlock* block = borrow_from_pools(wanted)) return block;
  if (captures_ == 0) {
    if (release_available(wanted))
      if (CachedBlock* block = borrow(wanted)) return block;
    release_cached();
    ++retries_;
    if (CachedBlock* block = borrow(wanted)) return block;
  }
  run_out(wanted);
}

void Caching::run_out(const Wanted& wanted) {
  ++ooms_;
  MemInfo info;
  if (device_.mem_info(info) != Status::success) {
    info = {};
    (void)device_.take_last_error();
  }
  decide(Decision::Kind::oom, info.free_bytes, wanted.bytes, wanted.request.stream.id);
  throw OutOfMemory(wanted.request, "no room for a segment of " +
                                        format_bytes(conf_.segment_size(wanted.bytes)) + " beside the " +
                                        format_bytes(reserved_bytes_) + " reserved, of which " +
                                        format_bytes(active_bytes_) + " are in use");
}

// A new block that belongs to no set, or null when the cap or upstream has no memory for it.
CachedBlock* Caching::borrow(const Wanted& wanted) {
  if (heeds_last_error_) {
    const Status waiting = device_.take_last_error();
    if (waiting != Status::success) throw DeviceError(waiting, "a call before this borrowing");
  }
  const std::size_t bytes = conf_.segment_size(wanted.bytes);
  const std::size_t counted = mutant_ == CachingMutant::caps_requests ? wanted.bytes : bytes;
  if (counted > cap_bytes_ || reserved_bytes_ > cap_bytes_ - counted) return nullptr;
  if (conf_.throw_on_cudamalloc_oom) {
    MemInfo info;
    const Status status = device_.mem_info(info);
    if (status != Status::success) throw DeviceError(status, "cudaMemGetInfo");
    const double allowed = conf_.memory_fraction * static_cast<double>(info.total_bytes);
    if (reserved_bytes_ + bytes > static_cast<std::size_t>(allowed)) {
      ++rejections_;
      return nullptr;
    }
  }
  return conf_.expandable_segments ? grow(wanted) : borrow_segment(wanted);
}

CachedBlock* Caching::borrow_segment(const Wanted& wanted) {
  Request request = wanted.request;
  request.bytes = conf_.segment_size(wanted.bytes);
  request.alignment = CachingConf::kMinBlockSize;
  segments_.reserve_one();
  void* data = nullptr;
  try {
    data = upstream_.allocate(request);
  } catch (const OutOfMemory&) {
    return nullptr;
  }
  nodes_.reserve_two();
  CachedBlock* const block = nodes_.take();
  block->address = reinterpret_cast<std::uintptr_t>(data);
  block->bytes = request.bytes;
  block->rank = ties_by_age_ ? ++segments_borrowed_ : 0;
  block->home = &wanted.pool.of(request.stream.id);
  ++wanted.pool.segments;
  segments_.insert(block->address, request);
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
  if (!block->has_stream_uses) return become_free(block);
  block->state = CachedBlock::State::waiting;
  if (captures_ == 0) return fence(block);
  deferred_.push_back(block);
}

void Caching::put(CachedBlock* block) {
  if (collects_) [[unlikely]]
    block->searches_before = block->home->pool().searches;
  block->home->insert(block);
}

void Caching::become_free(CachedBlock* block) {
  active_bytes_ -= block->bytes;
  block->state = CachedBlock::State::free;
  if (mutant_ != CachingMutant::keeps_apart || block->segment) [[likely]]
    absorb_neighbours(block);
  put(block);
}

void Caching::absorb_neighbours(CachedBlock* block) {
  if (CachedBlock* const before = block->previous; before && before->state == block->state)
    absorb(block, before);
  if (CachedBlock* const after = block->next; after && after->state == block->state) absorb(block, after);
}

// The neighbour is free in its set, or unmapped, as the block is.
void Caching::absorb(CachedBlock* block, CachedBlock* neighbour) {
  if (neighbour->is_free())
    neighbour->home->erase(neighbour);
  else
    neighbour->home->pool().unmapped.erase({neighbour->home->stream(), neighbour->address});
  block->absorb(neighbour);
  nodes_.put_back(neighbour);
}

void Caching::decide(Decision::Kind kind, std::uintptr_t address, std::size_t bytes, std::uint64_t stream) {
  if (listener_) listener_->decided({kind, address, bytes, stream});
}

std::vector<ListsFreeBlocks::FreeBlock> Caching::free_blocks() const {
  std::vector<FreeBlock> blocks;
  const auto list = [&](const CachedPool& pool) {
    pool.for_each([&](const CachedBlock* block) {
      blocks.push_back({block->address, block->bytes, block->home->stream()});
    });
  };
  list(small_);
  list(large_);
  for (const auto& [id, pool] : pools_) {
    list(pool->small);
    list(pool->large);
  }
  return blocks;
}

}  // namespace drought
