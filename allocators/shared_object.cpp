#include "allocators/shared_object.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>

#include "harness/sched/scheduler.hpp"

namespace drought {

SharedObject::SharedObject(Device& device, Options options)
    : device_(device),
      options_(std::move(options)),
      library_(options_.library, device),
      alloc_(reinterpret_cast<Alloc*>(library_.symbol(options_.alloc))),
      free_(reinterpret_cast<Free*>(library_.symbol(options_.free))) {}

void* SharedObject::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("shared_object: a request of no bytes");
  if (request.bytes > static_cast<std::size_t>(std::numeric_limits<ssize_t>::max()))
    throw OutOfMemory(request, "more than a ssize_t holds");
  if (!free_threw_.empty()) throw std::runtime_error(std::exchange(free_threw_, {}));
  lent_.reserve_one();
  void* block = nullptr;
  {
    const RuntimeScope scope(device_, request.tag);
    block = alloc_(static_cast<ssize_t>(request.bytes), 0, runtime_stream(request.stream));
  }
  if (!block) {
    const Status last = device_.take_last_error();
    if (is_sticky(last)) throw DeviceError(last, options_.alloc);
    throw OutOfMemory(request, options_.alloc + " returned null, the last CUDA error is " + name(last));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  if (address % request.alignment != 0) {
    give_back(block, request);
    throw std::invalid_argument("shared_object: " + options_.alloc + " does not align to " +
                                std::to_string(request.alignment));
  }
  lent_.insert(address, request);
  return block;
}

void SharedObject::deallocate(void* block, Request) noexcept {
  Request* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent) {
    ++refused_frees_;
    return;
  }
  const Request request = *lent;
  lent_.erase(lent);
  give_back(block, request);
}

void SharedObject::give_back(void* block, const Request& request) noexcept {
  const RuntimeScope scope(device_, request.tag);
  try {
    free_(block, static_cast<ssize_t>(request.bytes), 0, runtime_stream(request.stream));
  } catch (const Hung&) {
    // The run is being ended at this very step, and every later one says so too.
  } catch (const std::exception& thrown) {
    free_threw_ = options_.free + " threw: " + thrown.what();
  } catch (...) {
    free_threw_ = options_.free + " threw";
  }
}

}  // namespace drought
