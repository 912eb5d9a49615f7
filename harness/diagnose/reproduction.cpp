#include "harness/diagnose/reproduction.hpp"

#include <algorithm>
#include <limits>

#include "harness/device/profile.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::int64_t kGranularity = 2_MiB;
constexpr std::int64_t kHolesMax = 10'000;

/// A scenario as it grows: sections of lines.
class Draft {
 public:
  Draft(const Figures& figures, const Diagnosis& diagnosis) : f_(figures), diagnosis_(diagnosis) {}

  /// False: the figures do not tell enough.
  bool write();
  std::string text(std::string_view told_by) const;

 private:
  static std::int64_t value(const MaybeFigure& figure) { return figure ? figure->value : 0; }
  static std::int64_t context() { return static_cast<std::int64_t>(profile_named("h200").context_bytes); }
  std::int64_t requested() const { return value(f_.requested); }

  void device_of(std::int64_t total) {
    device_ += "capacity_bytes = " + std::to_string(std::max(total, context() + kGranularity)) + "\n";
  }
  void resource(const std::string& lines) { resources_ += "\n[[resource]]\n" + lines; }
  void step(const std::string& verb, const std::string& name, std::int64_t bytes,
            const std::string& more = "") {
    if (bytes < 0) bytes = 0;
    steps_ += "\n[[workload.step]]\ndo = \"" + verb + "\"\n";
    if (!name.empty()) steps_ += "name = \"" + name + "\"\n";
    if (bytes != 0) steps_ += "bytes = " + std::to_string(bytes) + "\n";
    steps_ += more;
  }
  void held(const std::string& name, std::int64_t bytes) {
    if (bytes > 0) step("allocate", name, bytes);
  }
  void refuse(const std::string& more = "") {
    step("allocate", "request", requested(), "refused = true\n" + more);
  }
  /// Everything but what the device has free is in use by this process.
  bool full_device() {
    if (!f_.total || !f_.free) return false;
    device_of(f_.total->value);
    // cudaMalloc takes whole granules: rounding down leaves at least what was free.
    held("in_use", round_down_to_granule(f_.total->value - f_.free->value - context()));
    return true;
  }
  static std::int64_t round_down_to_granule(std::int64_t bytes) {
    return bytes < 0 ? 0 : bytes / kGranularity * kGranularity;
  }

  bool capacity();
  bool fragmentation();
  bool cached();
  bool peer();
  bool workspace_growth();
  bool leaked_references();
  bool double_counted_margin();
  bool unbounded_retry();
  bool impossible_request();
  bool api_limit();
  bool teardown_order();

  const Figures& f_;
  const Diagnosis& diagnosis_;
  std::string device_, resources_, workload_, steps_, expect_;
  bool is_mutant_ = false;
};

bool Draft::capacity() {
  if (diagnosis_.rule == "oversubscribed") {
    device_of(value(f_.total));
    resource("kind = \"managed\"\n");
    step("allocate", "in_use", value(f_.live));
    return true;
  }
  if (diagnosis_.rule != "pool_is_full") {
    if (!full_device()) return false;
    refuse();
    return true;
  }
  const std::int64_t live = value(f_.live), limit = value(f_.limit);
  // A device that holds what is lent and nothing else, so that it is as full as the pool.
  device_of(context() + (live + kGranularity - 1) / kGranularity * kGranularity);
  resource("kind = \"limit\"\ncapacity_bytes = " + std::to_string(std::max<std::int64_t>(limit, 1)) + "\n");
  workload_ += "limit_bytes = " + std::to_string(limit) + "\n";
  held("in_use", live);
  refuse();
  return true;
}

bool Draft::fragmentation() {
  const auto idle = f_.idle_bytes();
  const std::int64_t live = value(f_.live);
  const std::int64_t pool = f_.limit ? f_.limit->value : idle ? live + idle->middle() : 0;
  const std::int64_t room = pool - live;
  std::int64_t hole = f_.hole && f_.hole->value > 0 ? f_.hole->value : requested() - 1;
  hole = std::min(hole, requested() - 1) / 256 * 256;
  if (hole <= 0 || room < requested() || live <= 0) return false;
  const std::int64_t holes = (room + hole - 1) / hole;
  const std::int64_t pins = live / holes / 256 * 256;
  if (pins == 0 || holes > kHolesMax) return false;
  device_of(pool + context() + 64 * kGranularity);
  const std::string bytes = std::to_string((pool + 255) / 256 * 256);
  const std::int64_t last_hole = room - (holes - 1) * hole;
  resource("kind = \"pool\"\ninitial_bytes = " + bytes + "\nmaximum_bytes = " + bytes + "\n");
  workload_ += "limit_bytes = " + bytes + "\n";
  // Holes and what keeps them apart in turn; the last of both make up the sums.
  if (holes > 1)
    step("allocate", "hole", hole,
         "count = " + std::to_string(holes - 1) + "\nwith = \"pin\"\nwith_bytes = " + std::to_string(pins) +
             "\n");
  held("pin", live - (holes - 1) * pins);
  step("allocate", "hole", last_hole);
  step("free", "hole", 0);
  refuse();
  return true;
}

bool Draft::cached() {
  const auto idle = f_.idle_bytes();
  std::int64_t held_idle = f_.releasable ? f_.releasable->value : idle ? idle->middle() : 0;
  if (f_.async_pool && f_.total && f_.free)
    held_idle = f_.total->value - f_.free->value - value(f_.live) - context();
  held_idle = round_down_to_granule(held_idle);
  const std::int64_t live = round_down_to_granule(value(f_.live));
  if (held_idle <= 0) return false;
  device_of(f_.total ? f_.total->value : live + held_idle + value(f_.free) + context());
  resource("kind = \"direct\"\nname = \"beside\"\nbeside = true\n");
  resource("kind = \"caching\"\n");
  held("in_use", live);
  step("allocate", "cached", held_idle);
  step("free", "cached", 0);
  refuse("from = \"beside\"\n");
  return true;
}

bool Draft::peer() {
  if (diagnosis_.rule == "measured_with_others") {
    step("watch", "", 0);
    if (value(f_.own_delta) > 0) held("own", value(f_.own_delta));
    step("peer", "neighbour", value(f_.device_delta) - value(f_.own_delta));
    step("judge", "", value(f_.allowance));
    return true;
  }
  const auto others = f_.held_by_others();
  if (!others || !f_.total || !f_.free) return false;
  const std::int64_t peers =
      others->middle() - static_cast<std::int64_t>(profile_named("h200").peer_context_bytes);
  device_of(f_.total->value);
  step("peer", "neighbour", peers);
  held("in_use", round_down_to_granule(f_.total->value - f_.free->value - others->middle() - context()));
  if (f_.at_start)
    step("require", "utilization", requested(), "refused = true\n");
  else
    refuse();
  return true;
}

bool Draft::workspace_growth() {
  if (diagnosis_.rule == "ratchet") {
    resource("kind = \"legacy_pool\"\n");
    const std::int64_t by = std::max<std::int64_t>(value(f_.growth_step), kGranularity);
    step("use", "workspace", by,
         "grow_bytes = " + std::to_string(by) +
             "\ncount = " + std::to_string(std::clamp<std::int64_t>(value(f_.growth_steps), 8, 256)) + "\n");
    return true;
  }
  if (diagnosis_.rule == "after_ready") {
    if (!full_device()) return false;
    step("ready", "", 0);
    refuse();
    return true;
  }
  const std::int64_t size = f_.workspace_left ? f_.workspace_left->value : value(f_.limit);
  const std::int64_t used = f_.workspace_left ? 0 : value(f_.live);
  resource("kind = \"limit\"\ncapacity_bytes = " + std::to_string(std::max<std::int64_t>(size, 1)) + "\n");
  workload_ += "limit_bytes = " + std::to_string(std::max<std::int64_t>(size, 1)) + "\n";
  held("workspace", used);
  refuse();
  return true;
}

bool Draft::leaked_references() {
  step("ready", "", 0);
  if (diagnosis_.rule == "unowned") {
    if (f_.requested && (!f_.total || !f_.free)) return false;
    if (f_.requested) device_of(f_.total->value);
    const std::int64_t unowned = round_down_to_granule(value(f_.unowned));
    if (f_.requested)
      held("in_use", round_down_to_granule(f_.total->value - f_.free->value - context() - unowned));
    held("kept", unowned);
    step("drop", "kept", 0, "holder = \"reference\"\n");
    if (f_.requested) refuse();
    return unowned > 0;
  }
  std::int64_t missing = value(f_.lost);
  if (diagnosis_.rule == "slots_missing")
    missing = value(f_.slots_max) - value(f_.slots_available) - value(f_.slots_protected) -
              value(f_.slots_evictable);
  if (diagnosis_.rule == "residue_grows") missing = value(f_.residual) - value(f_.residual_first);
  step("allocate", "kept", missing);
  step("drop", "kept", 0, "holder = \"error path\"\n");
  step("drained", "", 0);
  return missing > 0;
}

bool Draft::double_counted_margin() {
  const std::int64_t total = f_.total ? f_.total->value : std::max(requested(), value(f_.free) + context());
  device_of(total);
  const std::int64_t reclaimable = value(f_.reclaimable);
  const std::int64_t peer_context = static_cast<std::int64_t>(profile_named("h200").peer_context_bytes);
  if (reclaimable > peer_context) step("peer", "page cache", reclaimable, "reclaimable = true\n");
  held("in_use", round_down_to_granule(total - value(f_.free) - context() -
                                       (reclaimable > peer_context ? reclaimable + peer_context : 0)));
  step("require", "formula", requested(),
       "refused = true\n" + (f_.needed ? "needed_bytes = " + std::to_string(f_.needed->value) + "\n" : ""));
  return true;
}

bool Draft::unbounded_retry() {
  const std::int64_t bytes = f_.requested ? f_.requested->value : 1;
  const std::int64_t most = f_.limit ? std::min(f_.limit->value, bytes - 1) : bytes - 1;
  resource("kind = \"limit\"\ncapacity_bytes = " + std::to_string(std::max<std::int64_t>(most, 1)) + "\n");
  step("allocate", "request", std::max<std::int64_t>(bytes, 2),
       "refused = true\ncap = 3\ntries = " +
           std::to_string(std::clamp<std::int64_t>(value(f_.refusals), 32, 1'000'000)) + "\n");
  is_mutant_ = true;
  return true;
}

bool Draft::impossible_request() {
  device_of(value(f_.total));
  refuse();
  return true;
}

bool Draft::api_limit() {
  if (diagnosis_.rule == "call_limit") {
    device_ += "host_register_limit_bytes = " + std::to_string(value(f_.call_limit)) + "\n";
    step("register", "", requested(), "refused = true\n");
    return true;
  }
  device_of(f_.total ? f_.total->value : requested());
  step("require", "rounded", requested(),
       "refused = true\nneeded_bytes = " + std::to_string(value(f_.needed)) + "\n");
  return true;
}

bool Draft::teardown_order() {
  if (!f_.requested) return false;
  if (f_.total && f_.free) {
    full_device();
  } else {
    resource("kind = \"limit\"\ncapacity_bytes = " +
             std::to_string(std::max<std::int64_t>(requested() - 1, 1)) + "\n");
  }
  refuse("phase = \"teardown\"\n");
  return true;
}

bool Draft::write() {
  switch (diagnosis_.shortage) {
    case Shortage::capacity:
      return capacity();
    case Shortage::fragmentation:
      return fragmentation();
    case Shortage::cached:
      return cached();
    case Shortage::peer:
      return peer();
    case Shortage::workspace_growth:
      return workspace_growth();
    case Shortage::leaked_references:
      return leaked_references();
    case Shortage::double_counted_margin:
      return double_counted_margin();
    case Shortage::unbounded_retry:
      return unbounded_retry();
    case Shortage::impossible_request:
      return impossible_request();
    case Shortage::api_limit:
      return api_limit();
    case Shortage::teardown_order:
      return teardown_order();
    case Shortage::no_shortage:
    case Shortage::undecided:
      return false;
  }
  return false;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
  }
  return out + "\"";
}

std::string Draft::text(std::string_view told_by) const {
  const std::string_view shortage = name(diagnosis_.shortage);
  std::string out = "title  = " + quoted("Out of memory by " + std::string(shortage) + ", as a log told it") +
                    "\nguards = " + quoted(std::string(told_by) + ": " + diagnosis_.sentence) +
                    "\n\n[device]\nprofile = \"h200\"\nwork = \"shapes\"\nlanes = [\"host\"]\n" + device_ +
                    resources_ + "\n[workload]\nkind = \"script\"\n" + workload_ + steps_ + "\n[expect]\n" +
                    "diagnosis = \"" + std::string(shortage) + "\"\n";
  if (is_mutant_) out += "caught_by = \"retry_cap\"\n";
  if (f_.requested && f_.requested->value > 1 && diagnosis_.shortage != Shortage::leaked_references)
    out += "decisions = [\"figure.requested=" + std::to_string(f_.requested->value) + "\"]\n";
  return out;
}

}  // namespace

std::optional<std::string> reproduction(const Figures& figures, const Diagnosis& diagnosis,
                                        std::string_view told_by) {
  Draft draft(figures, diagnosis);
  if (!draft.write()) return {};
  return draft.text(told_by);
}

}  // namespace drought
