#include "tests/recorded_life.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>

#include "allocators/direct.hpp"
#include "harness/sched/random.hpp"
#include "tests/life_device.hpp"

namespace drought {
namespace {

class Recorder final : public LogsDecisions::Listener {
 public:
  Recorder(const Life& life, std::uint64_t seed)
      : life_(life),
        random_(seed),
        device_(life.device_bytes, seed),
        direct_(device_, {}),
        caching_(direct_, device_, {.conf = life.conf, .cap_bytes = life.cap_bytes}) {
    caching_.log_decisions_to(this);
    device_.on_completed = [this](std::uint64_t block) { completed(block); };
    trace_.name = life.name;
    trace_.device_traces.resize(1);
    trace_.pools.push_back({});
    for (unsigned pool = 1; pool <= life.pools; ++pool) trace_.pools.push_back({0, pool});
    trace_.settings.conf = life.conf;
  }
  ~Recorder() override {
    caching_.log_decisions_to(nullptr);
    device_.on_completed = [](std::uint64_t) {};
    for (const Block& block : live_) caching_.deallocate(block.data, block.request);
  }

  Trace record() {
    for (std::size_t step = 0; step < life_.steps; ++step) {
      const std::uint64_t what = random_.below(100);
      if (live_.size() >= life_.live_max || (what < 42 && !live_.empty()))
        free(random_.below(live_.size()));
      else
        allocate();
      if (random_.below(8) == 0) device_.complete({1 + random_.below(life_.streams)});
      if (life_.empties && random_.below(150) == 0) caching_.trim();
      if (life_.pools && random_.below(200) == 0) let_go();
      if (random_.below(300) == 0) rush();
    }
    snapshot();
    return std::move(trace_);
  }

  void decided(const Decision& decision) override {
    constexpr TraceAction kActions[] = {TraceAction::segment_alloc, TraceAction::segment_free,
                                        TraceAction::segment_map, TraceAction::segment_unmap,
                                        TraceAction::oom};
    const TraceAction action = kActions[static_cast<std::size_t>(decision.kind)];
    unsigned pool = pool_;
    if (action == TraceAction::segment_free || action == TraceAction::segment_unmap)
      pool = owner_of(decision.address);
    note(action, decision.address, decision.bytes, decision.stream, pool);
    if (action == TraceAction::segment_alloc || action == TraceAction::segment_map)
      for (std::size_t page = 0; page < decision.bytes; page += 2_MiB)
        pages_[decision.address + page] = {decision.stream, pool, action == TraceAction::segment_map};
    if (action == TraceAction::segment_alloc) sizes_[decision.address] = decision.bytes;
    if (action == TraceAction::segment_free || action == TraceAction::segment_unmap)
      for (std::size_t page = 0; page < decision.bytes; page += 2_MiB) pages_.erase(decision.address + page);
  }

 private:
  struct Block {
    void* data;
    Request request;
    unsigned pool;
    std::uint64_t id;
  };
  struct Page {
    std::uint64_t stream;
    unsigned pool;
    bool is_mapped;
  };

  unsigned owner_of(std::uintptr_t address) const {
    return std::prev(pages_.upper_bound(address))->second.pool;
  }

  void note(TraceAction action, std::uint64_t address, std::uint64_t bytes, std::uint64_t stream,
            unsigned pool) {
    TraceEvent event;
    event.action = action;
    event.address = address;
    event.bytes = bytes;
    event.stream = stream;
    event.has_pool = life_.names_pools;
    event.pool = pool;
    trace_.device_traces[0].push_back(event);
  }

  void allocate() {
    const std::size_t bytes = (std::size_t{1} << random_.below(life_.size_bits)) + random_.below(900);
    const Request request{.bytes = bytes, .stream = {1 + random_.below(life_.streams)}, .from = {}};
    pool_ = life_.pools && random_.below(2) ? 1 + static_cast<unsigned>(random_.below(life_.pools)) : 0;
    const PoolId id = trace_.pools[pool_];
    if (pool_) {
      if (held_.insert({pool_, true}).second) caching_.create_pool(id, {});
      caching_.begin_allocate_to_pool(
          id, [](Stream) { return true; }, Pools::Scope::plain);
    }
    void* data = nullptr;
    try {
      data = caching_.allocate(request);
    } catch (const OutOfMemory&) {
    }
    if (pool_) {
      caching_.end_allocate_to_pool(id);
      caching_.release_pool(id);
    }
    if (data) {
      note(TraceAction::alloc, reinterpret_cast<std::uintptr_t>(data), bytes, request.stream.id, pool_);
      live_.push_back({data, request, pool_, ++last_block_});
    } else {
      while (live_.size() > life_.live_max / 2) free(random_.below(live_.size()));
    }
    pool_ = 0;
  }

  void free(std::size_t which) {
    std::swap(live_[which], live_.back());
    const Block block = live_.back();
    live_.pop_back();
    const bool is_used = life_.uses_streams && random_.below(3) == 0;
    if (is_used) caching_.record_stream(block.data, {1 + random_.below(life_.streams)});
    if (is_used) caching_.record_stream(block.data, {1 + random_.below(life_.streams)});
    note(TraceAction::free_requested, reinterpret_cast<std::uintptr_t>(block.data), block.request.bytes,
         block.request.stream.id, block.pool);
    device_.freeing = block.id;
    waiting_[block.id] = block;
    const std::size_t active = caching_.active_bytes();
    caching_.deallocate(block.data, block.request);
    if (caching_.active_bytes() != active) completed(block.id);
  }

  void completed(std::uint64_t id) {
    const Block block = waiting_.at(id);
    waiting_.erase(id);
    note(TraceAction::free_completed, reinterpret_cast<std::uintptr_t>(block.data), block.request.bytes,
         block.request.stream.id, block.pool);
  }

  /// A burst of large requests and then none of them: what fills a device.
  void rush() {
    for (int i = 0; i < 12; ++i) allocate();
    while (live_.size() > life_.live_max / 3) free(random_.below(live_.size()));
  }

  void let_go() {
    const unsigned pool = 1 + static_cast<unsigned>(random_.below(life_.pools));
    const bool is_used =
        std::any_of(live_.begin(), live_.end(), [&](const Block& block) { return block.pool == pool; });
    if (is_used || held_.erase(pool) == 0) return;
    caching_.release_pool(trace_.pools[pool]);
    caching_.trim();
  }

  void snapshot() {
    std::map<std::uintptr_t, std::size_t> free;
    for (const auto& block : caching_.free_blocks()) free[block.address] = block.bytes;
    std::map<std::uintptr_t, SnapshotBlock> lent;
    for (const Block& block : live_) add(lent, block, BlockState::active_allocated);
    for (const auto& [id, block] : waiting_) add(lent, block, BlockState::active_pending_free);
    for (auto page = pages_.begin(); page != pages_.end();) {
      SnapshotSegment segment;
      segment.address = page->first;
      segment.stream = page->second.stream;
      segment.pool = trace_.pools[page->second.pool];
      segment.is_expandable = page->second.is_mapped;
      if (segment.is_expandable)
        for (; page != pages_.end() && page->first == segment.address + segment.bytes; ++page)
          segment.bytes += 2_MiB;
      else
        for (segment.bytes = sizes_.at(segment.address);
             page != pages_.end() && page->first < segment.address + segment.bytes;)
          ++page;
      segment.is_small = segment.bytes == 2_MiB;
      for (std::uintptr_t at = segment.address; at < segment.address + segment.bytes;) {
        const auto hole = free.find(at);
        SnapshotBlock block{at, 0, 0, BlockState::inactive};
        if (hole != free.end()) {
          block.bytes = hole->second;
        } else {
          block = lent.at(at);
          auto after = std::min(next(free, at), next(lent, at));
          block.bytes = std::min(after, segment.address + segment.bytes) - at;
        }
        segment.blocks.push_back(block);
        at += block.bytes;
      }
      trace_.segments.push_back(segment);
    }
  }

  static void add(std::map<std::uintptr_t, SnapshotBlock>& to, const Block& block, BlockState state) {
    const auto address = reinterpret_cast<std::uintptr_t>(block.data);
    to[address] = {address, 0, block.request.bytes, state};
  }
  template <typename Map>
  static std::uintptr_t next(const Map& map, std::uintptr_t at) {
    const auto after = map.upper_bound(at);
    return after == map.end() ? ~std::uintptr_t{0} : after->first;
  }

  const Life& life_;
  Random random_;
  LifeDevice device_;
  Direct direct_;
  Caching caching_;
  Trace trace_;
  unsigned pool_ = 0;
  std::uint64_t last_block_ = 0;
  std::vector<Block> live_;
  std::map<std::uint64_t, Block> waiting_;
  std::map<unsigned, bool> held_;
  std::map<std::uintptr_t, Page> pages_;
  std::map<std::uintptr_t, std::size_t> sizes_;
};

}  // namespace

Trace trace_of(const Life& life, std::uint64_t seed) { return Recorder(life, seed).record(); }

}  // namespace drought
