#include "scenarios/kernels/single_kernel.hpp"

#include <stdexcept>

#include "scenarios/kernels/kernel_call.hpp"

namespace drought {

SingleKernel::SingleKernel(Options options) : options_(std::move(options)) {
  if (options_.rounds == 0) throw std::invalid_argument("rounds must be above 0");
}

void SingleKernel::run(Rig& rig) {
  const KernelEntry* const entry = find_entry(rig.catalogues().kernels, options_.kernel);
  if (!entry)
    options_.shape.fail_unknown(options_.shape.at(), "kernel", options_.kernel,
                                names_of(rig.catalogues().kernels));
  std::unique_ptr<Kernel> kernel;
  try {
    kernel = entry->make(options_.shape);
  } catch (const std::invalid_argument& mistake) {
    options_.shape.fail(options_.shape.at(), options_.kernel + ": " + mistake.what());
  }
  std::vector<std::byte> first;
  for (std::size_t round = 0; round < options_.rounds; ++round) {
    KernelCall call(rig, *kernel, {});
    call.fill(rig.seed());
    call.launch();
    call.verify();
    if (round == 0) first = call.outputs();
    if (round > 0 && rig.full())
      rig.record().comparisons.push_back(
          {options_.kernel + " run again", call.outputs() == first,
           "round " + std::to_string(round) + " gave other bits than the first"});
  }
  std::vector<Tag> tags;
  for (const Part& part : kernel->plan()) tags.emplace_back(part.name);
  rig.ledger().mark_teardown(std::move(tags));
}

}  // namespace drought
