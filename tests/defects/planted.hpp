// A planted mistake: what a sound small allocator or workload of this folder does wrong, once it is asked to,
// and only after a call has failed. Each is one that production code has made: a block or handle that is
// forgotten when the next call is refused, a status that nobody reads, a waiter whom a failure never wakes.
#pragma once

#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "harness/scenario/key.hpp"

namespace drought {

struct Defect {
  std::string_view name, what;  ///< What it does wrong, in a few words.
  std::string_view verdict;     ///< What a sweep calls at least one of its points.
};

/// Which mistake a subject makes.
class Planted {
 public:
  struct Options {
    std::string defect = "none";
    static constexpr auto keys() { return std::tuple{key("defect", &Options::defect)}; }
  };
  explicit Planted(Options options) : name_(std::move(options.defect)) {}
  /// Whether it is this one.
  bool operator()(std::string_view defect) const { return name_ == defect; }

 private:
  std::string name_;
};

}  // namespace drought
