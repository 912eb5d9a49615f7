#include "scenarios/catalogue.hpp"

#include "allocators/catalogue.hpp"
#include "faults/catalogue.hpp"
#include "kernels/catalogue.hpp"
#include "scenarios/allocators/churn.hpp"
#include "scenarios/allocators/graph_replay.hpp"
#include "scenarios/allocators/graph_scratch.hpp"
#include "scenarios/allocators/growing_map.hpp"
#include "scenarios/allocators/handover.hpp"
#include "scenarios/allocators/overrun.hpp"
#include "scenarios/allocators/paged_serving.hpp"
#include "scenarios/allocators/passes.hpp"
#include "scenarios/allocators/token_slots.hpp"
#include "scenarios/auto_profile/auto_profile.hpp"
#include "scenarios/kernels/single_kernel.hpp"
#include "scenarios/kernels/stray_read.hpp"
#include "scenarios/legacy_pool/pool_attention.hpp"
#include "scenarios/legacy_pool/pool_decode.hpp"
#include "scenarios/models/model_step.hpp"
#include "scenarios/reports/script.hpp"
#include "scenarios/serving/shared_blocks.hpp"
#include "scenarios/span_cover/span_map.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr WorkloadEntry workload(std::string_view name, std::string_view summary) {
  WorkloadEntry entry = entry_of<WorkloadEntry, Workload, Made>(name, summary);
  if constexpr (requires { Made::drawn; }) entry.drawn = Made::drawn;
  return entry;
}

constexpr WorkloadEntry kWorkloads[] = {
    workload<Churn>("churn", "random sizes and lifetimes, contents verified"),
    workload<GraphReplay>("graph_replay", "a captured step replayed over scratch that a flush gives back"),
    workload<Handover>("handover", "one user frees what it had, the next asks the device for as much"),
    workload<Passes>("passes", "a working set passed over in order, layer after layer"),
    workload<GrowingMap>("growing_map",
                         "a buffer that grows in place by mapping pages, as expandable segments do"),
    workload<PagedServing>("paged_serving",
                           "sequences share, fork, grow and are preempted on vLLM's KV blocks"),
    workload<TokenSlots>("token_slots", "requests hold lists of LightLLM's token slots, and are paused"),
    workload<GraphScratch>("graph_scratch", "decoder layers planned ahead in growing batches, as ggml does"),
    workload<AutoProfile>("auto_profile",
                          "probe, size, rebuild and validate a server's KV cache, with bounded retries"),
    workload<Overrun>("overrun",
                      "a kernel touches one element beside its buffer, and nothing judges the launch"),
    workload<StrayRead>("stray_read", "a kernel reads a buffer that was freed"),
    workload<SharedBlocks>("shared_blocks", "processes take, fill, read and drop blocks that they share"),
    workload<SingleKernel>("single_kernel",
                           "one kernel against its oracle on memory of the resource under test"),
    workload<ModelStep>("model", "a model's image, prompt and decode steps, from its config.json"),
    workload<PoolAttention>("pool_attention", "decode attention on scratch of a pool that flushes under it"),
    workload<PoolDecode>("pool_decode", "llama.cpp's scratch of a growing context, replayed through a pool"),
    workload<Script>("script", "a list of steps: a report of running out of memory, re-enacted"),
    workload<SpanMapWorkload>("span_map", "a model file of which only some layers' spans may be touched"),
};

}  // namespace

const Catalogues& all_catalogues() {
  static const Catalogues catalogues{allocator_catalogue(), fault_catalogue(), kernel_catalogue(), kWorkloads,
                                     check_catalogue()};
  return catalogues;
}

}  // namespace drought
