// One kernel at one shape with memory from the resource under test: allocate every part of its plan,
// fill, launch, compare with the float64 oracle. Outputs and workspaces start as NaN (0xFF bytes), so
// that what the kernel did not write is seen.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

class KernelCall {
 public:
  struct Where {
    int rank = 0;
    Stream stream{};
    Resource* memory = nullptr;    ///< Null: the topmost resource of the rank's chain.
    bool given_is_filled = false;  ///< Given inputs hold what fill() would write, and are only read.
  };
  /// Parts that live already, by name: at least as large as the plan asks.
  using Given = std::map<std::string_view, void*>;

  /// Allocates every part that is not given, each under its own name as tag. `kernel` outlives this.
  /// Throws what the resource throws; what was allocated by then is given back. MissingLibrary when the
  /// kernel is to run and needs a library that is not here.
  KernelCall(Rig& rig, const Kernel& kernel, Where where, const Given& given = {});

  /// Uploads the inputs drawn from `seed` and poisons outputs and workspaces. Throws DeviceError.
  void fill(std::uint64_t seed);
  /// Enqueues the operation. Throws DeviceError when a launch is refused.
  void launch();
  /// Waits, downloads every output, and records the comparison and a digest of the output's bits. In
  /// shapes mode it only waits. Throws DeviceError.
  void verify();

  void* part(std::string_view name) const;
  /// The bits of the outputs after verify(), part after part.
  const std::vector<std::byte>& outputs() const { return outputs_; }

 private:
  std::vector<std::span<const std::byte>> views() const;

  Rig& rig_;
  const Kernel& kernel_;
  const Where where_;
  std::vector<Part> plan_;
  std::vector<Buffer> buffers_;
  std::vector<void*> pointers_;
  std::vector<std::vector<std::byte>> host_;  ///< What the host holds of each part.
  std::vector<std::byte> outputs_;
};

}  // namespace drought
