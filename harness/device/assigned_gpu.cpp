#include "harness/device/assigned_gpu.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

namespace drought {

void keep_to_assigned_gpu() {
  // "id:2,slots:1"; see "Resource Allocation" in ctest(1).
  const char* const variable = std::getenv("CTEST_RESOURCE_GROUP_0_GPUS");
  std::string_view assigned = variable ? variable : "";
  if (!assigned.starts_with("id:")) return;
  assigned.remove_prefix(3);
  setenv("CUDA_VISIBLE_DEVICES", std::string(assigned.substr(0, assigned.find(','))).c_str(), 1);
}

}  // namespace drought
