#include "allocators/stream_ordered.hpp"

#include <utility>

namespace drought {
namespace {

void require(Status status, std::string_view call) {
  if (status != Status::success) throw DeviceError(status, call);
}

}  // namespace

StreamOrdered::StreamOrdered(Device& device, Options options) : device_(device) {
  require(device_.pool_set_release_threshold(options.release_threshold_bytes), "cudaMemPoolSetAttribute");
}

StreamOrdered::~StreamOrdered() {
  // The pool is the device's and lives on, so it is left as CUDA makes it.
  (void)device_.pool_set_release_threshold(0);
  (void)settle();
  (void)device_.pool_trim(0);
}

void* StreamOrdered::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("stream_ordered: a request of no bytes");
  if (!unordered_.empty()) (void)settle();
  lent_.reserve_one();
  void* block = nullptr;
  const Status status = device_.malloc_async(block, request.bytes, request.stream, request.tag);
  if (status != Status::success) (void)device_.take_last_error();
  if (status == Status::memory_allocation)
    throw OutOfMemory(request, "cudaMallocAsync answered cudaErrorMemoryAllocation");
  require(status, "cudaMallocAsync");
  if (reinterpret_cast<std::uintptr_t>(block) % request.alignment != 0) {
    (void)device_.free_async(block, request.stream, request.tag);
    throw std::invalid_argument("stream_ordered: cudaMallocAsync does not align to " +
                                std::to_string(request.alignment));
  }
  lent_.insert(reinterpret_cast<std::uintptr_t>(block), {request.stream, {}});
  return block;
}

bool StreamOrdered::order_after(Stream stream, Stream used_on) noexcept {
  Event event;
  if (device_.event_create(event) != Status::success) return false;
  const bool ordered = device_.event_record(event, used_on) == Status::success &&
                       device_.stream_wait_event(stream, event) == Status::success;
  (void)device_.event_destroy(event);
  return ordered;
}

void StreamOrdered::deallocate(void* block, Request request) noexcept {
  Lent* const found = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!found) {
    ++refused_frees_;
    return;
  }
  const Lent lent = std::move(*found);
  lent_.erase(found);
  bool is_ordered = true;
  for (const Stream used_on : lent.other_uses) is_ordered = order_after(lent.stream, used_on) && is_ordered;
  if (is_ordered) {
    const Status freed = device_.free_async(block, lent.stream, request.tag);
    // Of a stream that was destroyed before the block came back: the block is still lent.
    if (freed != Status::invalid_resource_handle) {
      refused_frees_ += freed != Status::success;
      return;
    }
  } else {
    fell_back_ = true;
  }
  (void)device_.take_last_error();
  unordered_.push_back({block, request.tag});
  (void)settle();
}

Status StreamOrdered::settle() {
  const Status status = device_.synchronize();
  if (status != Status::success) return status;
  for (const auto& [block, tag] : std::exchange(unordered_, {}))
    refused_frees_ += device_.free_async(block, {}, tag) != Status::success;
  return status;
}

std::size_t StreamOrdered::reserved_bytes() const {
  PoolAttributes pool;
  require(device_.pool_attributes(pool), "cudaMemPoolGetAttribute");
  return pool.reserved_bytes;
}

std::size_t StreamOrdered::trim() {
  const std::size_t before = reserved_bytes();
  require(settle(), "cudaDeviceSynchronize");
  // What an error of giving back reports is earlier work; what is still reserved says how far it went.
  if (device_.pool_trim(0) != Status::success) (void)device_.take_last_error();
  return before - reserved_bytes();
}

void StreamOrdered::record_stream(void* block, Stream stream) {
  Lent* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent || lent->stream == stream) return;
  std::vector<Stream>& uses = lent->other_uses;
  if (std::find(uses.begin(), uses.end(), stream) == uses.end()) uses.push_back(stream);
}

}  // namespace drought
