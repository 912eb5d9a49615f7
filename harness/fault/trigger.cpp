#include "harness/fault/trigger.hpp"

#include <algorithm>

#include "harness/device/device.hpp"
#include "harness/memory/interfaces.hpp"

namespace drought {
namespace {

/// The largest request that could be served from what is free, as far as it can be told.
std::size_t largest_hole(const Call& call, const Circumstances& now) {
  if (const auto* const lists = dynamic_cast<const ListsFreeBlocks*>(call.lender)) {
    std::size_t largest = 0;
    for (const auto& block : lists->free_blocks()) largest = std::max(largest, block.bytes);
    return largest;
  }
  MemInfo info;
  if (!now.device || now.device->mem_info(info) != Status::success) return Trigger::kAnyBytes;
  return info.free_bytes;
}

std::vector<Trigger> nodes(const std::vector<Trigger::Options>& parts) {
  return {parts.begin(), parts.end()};
}

}  // namespace

bool Trigger::Names::match(Tag tag) {
  if (any_) return true;
  if (tag.index() >= known_.size()) known_.resize(tag.index() + 1);
  signed char& known = known_[tag.index()];
  if (known == 0) known = glob_matches(glob_, tag.view()) ? 1 : -1;
  return known > 0;
}

Trigger::Trigger(Options options)
    : options_(std::move(options)),
      tag_(options_.tag),
      phase_(options_.phase),
      all_(nodes(options_.all)),
      any_(nodes(options_.any)),
      none_(nodes(options_.none)),
      budget_left_(options_.budget_bytes) {
  const auto refuse = [&](const std::string& why) {
    throw TriggerMistake(options_.at, "the trigger " + why);
  };
  const auto crossed = [&](const char* low, bool crosses) {
    if (crosses)
      refuse("has " + std::string(low) + "_min above " + std::string(low) + "_max, so it can never strike");
  };
  crossed("bytes", options_.bytes_min > options_.bytes_max);
  crossed("live_bytes", options_.live_bytes_min > options_.live_bytes_max);
  crossed("time", options_.time_min > options_.time_max);
  if (options_.call != 0 && options_.call < options_.call_min)
    refuse("has call below call_min, so it can never strike");
  if (!(options_.chance > 0 && options_.chance <= 1)) refuse("needs a chance above 0 and at most 1");
  if ((options_.nth != 0) + (options_.from != 0) + (options_.every != 0) > 1)
    refuse("may have one of nth, from and every");
  if (options_.nth != 0 && options_.times != 0) refuse("may have one of nth and times: the nth comes once");
}

bool Trigger::matches(const Call& call, const Circumstances& now) {
  const Options& o = options_;
  if (call.bytes < o.bytes_min || call.bytes > o.bytes_max) return false;
  if (now.live_bytes < o.live_bytes_min || now.live_bytes > o.live_bytes_max) return false;
  if (now.call < o.call_min || (o.call != 0 && o.call != now.call)) return false;
  if (now.time < o.time_min || now.time > o.time_max) return false;
  if ((o.rank >= 0 && o.rank != now.rank) || (o.stream >= 0 && o.stream != now.stream)) return false;
  if (!tag_.match(call.tag) || !phase_.match(now.phase)) return false;
  const auto named = [](const std::string& glob, std::string_view text) {
    return glob == "*" || glob_matches(glob, text);
  };
  if (!named(o.site, name(call.site)) || !named(o.resource, call.resource)) return false;
  if (!named(o.kernel, call.kernel) || !named(o.process, now.process)) return false;
  if (o.hole_bytes_max != kAnyBytes && largest_hole(call, now) > o.hole_bytes_max) return false;
  return o.stack == "*" || Stack::here().has_frame(o.stack, frames_);
}

bool Trigger::parts_agree(const Call& call, const Circumstances& now, Random& random) {
  bool agree = true, some = any_.empty();
  for (Trigger& part : all_) agree &= part.strikes(call, now, random);
  for (Trigger& part : any_) some |= part.strikes(call, now, random);
  for (Trigger& part : none_) agree &= !part.strikes(call, now, random);
  return agree && some;
}

bool Trigger::picks(Random& random) {
  const Options& o = options_;
  if (o.nth != 0 && matched_ != o.nth) return false;
  if (o.from != 0 && matched_ < o.from) return false;
  if (o.every != 0 && matched_ % o.every != 0) return false;
  if (o.times != 0 && struck_ == o.times) return false;
  if (o.chance < 1 && random.unit() >= o.chance) return false;
  ++struck_;
  return true;
}

bool Trigger::strikes(const Call& call, const Circumstances& now, Random& random) {
  if (!matches(call, now) || !parts_agree(call, now, random)) return false;
  if (options_.budget_bytes != kAnyBytes && call.bytes <= budget_left_) {
    budget_left_ -= call.bytes;
    return false;
  }
  if (options_.unique_stack && !stacks_.insert(Stack::here())) return false;
  ++matched_;
  return picks(random);
}

bool Trigger::asks_stream() const {
  const auto asks = [](const Trigger& part) { return part.asks_stream(); };
  return options_.stream >= 0 || std::any_of(all_.begin(), all_.end(), asks) ||
         std::any_of(any_.begin(), any_.end(), asks) || std::any_of(none_.begin(), none_.end(), asks);
}

}  // namespace drought
