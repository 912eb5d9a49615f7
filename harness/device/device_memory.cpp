// The public calls on stream-ordered and managed memory.
#include "harness/device/device_call.hpp"

namespace drought {

Status Device::malloc_async(void*& out, std::size_t bytes, Stream stream, Tag tag) {
  Call call{.site = Site::cudaMallocAsync, .bytes = bytes, .tag = tag, .stream = stream};
  call.captured = recordings_.captures(stream);
  const Status status = through(call, [&] {
    const Status answer = do_malloc_async(out, bytes, stream);
    if (answer != Status::success) return answer;
    call.data = out;  // Whose order the block continues is known by its address.
    recordings_.own(stream, out, bytes);
    return answer;
  });
  if (status != Status::success) out = nullptr;
  return status;
}

Status Device::free_async(void* block, Stream stream, Tag tag) {
  Call call{.site = Site::cudaFreeAsync, .tag = tag, .stream = stream, .data = block};
  call.captured = recordings_.captures(stream);
  return through(call, [&] { return do_free_async(block, stream); });
}

Status Device::pool_trim(std::size_t keep_bytes) {
  return through({.site = Site::cudaMemPoolTrimTo, .bytes = keep_bytes},
                 [&] { return do_pool_trim(keep_bytes); });
}

Status Device::pool_set_release_threshold(std::size_t bytes) {
  return through({.site = Site::cudaMemPoolSetAttribute, .bytes = bytes},
                 [&] { return do_pool_set_release_threshold(bytes); });
}

Status Device::pool_attributes(PoolAttributes& out) {
  return through({.site = Site::cudaMemPoolGetAttribute}, [&] { return do_pool_attributes(out); });
}

Status Device::malloc_managed(void*& out, std::size_t bytes, Tag tag) {
  const Status status = through({.site = Site::cudaMallocManaged, .bytes = bytes, .tag = tag},
                                [&] { return do_malloc_managed(out, bytes); });
  if (status != Status::success) out = nullptr;
  return status;
}

Status Device::mem_prefetch(void* begin, std::size_t bytes, Residence to, Stream stream) {
  const Operand operands[] = {{"prefetched", begin, bytes, Access::read}};
  return through({.site = Site::cudaMemPrefetchAsync,
                  .bytes = bytes,
                  .stream = stream,
                  .data = begin,
                  .operands = operands},
                 [&] { return do_mem_prefetch(begin, bytes, to, stream); });
}

}  // namespace drought
