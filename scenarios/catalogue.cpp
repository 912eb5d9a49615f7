#include "scenarios/catalogue.hpp"

#include "allocators/catalogue.hpp"
#include "faults/catalogue.hpp"
#include "scenarios/allocators/churn.hpp"

namespace drought {
namespace {

template <typename Made>
constexpr WorkloadEntry workload(std::string_view name, std::string_view summary) {
  return entry_of<WorkloadEntry, Workload, Made>(name, summary);
}

constexpr WorkloadEntry kWorkloads[] = {
    workload<Churn>("churn", "random sizes and lifetimes, contents verified"),
};

}  // namespace

const Catalogues& all_catalogues() {
  static const Catalogues catalogues{allocator_catalogue(), fault_catalogue(), {}, kWorkloads, check_catalogue()};
  return catalogues;
}

}  // namespace drought
