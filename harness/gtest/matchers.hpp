// What a test says of a rig's memory: EXPECT_THAT(rig, HasNoLeaks()). Each explains itself by the blocks that
// it is about: tag, id, where they came from, who holds them.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "harness/gtest/armed_rig.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {

/// The first block that the test holds now, and how many there are; empty when there is none.
inline std::string held_text(const ArmedRig& rig) {
  const auto held = rig.held();
  if (held.empty()) return {};
  return held.front().text() +
         (held.size() > 1 ? " (and " + std::to_string(held.size() - 1) + " more)" : std::string());
}

/// Nothing that was allocated lives, and none came back wrongly: ask when the test has let go of everything.
MATCHER(HasNoLeaks,
        negation ? "holds a block" : "holds no block, and took each back once, from whom it lent it") {
  const std::string held = held_text(arg);
  if (!held.empty()) *result_listener << "which still holds " << held;
  const std::string wrong = arg.complaint("accounting");
  if (held.empty() && !wrong.empty()) *result_listener << "whose record says: " << wrong;
  return held.empty() && wrong.empty();
}

/// The test holds exactly so many bytes, as they were asked for.
MATCHER_P(AccountsFor, bytes, (negation ? "does not hold " : "holds ") + std::to_string(bytes) + " B") {
  const std::size_t live_bytes = arg.ledger().live_bytes();
  *result_listener << "which holds " << live_bytes << " B";
  return live_bytes == static_cast<std::size_t>(bytes);
}

/// The device lends nothing: caches are empty too.
MATCHER(IsDrained,
        negation ? "has borrowed memory of its device" : "has given all memory back to its device") {
  const std::size_t held_bytes =
      const_cast<ArmedRig&>(static_cast<const ArmedRig&>(arg)).device().held_bytes();
  if (held_bytes != 0) *result_listener << "to which the device lends " << format_bytes(held_bytes);
  return held_bytes == 0;
}

/// Every check of the catalogue holds of what happened so far: stream order, retry caps, stale operands …
MATCHER(PassesEveryCheck, negation ? "fails a check" : "passes every check") {
  const std::string wrong = arg.complaint();
  if (!wrong.empty()) *result_listener << "which fails " << wrong;
  return wrong.empty();
}

}  // namespace drought
