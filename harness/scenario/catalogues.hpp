// What a run may use. The rig is handed one Catalogues value, so that the core includes no allocator,
// fault, kernel or workload; scenarios/catalogue.cpp assembles it.
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "harness/check/check.hpp"
#include "harness/device/device.hpp"
#include "harness/fault/fault.hpp"
#include "harness/memory/resource.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/table.hpp"
#include "harness/simt/kernel.hpp"

namespace drought {

class Workload;

struct AllocatorEntry {
  std::string_view name, summary;
  /// `upstream` is null for the first of a chain, which must be one that borrows from the device.
  /// Throws UserError for bad options, std::invalid_argument for options that contradict each other.
  std::unique_ptr<Resource> (*make)(const Table& options, Resource* upstream, Device& device);
  bool takes_upstream = true;  ///< false: borrows from the device itself.
  std::span<const DrawnOption> drawn = {};
};

struct FaultEntry {
  std::string_view name, summary;
  std::unique_ptr<Fault> (*make)(const Table& options);
};

struct KernelEntry {
  std::string_view name, summary;
  /// Throws UserError or std::invalid_argument for a shape that cannot be.
  std::unique_ptr<Kernel> (*make)(const Table& shape);
};

struct WorkloadEntry {
  std::string_view name, summary;
  std::unique_ptr<Workload> (*make)(const Table& options);
  Drawn drawn{};  ///< Nothing: it cannot be fuzzed.
};

struct Catalogues {
  std::span<const AllocatorEntry> allocators;
  std::span<const FaultEntry> faults;
  std::span<const KernelEntry> kernels;
  std::span<const WorkloadEntry> workloads;
  std::span<const CheckEntry> checks;
};

/// One line of a catalogue of things made from an Options alone.
template <typename Entry, typename Base, typename Made>
constexpr Entry entry_of(std::string_view name, std::string_view summary) {
  return {name, summary, [](const Table& options) -> std::unique_ptr<Base> {
            return std::make_unique<Made>(read_options<typename Made::Options>(options));
          }};
}

/// The entry called `word`, or null.
template <typename Entry>
const Entry* find_entry(std::span<const Entry> entries, std::string_view word) {
  for (const Entry& entry : entries)
    if (entry.name == word) return &entry;
  return nullptr;
}

template <typename Entry>
std::vector<std::string> names_of(std::span<const Entry> entries) {
  std::vector<std::string> names;
  for (const Entry& entry : entries) names.emplace_back(entry.name);
  return names;
}

}  // namespace drought
