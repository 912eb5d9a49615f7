// What kind of shortage the figures show. An ordered list of rules, each one small function: the first
// that can state its sentence with numbers decides. Where rounding hides the answer no rule speaks, and
// the diagnosis says which number would decide.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "harness/diagnose/figures.hpp"

namespace drought {

enum class Shortage : std::uint8_t {
  capacity,               ///< Everything that is there is in use.
  fragmentation,          ///< Enough is idle, in pieces that are too small.
  cached,                 ///< Enough is idle in an allocator that could give it back.
  peer,                   ///< Another process holds what is missing.
  workspace_growth,       ///< A working program asks for more than was planned, or than a buffer has.
  leaked_references,      ///< What nobody owns is kept alive.
  double_counted_margin,  ///< What is needed is there; a formula counts something twice.
  unbounded_retry,        ///< The same request again and again.
  impossible_request,     ///< No device of this kind could serve it.
  api_limit,              ///< A limit of the call or a rounding of its size, not of memory.
  teardown_order,         ///< It runs out while it is taken down.
  no_shortage,            ///< Nothing was refused.
  undecided,              ///< The numbers do not decide.
};
std::string_view name(Shortage shortage);
/// Every name, for messages.
std::span<const std::string_view> shortage_names();

struct Diagnosis {
  Shortage shortage = Shortage::undecided;
  std::string_view rule;    ///< The name of the rule that decided.
  std::string sentence;     ///< With the numbers.
  std::string_view source;  ///< Where the rule comes from: reports, a project's source.
};

struct Rule {
  std::string_view name;
  Shortage shortage;
  /// The sentence, if the figures show it.
  std::optional<std::string> (*judge)(const Figures& figures);
  std::string_view source;
};

/// In order: an earlier one decides.
std::span<const Rule> rules();

Diagnosis diagnose(const Figures& figures);

}  // namespace drought
