// What a run leaves behind for its checks. The ledger, the gate and workloads write it; checks read
// nothing else, so that no check knows a workload's type or which bug is switched on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/device/site.hpp"
#include "harness/memory/tag.hpp"

namespace drought {

/// Something a check is about was seen to be wrong while the run went on.
struct Violation {
  std::string check;
  std::string text;
};

/// One try of something that promises a bounded number of tries.
struct Attempt {
  enum class End { running, succeeded, out_of_memory, other_error };
  std::string what;        ///< "auto_profile", "pool grow": attempts are counted per name.
  std::size_t number = 1;  ///< 1 for the first try.
  std::size_t cap = 1;     ///< Tries that the owner allows itself.
  std::size_t size = 0;    ///< What was tried, in the owner's unit; retries of a shrinking owner shrink.
  End end = End::running;
};

/// An allocation that outlived the moment at which it had to be dead.
struct Survivor {
  std::uint64_t id = 0;
  Tag tag;
  std::size_t bytes = 0;
  std::vector<std::string> holders;  ///< "its owner", and each lease's holder.
  std::vector<std::string> users;    ///< Graphs that touch it when launched, and do not keep it alive.
  std::string allocated_at;
  bool charged_to_fault = false;  ///< Only faults hold it.

  std::string text() const;
};

/// "From here on, nothing with these tags that was allocated before may live."
struct TeardownMark {
  std::string phase;
  std::vector<Tag> tags;
  std::vector<Survivor> survivors;
};

/// An answer to "may I touch this part of a map?", beside the truth from the declared spans.
struct SpanAnswer {
  std::string path;  ///< Which of the resolver's ways gave the answer.
  std::uint64_t map_id = 0, offset = 0, bytes = 0;
  bool granted = false, inside_spans = false;
};

/// The digest of an owner's state at two moments between which it had to stay as it was: around a
/// refused request, around a set-up with its teardown, for two ways to ask for the same thing.
struct StateMark {
  std::string what;
  std::uint64_t before = 0, after = 0;
};

/// A kernel's or workload's output beside its reference.
struct OutputComparison {
  std::string what;
  bool within = false;
  std::string text;
};

struct Strike {
  std::size_t fault = 0;   ///< Index among the armed faults.
  std::uint64_t call = 0;  ///< Index of the call among all calls of the run.
  Site site{};
  Tag tag;
  std::size_t bytes = 0;
  bool error = false;    ///< The struck call answered an error.
  bool retried = false;  ///< The same site was called again for the same tag.
};

class Record {
 public:
  void violate(std::string check, std::string text) {
    // A loop that goes wrong a million times says so a thousand times.
    if (violations.size() < 1000) violations.push_back({std::move(check), std::move(text)});
  }
  /// The index to end the attempt with.
  std::size_t begin_attempt(Attempt attempt) {
    attempts.push_back(std::move(attempt));
    return attempts.size() - 1;
  }
  void end_attempt(std::size_t index, Attempt::End end) { attempts[index].end = end; }

  std::vector<Violation> violations;
  std::vector<Attempt> attempts;
  std::vector<TeardownMark> teardowns;
  std::vector<Survivor> live_at_end;
  std::vector<SpanAnswer> span_answers;
  std::vector<StateMark> map_states;  ///< Of a resolver of maps.
  std::vector<OutputComparison> comparisons;
  std::vector<std::uint64_t> output_digests;  ///< What the run computed, for "the same bits".
  std::vector<std::string> fallbacks;         ///< Errors answered by doing something else, by name.
  std::vector<std::string> decisions;         ///< Figures a scenario can expect: "target=548659".
  std::vector<Strike> strikes;
  std::uint64_t allocations = 0, frees = 0, launches = 0, ordered_accesses = 0, judged_operands = 0,
                judged_registrations = 0, looked_at_blocks = 0;
  std::size_t peak_bytes = 0;
};

}  // namespace drought
