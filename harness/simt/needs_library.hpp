// Libraries that kernels open at run time: OpenBLAS for simulated devices, cuBLAS for real ones. Neither is
// linked, so that a binary runs where they are not; what needs one is then skipped, and says so.
#pragma once

#include <stdexcept>

#include "harness/device/device.hpp"

namespace drought {

/// The library is not on this machine, in one line that names it and the package that has it.
class MissingLibrary : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A kernel whose launches call a library; asked for by dynamic_cast.
class NeedsLibrary {
 public:
  virtual ~NeedsLibrary() = default;
  /// Opens what launches on the lane will call, once a process: no capture may be under way. Throws
  /// MissingLibrary. A launch without it answers not_supported.
  virtual void open_library(Lane lane) const = 0;
};

}  // namespace drought
