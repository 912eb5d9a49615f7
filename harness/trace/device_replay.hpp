// One device's part of a trace on its way through one allocator, under given assumptions about what the
// trace does not say.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/memory/address_table.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/trace/recorded_run.hpp"
#include "harness/trace/replay.hpp"
#include "harness/trace/trace_device.hpp"
#include "harness/trace/trace_driver.hpp"

namespace drought {

/// What is taken to be so. Each names a moment or a bound; what follows from it is predicted.
struct Assumptions {
  std::string conf;
  std::size_t cap_bytes = 0;  ///< 0: no cap.
  bool looks_for_pools = false;
  /// Requests, by event, before which memory went back for another reason than is likely: empty_cache
  /// instead of a refusal, or the other way round.
  std::set<std::size_t> other_cause;
  /// Requests at which waiting frees completed at another moment than is likely: before the search for a
  /// free block instead of after a refusal, or the other way round.
  std::set<std::size_t> other_moment;
};

class DeviceReplay {
 public:
  static constexpr std::size_t kWholeTrace = ~std::size_t{0};

  /// All outlive this.
  DeviceReplay(const RecordedRun& run, const ReplayAllocator& make, const Assumptions& assumed);
  ~DeviceReplay();
  DeviceReplay(const DeviceReplay&) = delete;

  /// Plays the events up to and without the one that `stop` lies in the causes of.
  void play(std::size_t stop = kWholeTrace);
  void compare_segments();
  void add_to(ReplayResult& result) const;

  const Differences& differences() const { return differences_; }
  bool is_compared() const { return logs_ != nullptr; }
  const Resumes* resumes() const { return resumes_; }
  std::size_t calls() const { return calls_; }
  /// The requests at which another assumption could have been made, in order.
  const std::vector<std::size_t>& doubtful() const { return doubtful_; }
  /// The free blocks of one stream, in the order in which they would be searched.
  std::string listing(std::uint64_t stream) const;

 private:
  struct Lent {
    void* data = nullptr;
    std::uint64_t bytes = 0, stream = 0;
    Request request() const { return {.bytes = bytes, .stream = {stream}, .from = {}}; }
  };
  using Owner = RecordedRun::Owner;
  /// Events [begin, end): segments that come and go, and frees that complete, before one event.
  struct Causes {
    std::size_t begin, end;
    bool empty() const { return begin == end; }
  };

  void start_in_the_middle();
  void play_call(Causes causes, std::size_t i);
  void empty_cache(Causes causes);
  void allocate(Causes causes, std::size_t i);
  void run_out(Causes causes, std::size_t i);
  void settle(Causes causes, std::size_t i);
  void check_waits(Causes causes, std::size_t i);
  void request_free(std::size_t i);
  void free(std::size_t i);
  void give_back(Lent* known);
  void complete(Causes causes);
  void trim(Causes causes);

  // Pools.
  void* lend(Causes causes, std::size_t i, const Request& request);
  void* lend_from(PoolId pool, const Request& request);
  void* lend_from_unnamed(Causes causes, const Request& request);
  void let_go_of_pools(Causes causes);
  void note_segments(Causes causes, PoolId pool);
  PoolId pool_at(std::uintptr_t address) const;

  const RecordedRun& run_;
  const std::span<const TraceEvent> events_;
  const Assumptions& assumed_;
  Differences differences_;
  TraceDriver driver_;
  TraceDevice device_;
  std::unique_ptr<Resource> allocator_;
  Trims* trims_ = nullptr;
  ListsFreeBlocks* lists_ = nullptr;
  LogsDecisions* logs_ = nullptr;
  Resumes* resumes_ = nullptr;
  RecordsStreams* streams_ = nullptr;
  Pools* pools_ = nullptr;
  AddressTable<Lent> lent_;
  std::map<std::uintptr_t, std::pair<std::size_t, PoolId>> segments_;  // Only where pools are looked for.
  std::set<PoolId> held_;
  std::vector<PoolId> unnamed_;
  std::vector<std::size_t> doubtful_;
  std::size_t empty_caches_ = 0, pooled_ = 0, refused_ = 0, calls_ = 0;
  std::size_t live_bytes_ = 0, peak_live_bytes_ = 0;
};

}  // namespace drought
