// An error that the call documents: answered instead of making the call, or after it was made. A call
// that gives something back is always made, for such a call can only report what earlier work did.
// Survivable where the error is not sticky: a failed helper call (map, event, register) must be unwound
// as carefully as a failed allocation.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>

#include "harness/fault/fault.hpp"
#include "harness/fault/plan.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class ErrorCode final : public Fault {
 public:
  struct Options {
    std::string error;   ///< The CUDA name; empty: the first error that the call documents.
    bool after = false;  ///< The call is made all the same.
    static constexpr auto keys() {
      return std::tuple{key("error", &Options::error), key("after", &Options::after)};
    }
  };
  /// Throws std::invalid_argument for an error that is not known.
  explicit ErrorCode(Options options)
      : after_(options.after),
        error_(options.error.empty() ? Status::success : status_from_name(options.error)) {
    if (!options.error.empty() && error_ == Status::success)
      throw std::invalid_argument("error 'cudaSuccess' is no error");
  }

  bool can_strike(Site site) const override {
    const auto errors = documented_errors(site);
    // A resource has one way to fail, which out_of_memory imitates.
    if (errors.empty() || site == Site::allocate) return false;
    return error_ == Status::success || std::find(errors.begin(), errors.end(), error_) != errors.end();
  }
  void strike(Call& call, Scene&) override {
    const Status answer = error_ == Status::success ? documented_errors(call.site).front() : error_;
    (after_ || gives_back(call.site) ? call.answer : call.refused) = answer;
  }

 private:
  const bool after_;
  const Status error_;
};

}  // namespace drought
