// A fault is what happens when its trigger strikes. It answers only what the real call documents, and
// whatever memory it takes or keeps is its own: it gives everything back in release().
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/device/call.hpp"
#include "harness/sched/random.hpp"

namespace drought {

class Device;
class Ledger;

/// What a fault may act upon. The calls that it makes itself are neither counted nor struck.
struct Scene {
  Device& device;
  Ledger& ledger;
  Random& random;
};

class Fault {
 public:
  virtual ~Fault() = default;
  /// Whether this fault has a meaning at the site; a trigger that names no such site is a mistake.
  virtual bool can_strike(Site site) const = 0;
  /// Before the call.
  virtual void strike(Call& call, Scene& scene) = 0;
  /// After a call that it struck, `status` being what the caller gets. Other calls too where watches().
  virtual void answered(Call&, Status /*status*/, bool /*struck*/, Scene&) {}
  virtual bool watches() const { return false; }
  /// Whether it ends the context, and on a GPU every later call of the process with it.
  virtual bool ends_context() const { return false; }
  /// Gives back all it holds. Called once, before the checks finish.
  virtual void release(Scene&) noexcept {}
};

}  // namespace drought
