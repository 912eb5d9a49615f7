#include "tests/defects/subjects.hpp"

#include <type_traits>
#include <vector>

#include "scenarios/catalogue.hpp"
#include "tests/defects/decode_loop.hpp"
#include "tests/defects/fenced.hpp"
#include "tests/defects/halving_slabs.hpp"
#include "tests/defects/loader.hpp"
#include "tests/defects/mapped_slots.hpp"
#include "tests/defects/prefix_cache.hpp"
#include "tests/defects/queued_server.hpp"
#include "tests/defects/two_stage.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr bool on_device = std::is_constructible_v<Made, Device&, Planted::Options>;

template <typename Made>
std::unique_ptr<Resource> make(const Table& table, Resource* upstream, Device& device) {
  auto options = read_options<Planted::Options>(table);
  (void)upstream, (void)device;
  if constexpr (on_device<Made>)
    return std::make_unique<Made>(device, std::move(options));
  else if constexpr (std::is_constructible_v<Made, Resource&, Device&, Planted::Options>)
    return std::make_unique<Made>(*upstream, device, std::move(options));
  else
    return std::make_unique<Made>(*upstream, std::move(options));
}

constexpr AllocatorEntry kAllocators[] = {
    {"two_stage", "a test's own", make<TwoStage>, !on_device<TwoStage>},
    {"mapped_slots", "a test's own", make<MappedSlots>, !on_device<MappedSlots>},
    {"halving_slabs", "a test's own", make<HalvingSlabs>, !on_device<HalvingSlabs>},
    {"fenced", "a test's own", make<Fenced>, !on_device<Fenced>},
};

template <typename Made>
constexpr WorkloadEntry workload(std::string_view name) {
  return entry_of<WorkloadEntry, Workload, Made>(name, "a test's own");
}

constexpr WorkloadEntry kWorkloads[] = {
    workload<Loader>("loader"),
    workload<QueuedServer>("queued_server"),
    workload<DecodeLoop>("decode_loop"),
    workload<PrefixCache>("prefix_cache"),
};

constexpr Subject kSubjects[] = {
    {"two_stage", true, TwoStage::defects},
    {"mapped_slots", true, MappedSlots::defects},
    {"halving_slabs", true, HalvingSlabs::defects},
    {"fenced", true, Fenced::defects},
    {"loader", false, Loader::defects},
    {"queued_server", false, QueuedServer::defects},
    {"decode_loop", false, DecodeLoop::defects},
    {"prefix_cache", false, PrefixCache::defects},
};

template <typename Entry, std::size_t count>
std::vector<Entry> with(const Entry (&own)[count], std::span<const Entry> shipped) {
  std::vector<Entry> all(std::begin(own), std::end(own));
  all.insert(all.end(), shipped.begin(), shipped.end());
  return all;
}

}  // namespace

std::string Subject::scenario(std::string_view defect) const {
  const std::string planted = "kind = '" + std::string(name) + "'\ndefect = '" + std::string(defect) + "'\n";
  // A retry without end is seen after so many calls.
  const std::string device = "[device]\nprofile = 'h100-80g'\nsteps_max = 4000\n";
  if (!is_allocator) return device + "[workload]\n" + planted;
  const bool has_upstream = find_entry(std::span<const AllocatorEntry>(kAllocators), name)->takes_upstream;
  return device + (has_upstream ? "[[resource]]\nkind = 'direct'\n" : "") + "[[resource]]\n" + planted +
         "[workload]\nkind = 'churn'\nallocations = 16\nlive_max = 4\nbytes_min = '100 KiB'\n"
         "bytes_max = '100 KiB'\n";
}

std::span<const Subject> subjects() { return kSubjects; }

Catalogues subject_catalogues() {
  static const auto allocators = with(kAllocators, all_catalogues().allocators);
  static const auto workloads = with(kWorkloads, all_catalogues().workloads);
  Catalogues catalogues = all_catalogues();
  catalogues.allocators = allocators;
  catalogues.workloads = workloads;
  return catalogues;
}

}  // namespace drought
