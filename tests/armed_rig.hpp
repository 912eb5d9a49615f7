// A rig with a chain and faults written as a scenario would, armed: what the tests of faults call.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/scenario_text.hpp"

namespace drought {

/// A rig over the chain and faults written in `toml`, armed.
class ArmedRig {
 public:
  explicit ArmedRig(std::string_view toml)
      : scenario_(scenario_of(std::string(toml) + "\n[workload]\nkind = 'churn'")),
        rig_(scenario_, all_catalogues(), {}) {
    for (const FaultSection& fault : scenario_.faults) rig_.arm(fault, true);
  }
  Rig* operator->() { return &rig_; }
  Resource& memory() { return rig_.memory(); }
  std::size_t free_bytes() {
    MemInfo info;
    EXPECT_EQ(rig_.device().mem_info(info), Status::success);
    return info.free_bytes;
  }

 private:
  const Scenario scenario_;
  Rig rig_;
};

inline constexpr const char* kDirect = "[device]\nprofile = 'h100-80g'\nwork = 'shapes'\n";

}  // namespace drought
