// The cuda lane of a build without nvcc: there is none, and the caller is told why.
#if !defined(DROUGHT_HAS_CUDA)

#include <string>

#include "harness/device/cuda_peer.hpp"
#include "harness/device/cuda_timer.hpp"
#include "harness/device/device.hpp"

namespace drought {

std::unique_ptr<Device> make_cuda_device(const Profile&, const DeviceOptions&, std::string& why_not) {
  why_not = "this build has no cuda lane: nvcc was not found or DROUGHT_CUDA is OFF";
  return nullptr;
}

std::optional<double> cuda_milliseconds(const std::function<void()>&) { return {}; }

int run_cuda_peer(std::istream&, std::ostream&) { return 77; }

}  // namespace drought

#endif
