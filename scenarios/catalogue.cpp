#include "scenarios/catalogue.hpp"

#include "allocators/catalogue.hpp"
#include "faults/catalogue.hpp"
#include "kernels/catalogue.hpp"
#include "scenarios/allocators/churn.hpp"
#include "scenarios/kernels/single_kernel.hpp"
#include "scenarios/legacy_pool/pool_attention.hpp"
#include "scenarios/legacy_pool/pool_decode.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr WorkloadEntry workload(std::string_view name, std::string_view summary) {
  return entry_of<WorkloadEntry, Workload, Made>(name, summary);
}

constexpr WorkloadEntry kWorkloads[] = {
    workload<Churn>("churn", "random sizes and lifetimes, contents verified"),
    workload<SingleKernel>("single_kernel",
                           "one kernel against its oracle on memory of the resource under test"),
    workload<PoolAttention>("pool_attention", "decode attention on scratch of a pool that flushes under it"),
    workload<PoolDecode>("pool_decode", "llama.cpp's scratch of a growing context, replayed through a pool"),
};

}  // namespace

const Catalogues& all_catalogues() {
  static const Catalogues catalogues{allocator_catalogue(), fault_catalogue(), kernel_catalogue(), kWorkloads,
                                     check_catalogue()};
  return catalogues;
}

}  // namespace drought
