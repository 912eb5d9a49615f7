// Half of the work, then the error: access is granted to the first part of a range, and cuMemSetAccess
// answers that it failed. The driver walks a range mapping by mapping, and promises nothing about those
// before the one that failed. (cuMemMap maps one handle whole or not at all, so there the parts are the
// handles: out_of_memory at the nth cuMemMap of an allocator that maps page by page.) Survivable: whoever
// unwinds must take the whole range back, and must not take a prefix that can be read for success.
#pragma once

#include <tuple>

#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

class PartialSuccess final : public Fault {
 public:
  struct Options {
    static constexpr auto keys() { return std::tuple<>{}; }
  };
  explicit PartialSuccess(Options) {}

  bool can_strike(Site site) const override { return site == Site::cuMemSetAccess; }
  void strike(Call& call, Scene& scene) override {
    void* const begin = const_cast<void*>(call.data);
    const std::size_t step = scene.device.profile().granularity_bytes;
    const Protection granted = call.writable ? Protection::read_write : Protection::read;
    // Access ends where a mapping ends, which the call does not say.
    for (std::size_t part = round_down(call.bytes / 2, step); part != 0; part -= step)
      if (scene.device.mem_set_access(begin, part, granted) == Status::success) break;
    call.refused = Status::invalid_value;
  }
};

}  // namespace drought
