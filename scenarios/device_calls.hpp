// How workloads make device calls: a refused one is thrown, and streams have an owner.
#pragma once

#include <vector>

#include "harness/device/device.hpp"

namespace drought {

/// Throws DeviceError unless the call succeeded.
inline void must(Status status, std::string_view call) {
  if (status != Status::success) throw DeviceError(status, call);
}

/// Owns `count` streams of `device`, which outlives it; with a count of 1 it is the default stream.
class Streams {
 public:
  Streams(Device& device, std::size_t count) : device_(device) {
    if (count == 1) {
      streams_.push_back({});
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      Stream made;
      const Status status = device.stream_create(made);
      if (status != Status::success) {
        destroy();
        throw DeviceError(status, "cudaStreamCreate");
      }
      streams_.push_back(made);
    }
  }
  ~Streams() { destroy(); }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  /// The stream that use number `i` falls to.
  Stream operator[](std::size_t i) const { return streams_[i % streams_.size()]; }
  std::size_t size() const { return streams_.size(); }

 private:
  void destroy() noexcept {
    for (const Stream stream : streams_)
      if (stream.id != 0) (void)device_.stream_destroy(stream);
    streams_.clear();
  }

  Device& device_;
  std::vector<Stream> streams_;
};

}  // namespace drought
