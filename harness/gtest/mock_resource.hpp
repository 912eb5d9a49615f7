// A resource whose calls a test expects. What no expectation answers it passes on to its upstream; without
// one it has no memory, for a resource never answers null.
#pragma once

#include <gmock/gmock.h>

#include "harness/memory/resource.hpp"

namespace drought {

class MockResource : public Resource {
 public:
  MockResource() {
    ON_CALL(*this, allocate).WillByDefault([](Request request) -> void* {
      throw OutOfMemory(request, "the mock has no upstream");
    });
  }
  /// `upstream` outlives this.
  explicit MockResource(Resource& upstream) {
    ON_CALL(*this, allocate).WillByDefault([&upstream](Request request) {
      return upstream.allocate(request);
    });
    ON_CALL(*this, deallocate).WillByDefault([&upstream](void* block, Request request) {
      upstream.deallocate(block, request);
    });
  }

  MOCK_METHOD(void*, allocate, (Request request), (override));
  MOCK_METHOD(void, deallocate, (void* block, Request request), (noexcept, override));
};

/// Matches a request of so many bytes: EXPECT_CALL(mock, allocate(RequestOf(512))).
MATCHER_P(RequestOf, bytes, (negation ? "does not ask for " : "asks for ") + std::to_string(bytes) + " B") {
  *result_listener << "which asks for " << arg.bytes << " B of '" << arg.tag.view() << "'";
  return arg.bytes == static_cast<std::size_t>(bytes);
}

/// "a request for 512 B of 'kv'": for GoogleTest's messages.
inline void PrintTo(const Request& request, std::ostream* out) {
  *out << "a request for " << request.bytes << " B of '" << request.tag.view() << "'";
}

}  // namespace drought
