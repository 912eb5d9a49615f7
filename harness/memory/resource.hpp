// A resource lends memory. What it borrows from is its upstream; the innermost upstream is the
// device. Allocators are resources over resources, so that one can stand wherever another does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "harness/memory/call_site.hpp"
#include "harness/memory/tag.hpp"

namespace drought {

/// A stream by its handle; 0 is the legacy default stream. The device that made it owns it.
struct Stream {
  std::uint64_t id = 0;
  friend constexpr bool operator==(Stream, Stream) = default;
  friend constexpr auto operator<=>(Stream, Stream) = default;
};

/// What is asked for. The same request is handed back at deallocation; bytes of 0 are a mistake.
struct Request {
  std::size_t bytes = 0;
  std::size_t alignment = 256;  ///< A power of two.
  Stream stream{};              ///< Where the block is first used, and in whose order it is freed.
  Tag tag{};
  CallSite from = CallSite::here();
};

/// No memory. Whoever throws it has given back what it took for the failed request.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const Request& request, std::string_view reason = "");
  const char* what() const noexcept override { return text_.c_str(); }
  const Request& request() const noexcept { return request_; }

 private:
  Request request_;
  std::string text_;
};

struct Block;

class Resource {
 public:
  Resource() = default;
  Resource(const Resource&) = delete;
  Resource& operator=(const Resource&) = delete;
  virtual ~Resource() = default;

  /// Never null. Throws OutOfMemory, or DeviceError when the device is past use.
  virtual void* allocate(Request request) = 0;
  /// `request` as it was given to allocate. Order against work on request.stream is kept.
  virtual void deallocate(void* block, Request request) noexcept = 0;

  /// A buffer's owner lets go of `block`, which is returned unless somebody leases it now.
  virtual void releasing(const std::shared_ptr<Block>&) noexcept {}
  /// A lease under `holder` on the block at `data` begins or ends.
  virtual void lease_changed(void* /*data*/, std::string_view /*holder*/, bool /*begins*/) noexcept {}
};

}  // namespace drought
