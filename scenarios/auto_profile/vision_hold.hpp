// The visual server's half of the reserve-then-yield contract: it runs its worst case before the language
// model starts and never gives the memory back, so that whoever reads the driver's free memory afterwards
// does not count on it. Here it is another process on the same device that holds what a vision tower's
// worst case takes.
#pragma once

#include <cstddef>

#include "harness/device/device.hpp"

namespace drought {

/// Another process on `device` that holds `bytes` while this lives. The device outlives it.
class VisionHold {
 public:
  /// Throws DeviceError when the bytes are not there.
  VisionHold(Device& device, std::size_t bytes);
  ~VisionHold();
  VisionHold(const VisionHold&) = delete;
  VisionHold& operator=(const VisionHold&) = delete;

 private:
  Device& device_;
};

}  // namespace drought
