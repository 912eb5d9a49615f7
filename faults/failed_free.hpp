// A free that fails: the call is made and answers an error all the same, for giving back cannot be
// refused, it can only report what earlier work did ("may also return error codes from previous,
// asynchronous launches"). The block is gone. Survivable: whoever believes the error and keeps the block in
// its books frees it twice or lends it again; whoever retries the free frees what is somebody else's.
#pragma once

#include <string>
#include <tuple>

#include "faults/error_code.hpp"

namespace drought {

class FailedFree final : public Fault {
 public:
  struct Options {
    std::string error;  ///< The CUDA name; empty: the first error that the call documents.
    static constexpr auto keys() { return std::tuple{key("error", &Options::error)}; }
  };
  /// Throws std::invalid_argument for an error that is not known, or ends the context.
  explicit FailedFree(Options options) : error_(error_called(options.error)) {}

  bool can_strike(Site site) const override {
    return gives_back(site) && documented(site, error_) != Status::success;
  }
  void strike(Call& call, Scene&) override { call.answer = documented(call.site, error_); }

 private:
  const Status error_;
};

}  // namespace drought
