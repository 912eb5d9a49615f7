// The parts of a kernel's plan as a launch takes them: looked at first, then declared, each by its own name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/simt/kernel.hpp"
#include "harness/simt/launch.hpp"

namespace drought {

/// Where every part begins at a multiple of: kernels and asynchronous copies take as much at once.
inline constexpr std::size_t part_alignment = 16;

/// What a launch over these parts would fail with, known before it, since a GPU that meets it takes the
/// context down: invalid_value where one is missing, misaligned_address where one begins in between.
inline Status check_parts(const std::vector<Part>& plan, std::span<void* const> parts) {
  if (parts.size() != plan.size()) return Status::invalid_value;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].bytes == 0) continue;
    if (!parts[i]) return Status::invalid_value;
    if (reinterpret_cast<std::uintptr_t>(parts[i]) % part_alignment != 0) return Status::misaligned_address;
  }
  return Status::success;
}

/// The parts that a plan has, as a launch of all of them declares them: inputs read, outputs written,
/// workspaces both.
inline std::vector<Operand> operands_of(const std::vector<Part>& plan, std::span<void* const> parts) {
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const Access access = plan[i].role == Part::Role::input    ? Access::read
                          : plan[i].role == Part::Role::output ? Access::write
                                                               : Access::read_write;
    if (plan[i].bytes != 0) operands.push_back({plan[i].name, parts[i], plan[i].bytes, access});
  }
  return operands;
}

/// `outer` with the bodies, the arguments and as many threads as `Functor`, which is in `List`, has.
/// `arguments` outlive it.
template <typename List, typename Functor>
Launch launch_of(const typename Functor::Arguments& arguments, Launch outer) {
  const Bodies bodies = bodies_of<List, Functor>();
  outer.block = {Functor::threads_max};
  outer.arguments = &arguments;
  outer.arguments_bytes = sizeof arguments;
  outer.host = bodies.host;
  outer.cuda = bodies.cuda;
  return outer;
}

/// One launch over all parts of `plan`; the grid, the shared memory, the name and the stream are `outer`'s.
/// One that is not declared is the device's own to answer, wherever its parts lie.
template <typename List, typename Functor>
Status launch_parts(Device& device, const std::vector<Part>& plan, std::span<void* const> parts,
                    const typename Functor::Arguments& arguments, Launch outer) {
  const Status wrong = outer.declared ? check_parts(plan, parts) : Status::success;
  if (wrong != Status::success) return wrong;
  const std::vector<Operand> operands = operands_of(plan, parts);
  outer.operands = operands;
  return device.launch(launch_of<List, Functor>(arguments, outer));
}

}  // namespace drought
