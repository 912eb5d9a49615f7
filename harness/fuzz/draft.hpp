// A scenario as rapidcheck draws and shrinks it: a device, a chain, the workload's numbers or steps, an
// interleaving, and what is struck. Every part shrinks by itself: a step, a process, a fault or a switch is
// left out, a number falls to the least.
#pragma once

#include <rapidcheck/Gen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "harness/scenario/catalogues.hpp"

namespace drought {

struct Draft {
  struct Device {
    std::size_t profile = 0;               ///< By index, as all things that have names.
    std::uint64_t spare_mib = 0;           ///< Memory beyond the contexts'.
    std::vector<std::uint64_t> peers_mib;  ///< Held by other processes from the start, besides.
  };
  struct Allocator {
    std::size_t index = 0;
    std::vector<std::uint64_t> options;
  };
  struct Step {
    std::size_t verb = 0;  ///< Index among the workload's.
    std::uint64_t slot = 0, number = 0;
  };
  /// Strikes the point `place` of those that the run has, counted round, in one of the ways that strike it.
  struct Strike {
    std::uint64_t place = 0, way = 0;
    bool forever = false;
  };
  Device device;
  Allocator base, above;
  std::vector<std::uint64_t> options;
  std::vector<std::vector<Step>> processes;
  std::vector<std::uint64_t> switches;
  std::vector<Strike> strikes;

  std::size_t steps() const;
};

/// What drafts of one workload have in common.
struct DraftSubject {
  const WorkloadEntry* workload = nullptr;
  std::vector<std::string_view> profiles;
  std::vector<const AllocatorEntry*> bases;   ///< Those that borrow from the device; null: none is named.
  std::vector<const AllocatorEntry*> aboves;  ///< Those that do not; null: none.
  std::vector<std::pair<std::string, std::string>> set;  ///< Options that are not drawn, as TOML values.
};

/// Draws grow with rapidcheck's size.
rc::Gen<Draft> drafts(const DraftSubject& subject);

/// The scenario, without what is struck.
std::string toml_of(const Draft& draft, const DraftSubject& subject, const std::string& title);

}  // namespace drought
