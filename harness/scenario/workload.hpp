// A workload: what runs, a memory manager with its kernels. It takes all it needs from the rig and tells
// the rig's record what happened; it never asks which faults are armed.
#pragma once

#include <stdexcept>
#include <string>

namespace drought {

class Rig;

class Workload {
 public:
  virtual ~Workload() = default;
  /// Returns when it completed. Throws OutOfMemory or DeviceError, having given everything back, for a
  /// clean error; Fatal for its own diagnostic. Anything else is a crash.
  virtual void run(Rig& rig) = 0;
};

/// A workload's own last word: it looked, found that it cannot go on, and says why.
class Fatal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace drought
