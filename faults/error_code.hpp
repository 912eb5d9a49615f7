// An error that the call documents, answered instead of making the call: nothing happened. Survivable: a
// failed helper call (map, set access, event, host register, launch) must be unwound as carefully as a
// failed allocation; vLLM's cumem allocator lost the physical handle when cuMemMap failed. An error that
// ends the context is no such answer: context_lost ends it.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

/// The error called `error`, or success for "". Throws std::invalid_argument for what no call can answer by
/// itself.
inline Status error_called(const std::string& error) {
  if (error.empty()) return Status::success;
  const Status status = status_from_name(error);
  if (status == Status::success) throw std::invalid_argument("error 'cudaSuccess' is no error");
  if (is_sticky(status))
    throw std::invalid_argument("error '" + error + "' ends the context: use the fault 'context_lost'");
  return status;
}

/// `wanted` where the site documents it (its first error that leaves the context alive for success), else
/// success.
inline Status documented(Site site, Status wanted) {
  for (const Status error : documented_errors(site))
    if (!is_sticky(error) && (wanted == Status::success || error == wanted)) return error;
  return Status::success;
}

class ErrorCode final : public Fault {
 public:
  struct Options {
    std::string error;  ///< The CUDA name; empty: the first error that the call documents.
    static constexpr auto keys() { return std::tuple{key("error", &Options::error)}; }
  };
  /// Throws std::invalid_argument for an error that is not known, or ends the context.
  explicit ErrorCode(Options options) : error_(error_called(options.error)) {}

  // A resource has one way to fail, which out_of_memory imitates; what gives back cannot be refused.
  bool can_strike(Site site) const override {
    return site != Site::allocate && !gives_back(site) && documented(site, error_) != Status::success;
  }
  void strike(Call& call, Scene&) override { call.refused = documented(call.site, error_); }

 private:
  const Status error_;
};

}  // namespace drought
