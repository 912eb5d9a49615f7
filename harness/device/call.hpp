// A call on its way to the device or a resource, as triggers, faults and the ledger see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "harness/device/launch.hpp"
#include "harness/device/site.hpp"
#include "harness/device/status.hpp"
#include "harness/memory/resource.hpp"

namespace drought {

struct MemInfo;

struct Call {
  Site site{};
  std::size_t bytes = 0;
  Tag tag{};
  Stream stream{};
  const void* data = nullptr;           ///< The address the call names, if it names one.
  std::span<const Operand> operands{};  ///< Ranges that a launch, copy or fill touches.
  std::string_view kernel{};            ///< Of a launch.
  bool declared = true;                 ///< false: not to be judged by the ledger.
  bool captured = false;                ///< Recorded into a graph, and not run now.
  std::uint64_t graph = 0;              ///< Of a call that makes, launches or ends a graph's instance.
  std::shared_ptr<Block> block{};       ///< Of a release: what the owner lets go of.
  std::uint64_t event = 0;              ///< Of an event call.
  std::string_view resource{};          ///< Of allocate, deallocate and release: whose.
  Resource* lender = nullptr;           ///< Of allocate: the resource that is about to lend.
  MemInfo* info = nullptr;              ///< Of cudaMemGetInfo: what the caller is about to read.
  bool writable = false;                ///< Of cuMemSetAccess.
  void* const* lent = nullptr;          ///< Of cudaMalloc: where leave() finds the address that was lent.

  /// Set before the call: it is not made, and this is the answer.
  std::optional<Status> refused{};
  /// Set before the call: it is made, and this is answered all the same.
  std::optional<Status> answer{};
  std::uint64_t delay_steps = 0;  ///< Set before the call: its process waits so long first.
  bool kills_process = false;     ///< Set before the call: it is the last of its process.
  std::uint64_t struck_by = 0;    ///< A bit for each armed fault that struck.
};

/// What stands between a caller and the device. One gate sees every call of a run, in order.
class CallGate {
 public:
  virtual ~CallGate() = default;
  /// May refuse the call or replace its answer, and may run other fibers first.
  virtual void enter(Call& call) = 0;
  /// `status` is what the caller is about to get.
  virtual void leave(Call& call, Status status) noexcept = 0;
};

}  // namespace drought
