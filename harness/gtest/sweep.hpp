// A sweep in a test: a body rerun once for every call that a fault could strike, before the call and after
// it (it was made, and answers an error), once and from there on for ever. As `drought sweep` asks of a
// scenario, each struck run must end in OutOfMemory, DeviceError or as if nothing had been, give everything
// back, keep every check, and, once healed, run through on the same rig.
//
//   sweep({.toml = "[device]\nprofile = 'h100-80g'"}, [](ArmedRig& rig) {
//     SlabPool& pool = rig.with<SlabPool>("slab_pool", SlabPool::Options{});
//     const Buffer block(rig.memory(), {.bytes = 1_MiB, .tag = "kv"});
//   });
//
// The test fails unless something was struck. A failure names the point, its site, and the command that
// repeats that one strike: the variable DROUGHT_POINT selects it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/gtest/armed_rig.hpp"

namespace drought {

struct StrikeOptions {
  std::string toml;               ///< As ArmedRig's; its own faults are armed too and need not strike.
  std::string fault = "default";  ///< A kind of the catalogue, or "default": no memory where the call can
                                  ///< answer that, else its first documented error, and the same too late.
  std::string site = "*";         ///< Glob.
  std::string resource = "*";     ///< Glob of the resource whose call it is; a device call matches "*" alone.
  bool once = true, forever = true;
  RigOptions rig{};
};

/// What is swept. It throws what it cannot do, and expects of each run what it expects of the first. It is
/// run in a process of the rig's scheduler, so one that retries for ever ends as hung.
using SweptBody = std::function<void(ArmedRig& rig)>;

struct StrikeFailure {
  FaultPoint point;
  std::string fault;  ///< The kind that struck there.
  bool forever = false;
  std::string why;  ///< "leaked: accounting: live at the end: 'kv' …".
};

struct StrikeReport {
  std::uint64_t points = 0;  ///< Calls that a fault could strike.
  std::uint64_t struck = 0;  ///< Runs in which one did.
  std::vector<StrikeFailure> failures;
  std::string why;  ///< Set when the sweep itself could not be: the unswept run fails, nothing was struck.
};

/// Sweeps, and fails the test for what went wrong: one failure a sweep, besides those of the body's own
/// expectations. Answers in how many runs a fault struck. Throws UserError for an unknown fault, site or
/// DROUGHT_POINT. Costs a run of the body for each point and way, and as many healed ones.
std::uint64_t sweep(const StrikeOptions& options, const SweptBody& body, CallSite at = CallSite::here());

/// The sweep without its verdict on the test, and whatever DROUGHT_POINT says.
StrikeReport strike_every_call(const StrikeOptions& options, const SweptBody& body,
                               CallSite at = CallSite::here());

}  // namespace drought
