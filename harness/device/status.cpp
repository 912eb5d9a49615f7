#include "harness/device/status.hpp"

#include <array>
#include <utility>

namespace drought {
namespace {

constexpr std::array<std::pair<Status, std::string_view>, 26> kNames{{
    {Status::success, "cudaSuccess"},
    {Status::invalid_value, "cudaErrorInvalidValue"},
    {Status::memory_allocation, "cudaErrorMemoryAllocation"},
    {Status::initialization_error, "cudaErrorInitializationError"},
    {Status::invalid_device_pointer, "cudaErrorInvalidDevicePointer"},
    {Status::devices_unavailable, "cudaErrorDevicesUnavailable"},
    {Status::invalid_resource_handle, "cudaErrorInvalidResourceHandle"},
    {Status::illegal_state, "cudaErrorIllegalState"},
    {Status::not_ready, "cudaErrorNotReady"},
    {Status::illegal_address, "cudaErrorIllegalAddress"},
    {Status::launch_out_of_resources, "cudaErrorLaunchOutOfResources"},
    {Status::launch_timeout, "cudaErrorLaunchTimeout"},
    {Status::host_memory_already_registered, "cudaErrorHostMemoryAlreadyRegistered"},
    {Status::host_memory_not_registered, "cudaErrorHostMemoryNotRegistered"},
    {Status::hardware_stack_error, "cudaErrorHardwareStackError"},
    {Status::misaligned_address, "cudaErrorMisalignedAddress"},
    {Status::launch_failure, "cudaErrorLaunchFailure"},
    {Status::not_supported, "cudaErrorNotSupported"},
    {Status::stream_capture_unsupported, "cudaErrorStreamCaptureUnsupported"},
    {Status::stream_capture_invalidated, "cudaErrorStreamCaptureInvalidated"},
    {Status::stream_capture_merge, "cudaErrorStreamCaptureMerge"},
    {Status::stream_capture_unjoined, "cudaErrorStreamCaptureUnjoined"},
    {Status::stream_capture_isolation, "cudaErrorStreamCaptureIsolation"},
    {Status::stream_capture_implicit, "cudaErrorStreamCaptureImplicit"},
    {Status::captured_event, "cudaErrorCapturedEvent"},
    {Status::unknown, "cudaErrorUnknown"},
}};

}  // namespace

std::string name(Status status) {
  for (const auto& [known, text] : kNames)
    if (known == status) return std::string(text);
  return "cudaError(" + std::to_string(static_cast<int>(status)) + ")";
}

Status status_from_name(std::string_view text) {
  std::string known;
  for (const auto& [status, its_name] : kNames) {
    if (its_name == text) return status;
    known += known.empty() ? "" : ", ";
    known += its_name;
  }
  throw std::invalid_argument("unknown error '" + std::string(text) + "'; known: " + known);
}

bool is_sticky(Status status) {
  switch (status) {
    case Status::illegal_address:
    case Status::launch_timeout:
    case Status::hardware_stack_error:
    case Status::misaligned_address:
    case Status::launch_failure:
      return true;
    default:
      return false;
  }
}

}  // namespace drought
