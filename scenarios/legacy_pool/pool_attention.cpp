#include "scenarios/legacy_pool/pool_attention.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "scenarios/device_calls.hpp"
#include "scenarios/kernels/kernel_call.hpp"

namespace drought {
namespace {

/// A step that is queued, and what it computes with.
struct Queued {
  Queued(Rig& rig, std::unique_ptr<Kernel> attention, KernelCall::Where where, const KernelCall::Given& given)
      : kernel(std::move(attention)), call(rig, *kernel, where, given) {}
  const std::unique_ptr<Kernel> kernel;
  KernelCall call;
};

std::size_t bytes_of(const Kernel& kernel, std::string_view part_name) {
  for (const Part& part : kernel.plan())
    if (part.name == part_name) return part.bytes;
  throw std::logic_error(std::string(kernel.name()) + " has no part '" + std::string(part_name) + "'");
}

}  // namespace

PoolAttention::PoolAttention(Options options) : options_(std::move(options)) {
  if (options_.steps == 0 || options_.tokens == 0)
    throw std::invalid_argument("steps and tokens must be above 0");
}

void PoolAttention::run(Rig& rig) {
  const Outputs calm = run_steps(rig, rig.memory_named(options_.roomy));
  const std::size_t first_try = rig.record().attempts.size();
  const Outputs pressed = run_steps(rig, rig.memory());
  const auto begin = rig.record().attempts.begin() + static_cast<std::ptrdiff_t>(first_try);
  rig.decide("flushes", static_cast<std::uint64_t>(
                            std::count_if(begin, rig.record().attempts.end(),
                                          [](const Attempt& attempt) { return attempt.number == 2; })));
  for (std::size_t step = 0; rig.full() && step < options_.steps; ++step)
    rig.record().comparisons.push_back({"decode_attention under pressure", pressed[step] == calm[step],
                                        "step " + std::to_string(step) + " gave other bits than with room"});
  std::vector<Tag> tags{"K_f16", "V_f16"};
  for (const Part& part : attention_over(rig, options_.tokens)->plan()) tags.emplace_back(part.name);
  rig.ledger().mark_teardown(std::move(tags));
}

std::unique_ptr<Kernel> PoolAttention::attention_over(const Rig& rig, std::size_t tokens) const {
  constexpr std::string_view kKernel = "decode_attention";
  Table shape = options_.shape;
  if (const Table::Entry* const given = shape.find("seqlens"))
    shape.fail(given->at, "'seqlens' follows from tokens and steps");
  const Value length{static_cast<std::int64_t>(tokens), shape.at()};
  shape.add({"seqlens", shape.at(), {Value::Items{length}, shape.at()}});
  try {
    return find_entry(rig.catalogues().kernels, kKernel)->make(shape);
  } catch (const std::invalid_argument& mistake) {
    shape.fail(shape.at(), std::string(kKernel) + ": " + mistake.what());
  }
}

PoolAttention::Outputs PoolAttention::run_steps(Rig& rig, Resource& memory) const {
  const Streams streams(rig.device(), 2);
  const KernelCall::Where where{.stream = streams[0], .memory = &memory};
  Outputs outputs;
  std::unique_ptr<Queued> before;
  const auto finish = [&] {
    if (!before) return;
    before->call.verify();
    outputs.push_back(before->call.outputs());
    before.reset();
  };
  for (std::size_t step = 1; step <= options_.steps; ++step) {
    std::unique_ptr<Kernel> kernel = attention_over(rig, step * options_.tokens);
    const std::size_t cache_bytes = bytes_of(*kernel, "k_pages");
    // Here the pool grows, and flushes, while the step before is queued on blocks that are idle to it.
    const Buffer k_f16(memory, {.bytes = cache_bytes, .stream = where.stream, .tag = "K_f16"});
    const Buffer v_f16(memory, {.bytes = cache_bytes, .stream = where.stream, .tag = "V_f16"});
    auto queued =
        std::make_unique<Queued>(rig, std::move(kernel), where,
                                 KernelCall::Given{{"k_pages", k_f16.data()}, {"v_pages", v_f16.data()}});
    finish();
    queued->call.fill(rig.seed() + step);
    queued->call.launch();
    before = std::move(queued);
  }
  finish();
  return outputs;
}

}  // namespace drought
