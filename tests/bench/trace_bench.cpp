// Recorded traces: how fast one is read, and how fast the caching allocator replays it.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "allocators/catalogue.hpp"
#include "harness/scenario/table.hpp"
#include "harness/trace/replay.hpp"
#include "harness/trace/snapshot.hpp"
#include "tests/bench/benches.hpp"
#include "tests/source_root.hpp"

namespace drought {
namespace {

// The program that recorded it trained a six-layer GPT-2: 6,057 allocations.
std::string gpt_train() { return source_path("tests/data/gpt_train.pickle"); }

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
  benchmark::RegisterBenchmark("replay/gpt_train", replay_caching)->UseManualTime()->Iterations(50);
}

}  // namespace drought
