#include "harness/fault/plan.hpp"

#include <algorithm>
#include <stdexcept>

namespace drought {

bool gives_back(Site site) {
  switch (site) {
    case Site::cudaFree:
    case Site::cudaFreeHost:
    case Site::cudaHostUnregister:
    case Site::cuMemRelease:
    case Site::cuMemAddressFree:
    case Site::cuMemUnmap:
    case Site::cudaStreamDestroy:
    case Site::cudaEventDestroy:
    case Site::cudaFreeAsync:
    case Site::cudaMemPoolTrimTo:
    case Site::cudaGraphDestroy:
    case Site::cudaGraphExecDestroy:
    case Site::cudaDeviceGraphMemTrim:
    case Site::deallocate:
    case Site::release:
      return true;
    default:
      return false;
  }
}

void Plan::arm(ArmedFault fault) {
  bool possible = false;
  std::string sites;
  for (int i = 0; i < site_count; ++i) {
    const Site site = static_cast<Site>(i);
    if (!fault.fault->can_strike(site)) continue;
    sites += (sites.empty() ? "" : ", ") + std::string(name(site));
    possible = possible || glob_matches(fault.trigger.options().site, name(site));
  }
  if (!possible)
    throw std::invalid_argument("fault '" + fault.kind + "' cannot strike at site '" +
                                fault.trigger.options().site + "'; it can at: " + sites);
  armed_.push_back(std::move(fault));
}

void Plan::release(Scene& scene) noexcept {
  striking_ = true;
  for (ArmedFault& armed : armed_) armed.fault->release(scene);
  striking_ = false;
}

void Plan::consider(Call& call, const Circumstances& now, Scene& scene) {
  if (striking_) return;
  if (!open_strikes_.empty()) note_retry(call);
  if (!disarmed_) strike(call, now, scene);
  // A call that a declared fault refuses has failed already, so it is no point of a sweep.
  if (keeps_points_ && !call.refused && !call.answer && !documented_errors(call.site).empty())
    points_.push_back({now.call, call.site, call.tag, now.phase, call.bytes, std::string(call.resource)});
}

void Plan::note_retry(const Call& call) {
  std::erase_if(open_strikes_, [&](std::size_t index) {
    Strike& strike = record_.strikes[index];
    strike.retried = strike.retried || (strike.site == call.site && strike.tag == call.tag);
    return strike.retried;
  });
}

void Plan::strike(Call& call, const Circumstances& now, Scene& scene) {
  for (std::size_t i = 0; i < armed_.size() && !call.refused; ++i) {
    ArmedFault& armed = armed_[i];
    if (!armed.fault->can_strike(call.site) || !armed.trigger.strikes(call, now, random_)) continue;
    striking_ = true;
    armed.fault->strike(call, scene);
    striking_ = false;
    ++armed.struck;
    const bool error = call.refused || (call.answer && *call.answer != Status::success);
    // Not ready is an answer that every caller of cudaEventQuery expects.
    const bool is_error = error && call.refused != Status::not_ready && call.answer != Status::not_ready;
    if (record_.strikes.size() < 100'000) {
      record_.strikes.push_back({i, now.call, call.site, call.tag, call.bytes, is_error, false});
      if (is_error) open_strikes_.push_back(record_.strikes.size() - 1);
    }
  }
}

}  // namespace drought
