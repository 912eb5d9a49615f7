// The cheapest gate there is: it counts the device calls by site and refuses those that a test names.
// Nothing is judged and no fiber runs, so a loop of a million calls can afford it.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "harness/device/device.hpp"
#include "harness/fault/plan.hpp"

namespace drought {

class StrikeGate final : public CallGate {
 public:
  explicit StrikeGate(Device& device) : device_(device) { device_.set_gate(this); }
  ~StrikeGate() override { device_.set_gate(nullptr); }
  StrikeGate(const StrikeGate&) = delete;
  StrikeGate& operator=(const StrikeGate&) = delete;

  /// From now on the call at `site` that comes after `skipped` others is refused with `error`; `forever`:
  /// and all later ones too. A call that gives something back is made all the same, and answers `error`.
  void arm(Site site, Status error, std::uint64_t skipped = 0, bool forever = false) {
    armed_ = true;
    site_ = site;
    error_ = error;
    skipped_ = skipped;
    forever_ = forever;
  }
  void disarm() { armed_ = false; }
  bool is_armed() const { return armed_; }
  /// Calls refused so far, and the error of the latest.
  std::uint64_t struck() const { return struck_; }
  Site struck_site() const { return struck_site_; }
  std::uint64_t made(Site site) const { return made_[static_cast<std::size_t>(site)]; }
  /// Calls that answered "no memory" so far, struck or not, and what the latest asked for.
  std::uint64_t refusals() const { return refusals_; }
  std::size_t refused_bytes() const { return refused_bytes_; }
  /// While it lives, calls are the test's own: neither counted nor struck.
  class Quiet {
   public:
    explicit Quiet(StrikeGate& gate) : gate_(gate), before_(std::exchange(gate.is_quiet_, true)) {}
    ~Quiet() { gate_.is_quiet_ = before_; }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;

   private:
    StrikeGate& gate_;
    const bool before_;
  };
  /// The sites of the calls since the last time, in order.
  std::vector<Site> take_log() { return std::exchange(log_, {}); }
  void keep_log() { keeps_log_ = true; }

  void enter(Call& call) override {
    if (is_quiet_) return;
    ++made_[static_cast<std::size_t>(call.site)];
    if (keeps_log_) log_.push_back(call.site);
    if (!armed_ || call.site != site_) return;
    if (skipped_ != 0) {
      --skipped_;
      return;
    }
    (gives_back(call.site) ? call.answer : call.refused) = error_;
    ++struck_;
    struck_site_ = call.site;
    armed_ = forever_;
  }
  void leave(Call& call, Status status) noexcept override {
    if (is_quiet_ || status != Status::memory_allocation) return;
    ++refusals_;
    refused_bytes_ = call.bytes;
  }

 private:
  Device& device_;
  bool armed_ = false, forever_ = false, keeps_log_ = false, is_quiet_ = false;
  Site site_{}, struck_site_{};
  Status error_{};
  std::uint64_t skipped_ = 0, struck_ = 0, refusals_ = 0;
  std::size_t refused_bytes_ = 0;
  std::array<std::uint64_t, site_count> made_{};
  std::vector<Site> log_;
};

}  // namespace drought
