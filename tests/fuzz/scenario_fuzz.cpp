// Scenario files: parsed and validated against catalogues of an entry or two, they are a scenario or a
// UserError of one line.
#include "harness/diagnose/diagnosis.hpp"
#include "harness/scenario/scenario.hpp"
#include "harness/scenario/workload.hpp"
#include "tests/fuzz/reading.hpp"

namespace drought {
namespace {

struct Anywhere final : Fault {
  struct Options {
    std::string error = "none";
    std::size_t keep_bytes = 0;
    static constexpr auto keys() {
      return std::tuple{key("error", &Options::error), key("keep_bytes", &Options::keep_bytes)};
    }
  };
  explicit Anywhere(Options) {}
  bool can_strike(Site) const override { return true; }
  void strike(Call&, Scene&) override {}
};

struct Idle final : Workload {
  struct Options {
    int allocations = 1;
    double share = 0.5;
    bool frees = true;
    std::vector<std::size_t> sizes;
    static constexpr auto keys() {
      return std::tuple{key("allocations", &Options::allocations), key("share", &Options::share),
                        key("frees", &Options::frees), key("sizes", &Options::sizes)};
    }
  };
  explicit Idle(Options) {}
  void run(Rig&) override {}
};

// Of these only the names and places are looked at.
constexpr AllocatorEntry kAllocators[] = {{"direct", "the end of a chain", nullptr, false},
                                          {"caching", "takes an upstream", nullptr, true}};
constexpr FaultEntry kFaults[] = {entry_of<FaultEntry, Fault, Anywhere>("out_of_memory", "an error")};
constexpr WorkloadEntry kWorkloads[] = {entry_of<WorkloadEntry, Workload, Idle>("churn", "allocates")};

}  // namespace
// One stands for all that diagnosis knows, which is not linked here.
std::span<const std::string_view> shortage_names() {
  static constexpr std::string_view kNames[] = {"capacity"};
  return kNames;
}

}  // namespace drought

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace drought;
  try {
    const Catalogues catalogues{.allocators = kAllocators, .faults = kFaults, .workloads = kWorkloads};
    parse_scenario(std::string(fuzz::text_of(data, size)), "fuzz", catalogues);
  } catch (const UserError& mistake) {
    fuzz::require_one_line(mistake.what());
  }
  return 0;
}
