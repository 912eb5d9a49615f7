// One allocate and free that the allocator serves from what it holds, for each of the catalogue: bare, under
// an account, and with ten faults armed besides. The differences are what the ledger and the triggers cost.
#include <benchmark/benchmark.h>

#include <utility>
#include <vector>

#include "allocators/catalogue.hpp"
#include "tests/bench/benches.hpp"
#include "tests/conformance.hpp"

namespace drought {
namespace {

// The sizes of a transformer layer's temporaries, so that the search goes through several classes.
constexpr std::size_t kSizes[] = {512, 4_KiB, 20_KiB, 512_KiB, 3_MiB, 12_MiB, 1_MiB + 512, 64_KiB};

enum class Through { allocator, account, armed };

/// Ten faults that look at every allocation and strike none.
void arm_ten(Rig& rig, std::string_view resource) {
  using Options = Trigger::Options;
  const Options kTen[] = {{.tag = "kv*"},
                          {.phase = "teardown"},
                          {.bytes_min = 1_GiB},
                          {.live_bytes_min = 1_TiB},
                          {.rank = 3},
                          {.nth = std::uint64_t{1} << 60},
                          {.from = std::uint64_t{1} << 60},
                          {.time_min = std::uint64_t{1} << 60},
                          {.stream = 7},
                          {.any = {{.tag = "weights"}, {.bytes_min = 2_GiB}}, .none = {{.tag = "scratch*"}}}};
  for (Options when : kTen) {
    when.site = "allocate";
    when.resource = resource;
    auto fault = find_entry(rig.catalogues().faults, "out_of_memory")->make(Table("bench", {}));
    ArmedFault armed{"out_of_memory", std::move(fault), Trigger(when)};
    armed.required = false;
    rig.plan().arm(std::move(armed));
  }
}

void cached_pair(benchmark::State& state, const AllocatorEntry& entry, Through through) {
  ChainRig chain(entry, 1);
  chain.rig().plan().keep_points(Plan::Points::none);  // As a plain run has it.
  if (through == Through::armed) arm_ten(chain.rig(), entry.name);
  chain.start();
  Resource& memory = through == Through::allocator ? chain.allocator() : chain.memory();
  const auto pair = [&](std::size_t bytes) {
    const Request request{.bytes = bytes};
    void* const block = memory.allocate(request);
    benchmark::DoNotOptimize(block);
    memory.deallocate(block, request);
  };
  std::size_t i = 0;
  std::vector<std::pair<void*, Request>> held;
  try {
    for (std::int64_t block = 0; block < state.range(0); ++block) {
      const Request request{.bytes = 2_KiB};
      held.emplace_back(memory.allocate(request), request);
    }
    for (std::size_t bytes : kSizes) pair(bytes);
    for (auto _ : state) pair(kSizes[i++ % std::size(kSizes)]);
  } catch (const OutOfMemory& refusal) {
    state.SkipWithError(refusal.what());
  }
  for (const auto& [block, request] : held) memory.deallocate(block, request);
}

std::unique_ptr<Device> device_of(Lane lane, std::string& why_not) {
  const Profile& profile = profile_named("h200");
  return lane == Lane::host ? make_host_device(profile, {}) : make_cuda_device(profile, {}, why_not);
}

// The same on a device whose memory is real, without rig or ledger: what the driver's calls cost is in it.
void pair_on_device(benchmark::State& state, const AllocatorEntry& entry, Lane lane) {
  std::string why_not;
  const auto device = device_of(lane, why_not);
  if (!device) return state.SkipWithError(why_not.c_str());
  const auto base = find_entry(allocator_catalogue(), "direct")->make(Table("bench", {}), nullptr, *device);
  const auto memory = make_allocator(entry, entry.takes_upstream ? base.get() : nullptr, *device);
  std::size_t i = 0;
  try {
    for (auto _ : state) {
      const Request request{.bytes = kSizes[i++ % std::size(kSizes)]};
      memory->deallocate(memory->allocate(request), request);
    }
  } catch (const OutOfMemory& refusal) {
    state.SkipWithError(refusal.what());
  }
}

}  // namespace

void register_allocator_benches() {
  std::string why_not;
  const bool has_gpu = device_of(Lane::cuda, why_not) != nullptr;
  for (const AllocatorEntry& entry : allocator_catalogue())
    for (const Lane lane : {Lane::host, Lane::cuda}) {
      if (lane == Lane::cuda && !has_gpu) continue;
      const std::string name = (lane == Lane::host ? "backed/" : "gpu/") + std::string(entry.name);
      benchmark::RegisterBenchmark(
          name.c_str(), [&entry, lane](benchmark::State& state) { pair_on_device(state, entry, lane); });
    }
  for (const AllocatorEntry& entry : allocator_catalogue())
    for (Through through : {Through::allocator, Through::account, Through::armed}) {
      constexpr const char* kNames[] = {"pair/", "account/", "armed/"};
      const std::string name = kNames[static_cast<int>(through)] + std::string(entry.name);
      benchmark::RegisterBenchmark(
          name.c_str(), [&entry, through](benchmark::State& state) { cached_pair(state, entry, through); })
          ->ArgName("live")
          ->Arg(0)
          ->Arg(1000);
    }
}

}  // namespace drought
