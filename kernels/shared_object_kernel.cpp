#include "kernels/shared_object_kernel.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "harness/device/embedded.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"

namespace drought {
namespace {

/// Copied when a launch is enqueued.
struct UserArguments {
  DroughtHost* host;
  DroughtCuda* cuda;
  DroughtSizes sizes;
  void* parts[DROUGHT_PARTS_MAX];
};

template <typename Call>
Status call_user(const Launch& launch, Call call) {
  UserArguments given;
  if (launch.arguments_bytes != sizeof given) return Status::invalid_value;
  std::memcpy(&given, launch.arguments, sizeof given);
  try {
    return static_cast<Status>(call(given));
  } catch (...) {
    return Status::launch_failure;  // Nothing may pass through a kernel; CUDA says no more of it either.
  }
}

Status run_on_host(const Launch& launch) {
  return call_user(launch, [](UserArguments& given) { return given.host(&given.sizes, given.parts); });
}

Status run_on_cuda(const Launch& launch, void* stream) {
  return call_user(launch,
                   [stream](UserArguments& given) { return given.cuda(&given.sizes, given.parts, stream); });
}

void* open(const std::string& path) {
  static void* const example = [] {
    const int file = embedded_file("example", embedded_example_kernel());  // Its number names it for ever.
    return ::dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  }();
  void* const opened = path.empty() ? example : ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened) return opened;
  const char* const said = ::dlerror();
  throw std::invalid_argument("cannot load library '" + path + "': " + (said ? said : "no reason given"));
}

std::string_view type_name(const DroughtPart& part) {
  return part.type == DROUGHT_BF16 ? "bf16" : part.type == DROUGHT_INT32 ? "int32" : "fp32";
}

std::size_t bytes_of(const DroughtPart& part) { return part.elements * (part.type == DROUGHT_BF16 ? 2 : 4); }

}  // namespace

SharedObjectKernel::SharedObjectKernel(const Shape& shape) {
  void* const library = open(shape.library);
  const auto find = [&](const char* name) { return ::dlsym(library, (shape.prefix + name).c_str()); };
  const auto need = [&](const char* name) {
    void* const found = find(name);
    require(found, "the library has no function '" + shape.prefix + name + "'");
    return found;
  };
  auto* const plan = reinterpret_cast<DroughtPlan*>(need("_plan"));
  host_ = reinterpret_cast<DroughtHost*>(need("_host"));
  oracle_ = reinterpret_cast<DroughtOracle*>(need("_oracle"));
  cuda_ = reinterpret_cast<DroughtCuda*>(find("_cuda"));
  fill_ = reinterpret_cast<DroughtFill*>(find("_fill"));
  require(shape.sizes.size() <= DROUGHT_SIZES_MAX, "sizes are more than 8");
  std::ranges::copy(shape.sizes, sizes_.value);
  sizes_.count = static_cast<std::uint32_t>(shape.sizes.size());
  DroughtPart parts[DROUGHT_PARTS_MAX] = {};
  const int count = plan(&sizes_, parts);
  require(count > 0 && count <= DROUGHT_PARTS_MAX, shape.prefix + "_plan has no kernel of such sizes");
  parts_.assign(parts, parts + count);
  bool has_output = false;
  for (const DroughtPart& part : parts_) {
    require(part.name && part.type <= DROUGHT_INT32 && part.role <= DROUGHT_WORKSPACE,
            shape.prefix + "_plan makes a part without a name, or of an unknown type or role");
    (void)checked_product(part.name, {part.elements, 4});
    const bool is_integer = part.type == DROUGHT_INT32;
    require(part.role != DROUGHT_OUTPUT || !is_integer, std::string(part.name) + ": an output of integers");
    require(part.role != DROUGHT_INPUT || !is_integer || fill_,
            std::string(part.name) + ": an input of integers needs " + shape.prefix + "_fill");
    has_output = has_output || (part.role == DROUGHT_OUTPUT && part.elements != 0);
  }
  require(has_output, shape.prefix + "_plan makes no output");
}

std::vector<Part> SharedObjectKernel::plan() const {
  std::vector<Part> plan;
  for (const DroughtPart& part : parts_)
    plan.push_back({.name = part.name,
                    .bytes = bytes_of(part),
                    .role = static_cast<Part::Role>(part.role),
                    .payload = part.type != DROUGHT_INT32});
  return plan;
}

void SharedObjectKernel::fill(std::size_t index, std::uint64_t seed, std::span<std::byte> out) const {
  if (fill_) return fill_(&sizes_, static_cast<std::uint32_t>(index), seed, out.data());
  fill_normal(type_name(parts_[index]), seed, index, out);
}

Status SharedObjectKernel::launch(Device& device, Stream stream, std::span<void* const> parts) const {
  const std::vector<Part> plan = this->plan();
  if (const Status wrong = check_parts(plan, parts); wrong != Status::success) return wrong;
  UserArguments arguments{.host = host_, .cuda = cuda_, .sizes = sizes_, .parts = {}};
  std::ranges::copy(parts, arguments.parts);
  const std::vector<Operand> operands = operands_of(plan, parts);
  return device.launch({.kernel = kernel_name,
                        .stream = stream,
                        .operands = operands,
                        .arguments = &arguments,
                        .arguments_bytes = sizeof arguments,
                        .host = run_on_host,
                        .cuda = cuda_ ? run_on_cuda : nullptr});
}

Comparison SharedObjectKernel::compare(std::span<const std::span<const std::byte>> parts) const {
  std::vector<const void*> inputs;
  for (std::size_t i = 0; i < parts_.size(); ++i)
    inputs.push_back(parts_[i].role == DROUGHT_INPUT ? parts[i].data() : nullptr);
  Judge judge(norm_limit("bf16"));  // The tolerance is the user's; this is what no kernel may exceed.
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const DroughtPart& part = parts_[i];
    if (part.role != DROUGHT_OUTPUT) continue;
    std::vector<double> expected(part.elements), tolerance(part.elements);
    oracle_(&sizes_, inputs.data(), static_cast<std::uint32_t>(i), expected.data(), tolerance.data());
    const HostTensor got(parts[i], type_name(part), {part.elements});
    for (std::size_t at = 0; at < part.elements; ++at)
      judge.take(got.at({at}), expected[at], tolerance[at],
                 [&] { return std::string(part.name) + "[" + std::to_string(at) + "]"; });
  }
  return judge.verdict();
}

}  // namespace drought
