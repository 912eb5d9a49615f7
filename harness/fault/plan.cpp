#include "harness/fault/plan.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/fault/reach.hpp"

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
    case Site::cudaStreamEndCapture:  // Whatever it answers, the stream captures no more.
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
  if (armed_.size() == kFaultsMax)
    throw std::invalid_argument("a run takes " + std::to_string(kFaultsMax) + " faults");
  const Trigger::Options& when = fault.trigger.options();
  require_reachable(when, *fault.fault, fault.kind);
  for (int i = 0; i < site_count; ++i) {
    const Site site = static_cast<Site>(i);
    if (fault.fault->can_strike(site) && glob_matches(when.site, name(site)))
      by_site_[static_cast<std::size_t>(i)].push_back(armed_.size());
  }
  if (fault.fault->watches()) watchers_ |= std::uint64_t{1} << armed_.size();
  numbers_streams_ = numbers_streams_ || fault.trigger.asks_stream();
  armed_.push_back(std::move(fault));
}

int Plan::number_of(Stream stream) {
  if (stream.id == 0) return 0;
  return streams_.try_emplace(stream.id, static_cast<int>(streams_.size()) + 1).first->second;
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
  if (keeps_points_ == Points::none || call.refused || call.answer || documented_errors(call.site).empty())
    return;
  if (keeps_points_ == Points::all || stacks_.insert(Stack::here()))
    points_.push_back({now.call, call.site, call.tag, now.phase, call.bytes, std::string(call.resource)});
}

void Plan::note_retry(const Call& call) {
  std::erase_if(open_strikes_, [&](std::size_t index) {
    Strike& strike = record_.strikes[index];
    strike.retried = strike.retried || (strike.site == call.site && strike.tag == call.tag);
    return strike.retried;
  });
}

void Plan::strike(Call& call, const Circumstances& outside, Scene& scene) {
  Circumstances now = outside;
  if (numbers_streams_) now.stream = number_of(call.stream);
  for (const std::size_t i : by_site_[static_cast<std::size_t>(call.site)]) {
    if (call.refused) return;
    ArmedFault& armed = armed_[i];
    striking_ = true;  // What a trigger asks the device is no call of the run.
    const bool strikes = armed.trigger.strikes(call, now, random_);
    if (strikes) armed.fault->strike(call, scene);
    striking_ = false;
    if (!strikes) continue;
    call.struck_by |= std::uint64_t{1} << i;
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

void Plan::answered(Call& call, Status status, Scene& scene) {
  if (striking_) return;
  striking_ = true;
  for (std::size_t i = 0; i < armed_.size(); ++i) {
    const std::uint64_t bit = std::uint64_t{1} << i;
    if (((call.struck_by | watchers_) & bit) == 0) continue;
    armed_[i].fault->answered(call, status, (call.struck_by & bit) != 0, scene);
  }
  striking_ = false;
}

}  // namespace drought
