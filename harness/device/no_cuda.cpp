// Stands in for the cuda lane in a build without nvcc, so that every program says the same thing about
// its absence and none needs to know how it was built.
#if !defined(DROUGHT_HAS_CUDA)

#include "harness/device/cuda_peer.hpp"
#include "harness/device/device.hpp"

namespace drought {

std::unique_ptr<Device> make_cuda_device(const Profile&, const DeviceOptions&, std::string& why_not) {
  why_not = "this build has no cuda lane: nvcc was not found when it was configured";
  return nullptr;
}

int run_cuda_peer(std::istream&, std::ostream&) { return 77; }

}  // namespace drought

#endif
