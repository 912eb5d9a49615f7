// A user's own allocator in a shared library, through the two functions of PyTorch's pluggable allocator
// (CUDAPluggableAllocator): the library that runs in production runs here unchanged, and each call that it
// makes of CUDA's runtime passes drought's device, so it can be struck. What it cannot see is listed in
// harness/device/runtime_library.hpp. Two fibers must not be inside one library at once: its locks are real.
//
//   void* alloc(ssize_t bytes, int device, cudaStream_t stream)      null: no memory
//   void free(void* block, ssize_t bytes, int device, cudaStream_t stream)
//
// An exception that alloc throws passes through as it is, as it does in PyTorch, and a run takes it for a
// crash; one that free throws is kept, and the next allocate throws it.
#pragma once

#include <sys/types.h>

#include <string>
#include <tuple>

#include "harness/device/runtime_library.hpp"
#include "harness/memory/address_table.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class SharedObject final : public Resource {
 public:
  struct Options {
    std::string library;  ///< A path; empty: the example of allocators/pluggable/example.cpp.
    std::string alloc = "example_alloc", free = "example_free";
    static constexpr auto keys() {
      return std::tuple{key("library", &Options::library), key("alloc", &Options::alloc),
                        key("free", &Options::free)};
    }
  };

  /// `device` outlives this; the library knows it as device 0. Throws std::invalid_argument for a library
  /// or a symbol that is not there.
  SharedObject(Device& device, Options options);

  /// Null from the library is OutOfMemory, with the error that the device's last-error slot held, which is
  /// taken from there; DeviceError when that error has ended the context. Alignment is the library's.
  void* allocate(Request request) override;
  void deallocate(void* block, Request request) noexcept override;

  /// Blocks that deallocate did not know, and left alone.
  std::size_t refused_frees() const { return refused_frees_; }

 private:
  using Alloc = void*(ssize_t bytes, int device, void* stream);
  using Free = void(void* block, ssize_t bytes, int device, void* stream);

  void give_back(void* block, const Request& request) noexcept;

  Device& device_;
  const Options options_;
  RuntimeLibrary library_;
  Alloc* const alloc_;
  Free* const free_;
  AddressTable<Request> lent_;
  std::string free_threw_;
  std::size_t refused_frees_ = 0;
};

}  // namespace drought
