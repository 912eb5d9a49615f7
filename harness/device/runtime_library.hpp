// Shared libraries that call CUDA's runtime, loaded so that their calls reach a drought Device: on the host
// lane an unmodified library runs without a GPU, and on both lanes each of its calls is a step and a fault
// point. A stand-in for libcudart.so.13 (and .12) lies inside this executable and is loaded first, from
// memory, so a binary that was carried to another machine brings it along; the loader then takes it for the
// library that the user's was linked against, and for whoever was linked against none.
//
// A library that brings the runtime in it (nvcc's default, -cudart static) or calls the driver itself
// (libcuda) is not seen. One with kernels is refused when it is loaded.
#pragma once

#include <string>

#include "harness/device/device.hpp"
#include "harness/memory/tag.hpp"

namespace drought {

/// While one lives, this thread's calls of the runtime go to `device`, under `tag`. They nest, and a call
/// that lets another fiber run comes back to the device that it was made on. Without one, every call
/// answers cudaErrorInitializationError.
class RuntimeScope {
 public:
  explicit RuntimeScope(Device& device, Tag tag = {});
  ~RuntimeScope();
  RuntimeScope(const RuntimeScope&) = delete;
  RuntimeScope& operator=(const RuntimeScope&) = delete;

 private:
  Device* const device_before_;
  const Tag tag_before_;
};

/// What a stream is to a user's library, a cudaStream_t; null is the legacy stream.
void* runtime_stream(Stream stream);

/// A library with globals of its own: each object loads a private copy of the file, so that what one run
/// leaves in them does not reach the next. Such a copy finds no neighbours by $ORIGIN.
class RuntimeLibrary {
 public:
  /// `path` empty: the example that lies inside this executable. Its constructors run on `device`, which
  /// outlives this. Throws std::invalid_argument, in one line, when the file cannot be loaded.
  RuntimeLibrary(const std::string& path, Device& device);
  /// Its destructors run on the device.
  ~RuntimeLibrary();
  RuntimeLibrary(const RuntimeLibrary&) = delete;
  RuntimeLibrary& operator=(const RuntimeLibrary&) = delete;

  /// Throws std::invalid_argument, in one line, when there is no such symbol.
  void* symbol(const std::string& name) const;

 private:
  Device& device_;
  const std::string name_;
  int file_ = -1;
  void* handle_ = nullptr;
};

}  // namespace drought
