// One attention kernel of the catalogue on a server's memory: some parts of its plan are given (the KV
// cache under test), the others it allocates. What the device should hold is kept apart from what it was
// given, so that the oracle judges by what should have been read.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

/// A kernel of the catalogue at a shape. Throws UserError when the catalogue or the shape has a hole.
std::unique_ptr<Kernel> kernel_at(const Rig& rig, std::string_view name, const Table& shape);

class AttentionPass {
 public:
  /// Parts that live already, by name. They outlive this.
  using Given = std::map<std::string_view, void*>;

  /// Allocates every part that is not given from `memory`. Throws what `memory` throws.
  AttentionPass(Rig& rig, int rank, Resource& memory, std::unique_ptr<Kernel> kernel, const Given& given);

  /// Uploads an input. Floating-point data is left out in shapes mode. Throws DeviceError.
  void upload(std::string_view part, std::span<const std::byte> content);
  /// What the oracle is to see for a part. Full mode only; outlives verify().
  void expect(std::string_view part, std::span<const std::byte> content);
  /// Draws an input from the run's seed, uploads and expects it. Throws DeviceError.
  void draw(std::string_view part);
  /// Poisons outputs and workspaces and launches. Throws DeviceError.
  void launch();
  /// Waits; in full mode downloads the outputs, records the comparison and answers a digest of their
  /// bits. Throws DeviceError.
  std::uint64_t verify(std::string_view what);

 private:
  std::size_t index_of(std::string_view part) const;

  Rig& rig_;
  const int rank_;
  const std::unique_ptr<Kernel> kernel_;
  const std::vector<Part> plan_;
  std::vector<Buffer> buffers_;
  std::vector<void*> pointers_;
  std::vector<std::vector<std::byte>> drawn_;
  std::vector<std::span<const std::byte>> expected_;
};

}  // namespace drought
