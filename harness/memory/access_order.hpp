// Which work is ordered before which: a vector clock for the host, each stream and each event. Two
// accesses to one byte, at least one a write, from streams that no event, synchronisation or default
// stream orders are a race, whether or not this run's interleaving showed it.
//
// Accesses are kept by address, not by allocation: a block that a stream still uses when its memory
// is handed to somebody else is then seen at the new owner's first unordered use, and memory that came
// back through cudaFree, which waits, is not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/device/call.hpp"
#include "harness/device/launch.hpp"

namespace drought {

class AccessOrder {
 public:
  /// Text for each race that this call's operands are part of; empty when the call is ordered.
  /// Call once for every call that is made, before it is. O(operands * log(known ranges)).
  std::vector<std::string> note(const Call& call);
  /// After the call, when it answered success: what it now orders. Nothing for a captured call.
  void completed(const Call& call);
  /// The device came to rest (a fresh run on the same device).
  void forget();

 private:
  using Clock = std::vector<std::uint64_t>;
  struct Touch {
    std::size_t stream = 0;  ///< Index of the stream's clock; 0 is the host.
    std::uint64_t tick = 0;
    std::string who;  ///< "decode_attention 'out'".
  };
  struct Range {
    std::uintptr_t end = 0;
    Touch write;
    std::vector<Touch> reads;  ///< At most one a stream.
  };

  /// A block of the stream-ordered pool that was freed: what came before the free, in `clock`.
  struct FreedBlock {
    std::uintptr_t begin = 0, end = 0;
    Clock clock;
  };

  void note_pool_call(const Call& call);
  std::size_t index_of(Stream stream);
  /// The stream's clock with all that its next work comes after.
  Clock& arrive(std::size_t mine, Stream stream);
  static void join(Clock& into, const Clock& from);
  bool ordered_before(const Touch& access, const Clock& clock) const;
  void touch(const Operand& operand, const Touch& access, const Clock& clock,
             std::vector<std::string>& races);
  void split_at(std::uintptr_t address);

  std::unordered_map<std::uint64_t, std::size_t> index_;  ///< Stream id to clock index.
  std::vector<Clock> clocks_{Clock(1)};                   ///< [0] is the host's.
  std::unordered_map<std::uint64_t, Clock> events_;
  std::map<std::uintptr_t, Range> ranges_;
  std::map<std::uintptr_t, std::uintptr_t> pool_blocks_;  ///< Live ones: begin to end.
  std::vector<FreedBlock> freed_;
};

}  // namespace drought
