// The rows on capture and graphs.
#include <cstdint>
#include <vector>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

Stream capturing(Device& device, CaptureMode mode) {
  warm_up(device);
  Stream stream;
  const bool begun = device.stream_create(stream) == Status::success &&
                     device.stream_begin_capture(stream, mode) == Status::success;
  if (!begun) throw DeviceError(device.peek_last_error(), "cudaStreamBeginCapture");
  return stream;
}

Status end(Device& device, Stream stream) {
  Graph graph;
  return device.stream_end_capture(stream, graph);
}

std::string global_malloc(Device& device) {
  const Stream stream = capturing(device, CaptureMode::global);
  void* block = nullptr;
  Observed observed;
  observed << device.malloc(block, 1_MiB);
  return observed << end(device, stream);
}

std::string relaxed_malloc(Device& device) {
  const Stream stream = capturing(device, CaptureMode::relaxed);
  void* block = nullptr;
  Observed observed;
  observed << device.malloc(block, 64_MiB) << device.free(block);
  return observed << end(device, stream);
}

std::string relaxed_synchronize(Device& device) {
  const Stream stream = capturing(device, CaptureMode::relaxed);
  Observed observed;
  observed << device.synchronize();
  return observed << end(device, stream);
}

std::string relaxed_legacy_launch(Device& device) {
  const Stream stream = capturing(device, CaptureMode::relaxed);
  Observed observed;
  observed << probe_read(device, nullptr);
  return observed << end(device, stream);
}

std::string capture_statuses(Device& device) {
  const auto said = [&](Stream stream) -> std::string_view {
    CaptureStatus status{};
    if (device.stream_capture_status(stream, status) != Status::success) return "no answer";
    return status == CaptureStatus::none     ? "none"
           : status == CaptureStatus::active ? "active"
                                             : "invalidated";
  };
  const Stream stream = capturing(device, CaptureMode::global);
  Observed observed;
  observed << said(stream);
  void* block = nullptr;
  observed << device.malloc(block, 1_MiB) << said(stream) << end(device, stream);
  return observed << said(stream);
}

/// A graph that writes 7 into the first byte of `block`, made ready.
GraphInstance writes_seven(Device& device, void* block, Stream& stream) {
  stream = capturing(device, CaptureMode::relaxed);
  Graph graph;
  GraphInstance instance;
  const bool made = probe_write(device, block, 7, stream) == Status::success &&
                    device.stream_end_capture(stream, graph) == Status::success &&
                    device.graph_instantiate(instance, graph) == Status::success;
  if (!made) throw DeviceError(device.peek_last_error(), "cudaGraphInstantiate");
  return instance;
}

std::uint8_t first_byte(Device& device, void* block) {
  std::uint8_t value = 0;
  const bool read =
      device.memcpy(&value, block, 1) == Status::success && device.synchronize() == Status::success;
  if (!read) throw DeviceError(device.peek_last_error(), "cudaMemcpy");
  return value;
}

std::string replays(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Observed observed;
  observed << device.memset(block, 1, 64_MiB);
  Stream stream;
  const GraphInstance instance = writes_seven(device, block, stream);
  observed << std::to_string(first_byte(device, block));
  for (int i = 0; i < 2; ++i) {
    observed << device.memset(block, 1, 64_MiB) << device.graph_launch(instance, stream);
    observed << std::to_string(first_byte(device, block));
  }
  return observed;
}

std::string many_nodes(Device& device) {
  void* const block = malloc_or_null(device, 1_MiB);
  const Stream stream = capturing(device, CaptureMode::global);
  for (int i = 0; i < 500; ++i)
    if (probe_read(device, block, stream) != Status::success) return "a launch failed";
  Graph graph;
  GraphInstance instance;
  Observed observed;
  observed << device.stream_end_capture(stream, graph);
  const std::size_t before = free_bytes(device);
  observed << device.graph_instantiate(instance, graph);
  return observed.cost(before, free_bytes(device));
}

std::string memory_node(Device& device) {
  const Stream stream = capturing(device, CaptureMode::global);
  void* block = nullptr;
  Graph graph;
  GraphInstance instance;
  Observed observed;
  observed << device.malloc_async(block, 64_MiB, stream) << device.stream_end_capture(stream, graph);
  std::size_t before = free_bytes(device);
  observed << device.graph_instantiate(instance, graph);
  observed.cost(before, free_bytes(device));
  before = free_bytes(device);
  observed << device.graph_launch(instance, stream) << device.stream_synchronize(stream);
  observed.cost(before, free_bytes(device)) << device.graph_memory_trim();
  return observed.cost(before, free_bytes(device));
}

std::string free_under_a_graph(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Stream stream;
  writes_seven(device, block, stream);
  return Observed() << device.free(block);
}

std::string replay_after_free(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Stream stream;
  const GraphInstance instance = writes_seven(device, block, stream);
  Observed observed;
  observed << device.free(block) << device.graph_launch(instance, stream) << device.synchronize();
  void* out = nullptr;
  return observed << device.malloc(out, 1);
}

std::string replay_over_a_new_owner(Device& device) {
  void* const block = malloc_or_null(device, 64_MiB);
  Stream stream;
  const GraphInstance instance = writes_seven(device, block, stream);
  Observed observed;
  observed << device.free(block);
  void* const owned = malloc_or_null(device, 64_MiB);
  observed << (owned == block ? "the same" : "another") << device.memset(owned, 1, 64_MiB);
  observed << device.graph_launch(instance, stream) << device.synchronize();
  return observed << std::to_string(first_byte(device, owned));
}

constexpr std::string_view broken_by_wait = "StreamCaptureUnsupported, StreamCaptureInvalidated";

constexpr SemanticsRow rows[] = {
    {"cudaMalloc while a stream captures in global mode", broken_by_wait, global_malloc},
    {"cudaMalloc and cudaFree while a stream captures in relaxed mode", "Success, Success, Success",
     relaxed_malloc},
    {"cudaDeviceSynchronize while a stream captures in relaxed mode", broken_by_wait, relaxed_synchronize},
    {"a launch into the legacy stream while another captures",
     "StreamCaptureImplicit, StreamCaptureInvalidated", relaxed_legacy_launch},
    {"a capture's status while it lives, broken and ended",
     "active, StreamCaptureUnsupported, invalidated, StreamCaptureInvalidated, none", capture_statuses},
    {"a captured launch runs when its graph is launched, each time",
     "Success, 1, Success, Success, 7, Success, Success, 7", replays, false, true},
    {"an instance of a graph of 500 launches takes 2 MiB", "Success, Success, 2.00 MiB", many_nodes},
    {"cudaMallocAsync in a capture is a memory node",
     "Success, Success, Success, 2.00 MiB, Success, Success, 64.00 MiB, Success, 64.00 MiB", memory_node},
    {"cudaFree of a block that an instantiated graph uses", "Success", free_under_a_graph},
    {"a replay after that free", "Success, Success, IllegalAddress, IllegalAddress", replay_after_free, true},
    {"a replay after that free, when the address was given to someone else",
     "Success, the same, Success, Success, Success, 7", replay_over_a_new_owner, false, true},
};

}  // namespace

std::span<const SemanticsRow> graph_rows() { return rows; }

}  // namespace drought
