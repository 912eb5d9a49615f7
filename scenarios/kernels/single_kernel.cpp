#include "scenarios/kernels/single_kernel.hpp"

#include <stdexcept>

#include "kernels/catalogue.hpp"
#include "scenarios/kernels/kernel_call.hpp"

namespace drought {

SingleKernel::SingleKernel(Options options) : options_(std::move(options)) {
  if (options_.rounds == 0) throw std::invalid_argument("rounds must be above 0");
  if (options_.bug != "none" && options_.bug != "ignores_launch")
    throw std::invalid_argument("unknown bug '" + options_.bug + "'; known: none, ignores_launch");
  const KernelEntry* const entry = find_entry(kernel_catalogue(), options_.kernel);
  if (!entry) {
    std::string known;
    for (const std::string& name : names_of(kernel_catalogue())) known += (known.empty() ? "" : ", ") + name;
    throw std::invalid_argument("unknown kernel '" + options_.kernel + "'; known: " + known);
  }
  kernel_ = entry->make(options_.shape);
}

void SingleKernel::run(Rig& rig) {
  std::vector<std::byte> first;
  for (std::size_t round = 0; round < options_.rounds; ++round) {
    KernelCall call(rig, *kernel_, {});
    call.fill(rig.seed());
    try {
      call.launch();
    } catch (const DeviceError&) {
      if (options_.bug == "none") throw;
    }
    call.verify();
    if (round == 0) first = call.outputs();
    if (round > 0 && rig.full())
      rig.record().comparisons.push_back(
          {options_.kernel + " run again", call.outputs() == first,
           "round " + std::to_string(round) + " gave other bits than the first"});
  }
  std::vector<Tag> tags;
  for (const Part& part : kernel_->plan()) tags.emplace_back(part.name);
  rig.ledger().mark_teardown(std::move(tags));
}

}  // namespace drought
