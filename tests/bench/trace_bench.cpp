// Recorded traces: how fast one is read, and how fast the caching allocator replays it.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <sstream>

#include "allocators/catalogue.hpp"
#include "harness/scenario/table.hpp"
#include "harness/sched/random.hpp"
#include "harness/trace/refit.hpp"
#include "harness/trace/snapshot.hpp"
#include "harness/trace/snapshot_writer.hpp"
#include "tests/bench/benches.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

// The program that recorded it trained a six-layer GPT-2: 6,057 allocations.
std::string gpt_train() { return source_path("tests/data/gpt_train.pickle"); }

// Two million events as our own writer puts them: 50 bytes each, the densest that a pickle of a trace is.
std::string synthetic() {
  Trace trace;
  auto& events = trace.device_traces.emplace_back();
  Random random(1);
  std::vector<TraceEvent> live;
  TraceEvent event;
  event.time_us = 1'795'239'202'673'495;
  while (events.size() < 2'000'000) {
    event.time_us += static_cast<std::int64_t>(random() % 50);
    if (live.size() < 1000 || (live.size() < 3000 && random() % 2 != 0)) {
      event.action = TraceAction::alloc;
      event.bytes = 512 + random() % 8_MiB;
      event.address = (events.size() + 1) * 16_MiB;
      live.push_back(event);
      events.push_back(event);
      continue;
    }
    std::swap(live[random() % live.size()], live.back());
    TraceEvent freed = live.back();
    live.pop_back();
    freed.time_us = event.time_us;
    for (const TraceAction action : {TraceAction::free_requested, TraceAction::free_completed}) {
      freed.action = action;
      events.push_back(freed);
    }
  }
  std::ostringstream out;
  write_snapshot(out, trace);
  return out.str();
}

void parse_synthetic(benchmark::State& state) {
  const std::string bytes = synthetic();
  std::size_t events = 0;
  double tree_bytes = 0;
  for (auto _ : state) {
    const Snapshot snapshot = read_snapshot(pickle::Document::parse("synthetic", bytes));
    events += snapshot.device_traces.at(0).size();
    tree_bytes = static_cast<double>(snapshot.document.tree_bytes());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
  state.counters["tree_per_file_byte"] = tree_bytes / static_cast<double>(bytes.size());
}

// The same events through caching on a device of their own: what a what-if replay takes.
void refit_caching(benchmark::State& state) {
  const Snapshot snapshot = read_snapshot(gpt_train());
  const auto chain = [](Device& device) {
    ResourceChain made;
    made.push_back(find_entry(allocator_catalogue(), "direct")->make(Table(), nullptr, device));
    made.push_back(find_entry(allocator_catalogue(), "caching")->make(Table(), made.back().get(), device));
    return made;
  };
  for (auto _ : state) state.SetIterationTime(refit(snapshot, chain, {}).report.result.ns_per_op * 1e-9);
}

void parse(benchmark::State& state) {
  std::size_t events = 0;
  for (auto _ : state)
    for (const auto& trace : read_snapshot(gpt_train()).device_traces) events += trace.size();
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
  state.SetBytesProcessed(static_cast<std::int64_t>(std::filesystem::file_size(gpt_train())) *
                          state.iterations());
}

// An iteration's time is that of one allocate or deallocate: replaying and comparing, without parsing.
void replay_caching(benchmark::State& state) {
  const Snapshot snapshot = read_snapshot(gpt_train());
  const AllocatorEntry& caching = *find_entry(allocator_catalogue(), "caching");
  for (auto _ : state) {
    const ReplayResult result = replay(snapshot, [&](Resource& upstream, Device& device) {
      return caching.make(Table("bench", {}), &upstream, device);
    });
    if (result.differences != 0) return state.SkipWithError(result.first_difference.c_str());
    state.SetIterationTime(result.ns_per_op * 1e-9);
  }
}

}  // namespace

void register_trace_benches() {
  benchmark::RegisterBenchmark("parse/gpt_train", parse);
  benchmark::RegisterBenchmark("parse/synthetic_2m", parse_synthetic)->Iterations(3);
  benchmark::RegisterBenchmark("refit/gpt_train", refit_caching)->UseManualTime()->Iterations(50);
  benchmark::RegisterBenchmark("replay/gpt_train", replay_caching)->UseManualTime()->Iterations(50);
}

}  // namespace drought
