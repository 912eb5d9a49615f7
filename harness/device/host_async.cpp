// The simulated device's stream-ordered pool, managed memory, captures and graphs, as calls.
#include <algorithm>

#include "harness/device/host.hpp"

namespace drought {
namespace {

std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
void* as_pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

Status HostDevice::do_malloc_async(void*& out, std::size_t bytes, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success) return status;
  out = nullptr;
  if (bytes == 0) return Status::success;
  std::uintptr_t begin = 0;
  Status status;
  if (captures_.records(stream)) {
    status = graph_memory_.reserve(begin, bytes);
    if (status == Status::success) captures_.record(stream, {.allocates = begin});
  } else {
    status = pool_.malloc(begin, bytes, stream);
    // The pool's own idle chunks are too short or lie apart; they and managed pages make room.
    const std::size_t growth = bytes > profile().total_bytes ? bytes : bytes + profile().pool_chunk_bytes;
    if (status == Status::memory_allocation && reclaim(growth)) status = pool_.malloc(begin, bytes, stream);
  }
  if (status == Status::success) out = as_pointer(begin);
  return status;
}

Status HostDevice::do_free_async(void* block, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success) return status;
  const std::uintptr_t begin = as_address(block);
  if (captures_.records(stream)) {
    // A free node frees what a graph's memory node lent, and nothing else (cudaGraphAddMemFreeNode).
    if (!graph_memory_.is_known(begin)) return Status::invalid_value;
    captures_.record(stream, {.frees = begin});
    return Status::success;
  }
  if (pool_.block(begin)) return pool_.free(begin, stream);
  if (graph_memory_.is_known(begin)) return graph_memory_.free(begin);
  // cudaMalloc's block goes back where it came from, once the stream has reached the free.
  if (!block || !heap_.block(begin)) return Status::invalid_value;
  streams_.drain(stream);
  const Status fault = shown();
  return fault == Status::success ? heap_.free(begin) : fault;
}

Status HostDevice::do_pool_trim(std::size_t keep_bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  pool_.trim(keep_bytes);
  return Status::success;
}

Status HostDevice::do_pool_set_release_threshold(std::size_t bytes) {
  if (const Status status = arrive(); status != Status::success) return status;
  pool_.set_release_threshold(bytes);
  return Status::success;
}

Status HostDevice::do_pool_attributes(PoolAttributes& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  out = pool_.attributes();
  return Status::success;
}

Status HostDevice::do_malloc_managed(void*& out, std::size_t bytes) {
  if (const Status status = arrive_unsafe(); status != Status::success) return status;
  if (bytes == 0) return Status::invalid_value;
  std::uintptr_t begin = 0;
  const Status status = managed_.malloc(begin, bytes);
  if (status == Status::success) out = as_pointer(begin);
  return status;
}

Status HostDevice::do_mem_prefetch(void* begin, std::size_t bytes, Residence to, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success) return status;
  const auto block = managed_.block(as_address(begin));
  if (!block || bytes == 0 || bytes > block->end() - as_address(begin)) return Status::invalid_value;
  submit(stream, [this, begin, bytes, to] {
    // The block may have gone since; nothing is then left to move.
    if (managed_.block(as_address(begin))) managed_.prefetch(as_address(begin), bytes, to);
    return Status::success;
  });
  return Status::success;
}

Status HostDevice::do_stream_begin_capture(Stream stream, CaptureMode mode) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream)) return Status::invalid_resource_handle;
  return captures_.begin(stream, mode);
}

Status HostDevice::do_stream_end_capture(Stream stream, Graph& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream)) return Status::invalid_resource_handle;
  GraphNodes nodes;
  const Status status = captures_.end(stream, nodes);
  if (status == Status::success) {
    out = graphs_.add(std::move(nodes));
  } else {
    graphs_.discard(std::move(nodes));
  }
  return status;
}

Status HostDevice::do_stream_capture_status(Stream stream, CaptureStatus& out) {
  if (const Status status = arrive(); status != Status::success) return status;
  if (!streams_.exists(stream)) return Status::invalid_resource_handle;
  out = captures_.status(stream);
  return Status::success;
}

Status HostDevice::do_graph_instantiate(GraphInstance& out, Graph graph) {
  if (const Status status = arrive(); status != Status::success) return status;
  const Status status = graphs_.instantiate(out, graph);
  const bool retries = status == Status::memory_allocation && reclaim(profile().graph_bytes);
  return retries ? graphs_.instantiate(out, graph) : status;
}

Status HostDevice::do_graph_launch(GraphInstance instance, Stream stream) {
  if (const Status status = arrive_with_work(stream); status != Status::success) return status;
  const GraphNodes* const nodes = graphs_.nodes(instance);
  if (!nodes) return Status::invalid_value;
  const bool lends =
      std::any_of(nodes->begin(), nodes->end(), [](const GraphNode& node) { return !node.work; });
  // A graph with memory nodes cannot be part of another (cudaGraphAddMemAllocNode).
  if (lends && captures_.records(stream)) return Status::not_supported;
  if (const Status status = graphs_.run_memory_nodes(*nodes); status != Status::success) return status;
  for (const GraphNode& node : *nodes)
    if (node.work) submit(stream, node.work);
  return Status::success;
}

Status HostDevice::do_graph_destroy(Graph graph) {
  if (const Status status = arrive(); status != Status::success) return status;
  return graphs_.destroy(graph);
}

Status HostDevice::do_graph_instance_destroy(GraphInstance instance) {
  if (const Status status = arrive(); status != Status::success) return status;
  return graphs_.destroy(instance);
}

Status HostDevice::do_graph_memory_trim() {
  // What a running graph uses would stay; the simulated device lets it end first.
  if (const Status status = arrive_and_drain(); status != Status::success) return status;
  graph_memory_.trim();
  return Status::success;
}

}  // namespace drought
