// The call stack at a fault point, taken only where a trigger asks: about 1 us to walk and, the first time
// that an address is seen, as much as reading the symbol table to name it. Names come from the symbol
// table, so a binary stripped of its debug information has them too; a function that was inlined has no
// frame. The walk ends where the fiber of the simulated process began.
#pragma once

#include <array>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace drought {

class Stack {
 public:
  static constexpr std::size_t kFramesMax = 64;

  /// The caller's frames, the innermost first.
  static Stack here();

  /// Whether a function on the stack is called `glob`, in full or from a "::" on: "Churn::run" and "run"
  /// both name drought::Churn::run. `known` keeps the answer for each address.
  bool has_frame(std::string_view glob, std::unordered_map<const void*, bool>& known) const;

  std::span<const void* const> frames() const { return std::span(frames_).first(count_); }
  std::vector<std::string> names() const;

 private:
  std::array<const void*, kFramesMax> frames_{};
  std::size_t count_ = 0;
};

/// Stacks that were seen.
class StackSet {
 public:
  /// Whether it is new.
  bool insert(const Stack& stack);
  std::size_t size() const { return seen_.size(); }

 private:
  std::set<std::vector<const void*>> seen_;
};

/// A function's qualified name without its return type, its parameters, `drought::` and
/// `(anonymous namespace)::`.
std::string plain_name(std::string_view demangled);

/// plain_name() of the function around a return address; "" when it has none.
const std::string& function_at(const void* address);

}  // namespace drought
