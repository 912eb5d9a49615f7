// What a CUDA call answers. The numbers are cudaError_t's, which the driver's CUresult shares for
// every code listed here, so one type serves both interfaces and both lanes.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace drought {

enum class [[nodiscard]] Status : int{
    success = 0,
    invalid_value = 1,
    memory_allocation = 2,
    initialization_error = 3,
    devices_unavailable = 46,
    invalid_device_pointer = 17,
    invalid_resource_handle = 400,
    illegal_state = 401,
    not_ready = 600,
    illegal_address = 700,
    launch_out_of_resources = 701,
    launch_timeout = 702,
    host_memory_already_registered = 712,
    host_memory_not_registered = 713,
    hardware_stack_error = 714,
    misaligned_address = 716,
    launch_failure = 719,
    not_supported = 801,
    stream_capture_unsupported = 900,
    stream_capture_invalidated = 901,
    stream_capture_merge = 902,
    stream_capture_unjoined = 904,
    stream_capture_isolation = 905,
    stream_capture_implicit = 906,
    captured_event = 907,
    unknown = 999,
};

/// The runtime's name, "cudaErrorMemoryAllocation"; "cudaError(n)" for a code that is not listed.
std::string name(Status status);

/// The reverse, for scenario files; throws std::invalid_argument that lists the known names.
Status status_from_name(std::string_view name);

/// After one of these the context answers every later call with the same error.
bool is_sticky(Status status);

/// A device call that failed for another reason than memory. Resources throw it.
class DeviceError : public std::runtime_error {
 public:
  DeviceError(Status status, std::string_view call)
      : std::runtime_error(std::string(call) + " answered " + name(status)), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

}  // namespace drought
