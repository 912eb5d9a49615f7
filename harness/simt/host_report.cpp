// What a launch that failed says of itself. Nothing in it is an address, so that two runs say the same.
#include <cstddef>
#include <string>
#include <utility>

#include "harness/simt/host_block.hpp"

namespace drought {
namespace {

std::string text(Dim3 at) {
  return "(" + std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z) + ")";
}

}  // namespace

std::string HostBlock::describe_geometry(const Launch& launch) {
  return std::string(launch.kernel) + ": a grid of " + text(launch.grid) + " blocks of " +
         text(launch.block) + " threads does not run on any chip";
}

std::string HostBlock::describe_place() const {
  return std::string(launch_->kernel) + ", block " + text(index_);
}

std::string HostBlock::describe_fault() const {
  std::string said = describe_place() + ", thread " + std::to_string(fault_.thread) + " " + fault_.wrong;
  if (fault_.operand) {
    said +=
        " '" + std::string(fault_.operand->name) + "' (" + std::to_string(fault_.operand->bytes) + " bytes)";
  }
  if (fault_.has_offset) said += " at byte " + std::to_string(fault_.offset);
  if (!fault_.address) return said;
  // Absolute addresses differ from run to run, so an address is told by the operand it lies near.
  for (const Operand& operand : launch_->operands) {
    const auto offset =
        static_cast<const std::byte*>(fault_.address) - static_cast<const std::byte*>(operand.data);
    if (offset < 0 || static_cast<std::size_t>(offset) >= operand.bytes) continue;
    said += ", in '" + std::string(operand.name) + "' at byte " + std::to_string(offset);
  }
  return said;
}

std::string HostBlock::describe_deadlock() const {
  constexpr std::pair<State, const char*> kPlaces[] = {{State::at_sync, "at sync"},
                                                       {State::at_sync_warp, "at sync_warp"},
                                                       {State::at_collective, "in a warp's collective"},
                                                       {State::ended, "at the end"}};
  std::string said = describe_place() + " is stuck:";
  const char* separator = " ";
  for (const auto& [state, where] : kPlaces) {
    std::string threads;
    for (unsigned t = 0; t < count_; ++t) {
      if (threads_[t].state != state) continue;
      unsigned last = t;
      while (last + 1 < count_ && threads_[last + 1].state == state) ++last;
      threads += (threads.empty() ? "" : ",") + std::to_string(t);
      if (last != t) threads += "-" + std::to_string(last);
      t = last;
    }
    if (threads.empty()) continue;
    said += separator + ("threads " + threads) + " " + where;
    separator = "; ";
  }
  return said;
}

}  // namespace drought
