#include "harness/fault/trigger.hpp"

#include <stdexcept>

namespace drought {

Trigger::Trigger(Options options) : options_(std::move(options)) {
  const auto refuse = [](const std::string& why) { throw std::invalid_argument("the trigger " + why); };
  if (options_.bytes_min > options_.bytes_max)
    refuse("has bytes_min above bytes_max, so it can never strike");
  if (options_.call != 0 && options_.call < options_.call_min)
    refuse("has call below call_min, so it can never strike");
  if (!(options_.chance > 0 && options_.chance <= 1)) refuse("needs a chance above 0 and at most 1");
  if ((options_.nth != 0) + (options_.from != 0) + (options_.every != 0) > 1)
    refuse("may have one of nth, from and every");
}

bool Trigger::matches(const Call& call, const Circumstances& now) const {
  return glob_matches(options_.site, name(call.site)) && call.bytes >= options_.bytes_min &&
         call.bytes <= options_.bytes_max && now.live_bytes >= options_.live_bytes_min &&
         (options_.call == 0 || options_.call == now.call) && now.call >= options_.call_min &&
         (options_.rank < 0 || options_.rank == now.rank) &&
         (options_.tag == "*" || glob_matches(options_.tag, call.tag.view())) &&
         (options_.phase == "*" || glob_matches(options_.phase, now.phase.view())) &&
         (options_.resource == "*" || glob_matches(options_.resource, call.resource)) &&
         (options_.kernel == "*" || glob_matches(options_.kernel, call.kernel));
}

bool Trigger::strikes(const Call& call, const Circumstances& now, Random& random) {
  if (!matches(call, now)) return false;
  ++matched_;
  if (options_.nth != 0 && matched_ != options_.nth) return false;
  if (options_.from != 0 && matched_ < options_.from) return false;
  if (options_.every != 0 && matched_ % options_.every != 0) return false;
  return options_.chance >= 1 || random.unit() < options_.chance;
}

}  // namespace drought
