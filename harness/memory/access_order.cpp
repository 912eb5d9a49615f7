#include "harness/memory/access_order.hpp"

#include <algorithm>

namespace drought {
namespace {

constexpr std::size_t kHost = 0;

}  // namespace

std::size_t AccessOrder::index_of(Stream stream) {
  const auto [found, is_new] = index_.try_emplace(stream.id, clocks_.size());
  if (is_new) clocks_.emplace_back(clocks_.size() + 1);
  return found->second;
}

void AccessOrder::join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

bool AccessOrder::ordered_before(const Touch& access, const Clock& clock) const {
  return access.tick == 0 || (access.stream < clock.size() && access.tick <= clock[access.stream]);
}

void AccessOrder::split_at(std::uintptr_t address) {
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return;
  auto& [begin, range] = *std::prev(after);
  if (begin == address || range.end <= address) return;
  Range upper = range;
  range.end = address;
  ranges_.emplace_hint(after, address, std::move(upper));
}

void AccessOrder::touch(const Operand& operand, const Touch& access, const Clock& clock,
                        std::vector<std::string>& races) {
  if (operand.bytes == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(operand.data);
  const std::uintptr_t end = begin + operand.bytes;
  if (end < begin) return;  // The ledger refuses such an operand by name.
  const bool writes = operand.access != Access::read;
  split_at(begin);
  split_at(end);
  bool reported = false;
  const auto report = [&](const AccessOrder::Touch& earlier, const char* did) {
    if (reported) return;
    reported = true;
    races.push_back(access.who + (writes ? " writes" : " reads") + " what " + earlier.who + " " + did +
                    " on another stream, and nothing orders the two");
  };
  std::uintptr_t at = begin;
  for (auto it = ranges_.lower_bound(begin); at < end;) {
    if (it == ranges_.end() || it->first > at) {
      const std::uintptr_t gap_end = it == ranges_.end() ? end : std::min(end, it->first);
      it = ranges_.emplace_hint(it, at, Range{gap_end, {}, {}});
    }
    Range& range = it->second;
    if (range.write.stream != access.stream && !ordered_before(range.write, clock))
      report(range.write, "wrote");
    if (writes) {
      for (const AccessOrder::Touch& read : range.reads)
        if (read.stream != access.stream && !ordered_before(read, clock)) report(read, "read");
      range.write = access;
      range.reads.clear();
    } else {
      const auto same = std::find_if(range.reads.begin(), range.reads.end(),
                                     [&](const auto& read) { return read.stream == access.stream; });
      if (same == range.reads.end()) {
        range.reads.push_back(access);
      } else {
        *same = access;
      }
    }
    at = range.end;
    ++it;
  }
}

AccessOrder::Clock& AccessOrder::arrive(std::size_t mine, Stream stream) {
  // The legacy default stream waits for every stream, and every stream waits for it.
  if (stream.id == 0) {
    for (std::size_t i = 1; i < clocks_.size(); ++i)
      if (i != mine) join(clocks_[mine], Clock(clocks_[i]));
  } else if (const auto legacy = index_.find(0); legacy != index_.end()) {
    join(clocks_[mine], Clock(clocks_[legacy->second]));
  }
  join(clocks_[mine], Clock(clocks_[kHost]));
  Clock& clock = clocks_[mine];
  if (clock.size() <= mine) clock.resize(mine + 1);
  return clock;
}

std::vector<std::string> AccessOrder::note(const Call& call) {
  std::vector<std::string> races;
  if (call.site != Site::launch && call.site != Site::cudaMemset && call.site != Site::cudaMemcpy &&
      call.site != Site::cudaGraphLaunch)
    return races;
  const std::size_t mine = index_of(call.stream);
  Clock& clock = arrive(mine, call.stream);
  ++clock[mine];
  const std::string_view what = call.kernel.empty() ? name(call.site) : call.kernel;
  for (const Operand& operand : call.operands)
    touch(operand, {mine, clock[mine], std::string(what) + " '" + std::string(operand.name) + "'"}, clock,
          races);
  return races;
}

// The driver lends a freed block to another stream before the free was reached, and makes that stream
// wait for it. Uses that the free did not come after are still unordered.
void AccessOrder::note_pool_call(const Call& call) {
  const auto begin = reinterpret_cast<std::uintptr_t>(call.data);
  const std::size_t mine = index_of(call.stream);
  if (call.site == Site::cudaFreeAsync) {
    const auto block = pool_blocks_.find(begin);
    if (block == pool_blocks_.end()) return;
    freed_.push_back({begin, block->second, arrive(mine, call.stream)});
    pool_blocks_.erase(block);
    return;
  }
  const std::uintptr_t end = begin + call.bytes;
  for (const FreedBlock& freed : freed_)
    if (freed.begin < end && begin < freed.end) join(clocks_[mine], freed.clock);
  // What is lent again in part stays known in whole; its clock is only ever joined once more.
  std::erase_if(freed_, [&](const FreedBlock& freed) { return begin <= freed.begin && freed.end <= end; });
  pool_blocks_[begin] = end;
}

void AccessOrder::completed(const Call& call) {
  if (call.captured) return;
  const auto host_joins = [&](const Clock& clock) { join(clocks_[kHost], clock); };
  switch (call.site) {
    case Site::cudaStreamSynchronize: {
      const std::size_t awaited = index_of(call.stream);  // May add a clock and so move them all.
      host_joins(clocks_[awaited]);
      break;
    }
    case Site::cudaDeviceSynchronize:
    case Site::cudaFree:
      for (std::size_t i = 1; i < clocks_.size(); ++i) host_joins(clocks_[i]);
      ranges_.clear();  // Everything is now ordered before whatever the host enqueues.
      freed_.clear();
      break;
    case Site::cudaEventRecord: {
      const std::size_t recorded = index_of(call.stream);
      events_[call.event] = clocks_[recorded];
      break;
    }
    case Site::cudaStreamWaitEvent: {
      const std::size_t waiting = index_of(call.stream);
      if (const auto event = events_.find(call.event); event != events_.end())
        join(clocks_[waiting], event->second);
      break;
    }
    case Site::cudaEventQuery:
    case Site::cudaEventSynchronize:
      if (const auto event = events_.find(call.event); event != events_.end()) host_joins(event->second);
      break;
    case Site::cudaMallocAsync:
    case Site::cudaFreeAsync:
      note_pool_call(call);
      break;
    default:
      break;
  }
}

void AccessOrder::forget() { *this = AccessOrder(); }

}  // namespace drought
