#include "faults/catalogue.hpp"

#include "faults/error_code.hpp"
#include "faults/fragment.hpp"
#include "faults/leak_reference.hpp"
#include "faults/out_of_memory.hpp"
#include "faults/peer_grows.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr FaultEntry fault(std::string_view name, std::string_view summary) {
  return entry_of<FaultEntry, Fault, Made>(name, summary);
}

constexpr FaultEntry kFaults[] = {
    fault<OutOfMemoryFault>("out_of_memory", "no memory: the call is refused before anything happened"),
    fault<ErrorCode>("error_code", "another documented error, before the call or after it"),
    fault<LeakReference>("leak_reference", "a lease outlives its scope: the memory does not come back"),
    fault<Fragment>("fragment", "free memory in pieces: bytes enough, no hole large enough"),
    fault<PeerGrows>("peer_grows", "another process takes memory of the same device"),
};

}  // namespace

std::span<const FaultEntry> fault_catalogue() { return kFaults; }

}  // namespace drought
