#include "faults/catalogue.hpp"

#include "faults/bit_flip.hpp"
#include "faults/cache_release.hpp"
#include "faults/capacity_shrinks.hpp"
#include "faults/context_lost.hpp"
#include "faults/delay.hpp"
#include "faults/error_code.hpp"
#include "faults/failed_free.hpp"
#include "faults/fragment.hpp"
#include "faults/late_error.hpp"
#include "faults/leak_reference.hpp"
#include "faults/mem_info_lies.hpp"
#include "faults/out_of_memory.hpp"
#include "faults/partial_success.hpp"
#include "faults/peer_dies.hpp"
#include "faults/peer_grows.hpp"
#include "faults/peer_shrinks.hpp"
#include "faults/rank_dies.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr FaultEntry fault(std::string_view name, std::string_view summary) {
  return entry_of<FaultEntry, Fault, Made>(name, summary);
}

constexpr FaultEntry kFaults[] = {
    fault<OutOfMemoryFault>("out_of_memory", "no memory: the call is refused before anything happened"),
    fault<ErrorCode>("error_code", "another documented error: the call is not made"),
    fault<LateError>("late_error", "the call is made, and answers an error all the same"),
    fault<PartialSuccess>("partial_success", "a part of the range is granted, then the error"),
    fault<FailedFree>("failed_free", "what is given back is gone, and the call says that it failed"),
    fault<CapacityShrinks>("capacity_shrinks", "the device has less memory from now on, and says so"),
    fault<MemInfoLies>("mem_info_lies", "cudaMemGetInfo is stale, or says more or less than there is"),
    fault<ContextLost>("context_lost", "an illegal address ends the context: every later call fails"),
    fault<Delay>("delay", "the call comes late in virtual time, and others go first"),
    fault<Fragment>("fragment", "free memory in pieces: bytes enough, no hole large enough"),
    fault<LeakReference>("leak_reference", "a lease outlives its scope: the memory does not come back"),
    fault<CacheRelease>("cache_release", "the allocator's idle memory goes back in the middle of a run"),
    fault<BitFlip>("bit_flip", "one bit of a freed block, or of a live one, turns over"),
    fault<PeerGrows>("peer_grows", "another process takes memory of the same device"),
    fault<PeerShrinks>("peer_shrinks", "another process gives back memory of the same device"),
    fault<PeerDies>("peer_dies", "another process on the same device ends"),
    fault<RankDies>("rank_dies", "the process that makes the call is killed at it"),
};

}  // namespace

std::span<const FaultEntry> fault_catalogue() { return kFaults; }

}  // namespace drought
