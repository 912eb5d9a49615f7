// Property-based runs: draws scenarios of a workload until one fails, then shrinks it. Every attempt is an
// order that a worker does, so that shrinking goes on over crashes, hangs and lost GPU contexts. A smaller
// scenario counts only when it fails in the same way, so that one bug is not shrunk into another.
//
// (Hypothesis and rapidcheck shrink a program's operations in its own process; no GPU tool shrinks at all.)
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/scenario/run.hpp"
#include "harness/sweep/strike.hpp"
#include "harness/work/workforce.hpp"

namespace drought {

struct FuzzOptions {
  Lane lane = Lane::host;
  std::uint64_t seed = 1;
  std::uint64_t runs = 1000;
  std::uint64_t attempts_max = 20'000;                   ///< Of shrinking.
  bool faults = true;                                    ///< false: interleavings and sizes alone.
  std::vector<std::pair<std::string, std::string>> set;  ///< The workload's options that are not drawn.
};

struct FuzzResult {
  std::string workload;
  std::uint64_t runs = 0;       ///< Drawn and run, the failing one last.
  std::uint64_t discarded = 0;  ///< Drawn, and no scenario: an option that the chain or workload refuses.
  Verdict verdict = Verdict::survived;
  std::string message;
  std::uint64_t attempts = 0;                                       ///< Of shrinking.
  std::size_t steps = 0, processes = 0, switches = 0, strikes = 0;  ///< Of what is left.
  std::string scenario;  ///< The file's text; empty when nothing failed.
  /// The command, with "FILE" where the file's path belongs: a run of it, or a sweep that strikes one of its
  /// calls, which were seen to fail alike; else the draws again.
  std::string repeat;
};

/// Throws UserError for a workload that is not known or draws nothing, and for a wrong option of it.
FuzzResult fuzz(const std::string& workload, const Catalogues& catalogues, const FuzzOptions& options,
                Workforce& workforce);

}  // namespace drought
