// A kernel touches one element beside its buffer, through a launch that nothing judges: an index that is
// off by one, as production meets it. What then shows depends on the allocator alone: plain cudaMalloc lets
// it pass, a guarded block ends the context at the fence or is found damaged when it is freed.
#pragma once

#include <string>
#include <tuple>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class Overrun final : public Workload {
 public:
  struct Options {
    std::string access = "read";  ///< read: of a 4 KiB buffer; write: of one of 508 B.
    std::string side = "after";   ///< after the last element, or before the first.
    std::size_t alignment = 256;
    static constexpr auto keys() {
      return std::tuple{key("access", &Options::access), key("side", &Options::side),
                        key("alignment", &Options::alignment)};
    }
  };
  explicit Overrun(Options options);
  void run(Rig& rig) override;

 private:
  bool writes_ = false, before_ = false;
  const std::size_t alignment_;
};

}  // namespace drought
