#include "harness/diagnose/reproduction.hpp"

#include <algorithm>

#include "harness/diagnose/scenario_draft.hpp"

namespace drought {
namespace {

using Draft = ScenarioDraft;

constexpr std::int64_t kHolesMax = 10'000;
constexpr std::string_view kRefused = ", refused = true";

std::int64_t value(const MaybeFigure& figure) { return figure ? figure->value : 0; }

void refuse(Draft& draft, const Figures& f, const std::string& more = "") {
  draft.step("allocate", "request", value(f.requested), std::string(kRefused) + more);
}

/// This process holds all but what the device has free. False: the figures do not tell.
bool full_device(Draft& draft, const Figures& f, std::int64_t others = 0) {
  if (!f.total || !f.free) return false;
  draft.device_of(f.total->value);
  draft.hold("in_use",
             Draft::down_to_granule(f.total->value - f.free->value - others - Draft::context_bytes()));
  return true;
}

// Each of these writes one kind of shortage; false: the figures do not tell enough.

bool capacity(Draft& draft, const Figures& f, const Diagnosis& diagnosis) {
  if (diagnosis.rule == "oversubscribed") return false;  // Nothing was refused that a script could await.
  if (diagnosis.rule == "device_is_full") {
    if (!full_device(draft, f)) return false;
    refuse(draft, f);
    return true;
  }
  // The device stands for the pool: what is not lent of the one is free of the other.
  const std::int64_t room = value(f.limit) - value(f.live), requested = value(f.requested);
  const std::int64_t total = Draft::context_bytes() + std::max(value(f.limit), requested);
  draft.device_of(total);
  draft.hold("in_use",
             Draft::down_to_granule(total - Draft::context_bytes() - room + Draft::kGranularity - 1));
  refuse(draft, f);
  return true;
}

// Nothing is lent, so blocks that are never joined keep the pieces apart.
bool idle_blocks(Draft& draft, const Figures& f, std::int64_t pool, std::int64_t hole) {
  const auto asked = static_cast<std::int64_t>(static_cast<double>(hole) / 1.05);  // The pool adds 5 %.
  if (asked <= 0) return false;
  draft.limit(pool);
  draft.resource("legacy_pool", "flush_and_retry = false\n");
  draft.limit_told(pool);
  draft.step("allocate", "hole", asked, ", count = " + std::to_string(std::min(pool / hole, kHolesMax)));
  draft.step("free", "hole");
  refuse(draft, f);
  return true;
}

// Holes and what keeps them apart in turn; the last of both make up the sums.
bool fragmentation(Draft& draft, const Figures& f, const Diagnosis&) {
  const auto idle = f.idle_bytes();
  const std::int64_t live = value(f.live), requested = value(f.requested);
  const std::int64_t pool = (f.limit ? f.limit->value : live + idle->middle()) / 256 * 256;
  const std::int64_t room = pool - live;
  const std::int64_t widest = f.hole && f.hole->value > 0 ? f.hole->value : requested - 1;
  const std::int64_t hole = std::min(widest, requested - 1) / 256 * 256;
  if (hole <= 0 || room < requested) return false;
  const std::int64_t holes = (room + hole - 1) / hole, pin = live / holes / 256 * 256;
  if (holes > kHolesMax || holes < 2) return false;
  if (pin == 0) return idle_blocks(draft, f, pool, hole);
  const std::string bytes = std::to_string(pool);
  draft.device_of(pool + Draft::context_bytes() + 64 * Draft::kGranularity);
  draft.resource("pool", "initial_bytes = " + bytes + "\nmaximum_bytes = " + bytes + "\n");
  draft.limit_told(pool);
  draft.keep_initial_block();
  draft.step(
      "allocate", "hole", hole,
      ", count = " + std::to_string(holes - 1) + ", with = \"pin\", with_bytes = " + std::to_string(pin));
  draft.hold("pin", live - (holes - 1) * pin);
  draft.step("free", "hole");
  refuse(draft, f);
  return true;
}

bool cached(Draft& draft, const Figures& f, const Diagnosis&) {
  std::int64_t idle = value(f.releasable);
  if (f.async_pool) idle = value(f.total) - value(f.free) - value(f.live) - Draft::context_bytes();
  idle = Draft::down_to_granule(idle);
  const std::int64_t live = Draft::down_to_granule(value(f.live));
  if (idle <= 0) return false;
  draft.device_of(f.total ? f.total->value : live + idle + value(f.free) + Draft::context_bytes());
  draft.resource("direct", "name = \"beside\"\nbeside = true\n");
  draft.resource("caching");
  draft.hold("in_use", live);
  draft.step("allocate", "cached", idle);
  draft.step("free", "cached");
  refuse(draft, f, ", from = \"beside\"");
  return true;
}

bool peer(Draft& draft, const Figures& f, const Diagnosis& diagnosis) {
  if (diagnosis.rule == "measured_with_others") {
    draft.step("peer", "neighbour", Draft::kGranularity);
    draft.step("watch");
    draft.hold("own", value(f.own_delta));
    draft.step("peer", "neighbour", Draft::kGranularity + value(f.device_delta) - value(f.own_delta));
    draft.step("judge", "", value(f.allowance));
    return true;
  }
  const auto others = f.held_by_others();
  if (!others) return false;
  draft.step("peer", "neighbour", std::max<std::int64_t>(others->middle() - Draft::peer_context_bytes(), 1));
  if (!full_device(draft, f, others->middle())) return false;
  if (f.at_start)
    draft.step("require", "budget", value(f.requested), kRefused);
  else
    refuse(draft, f);
  return true;
}

bool workspace_growth(Draft& draft, const Figures& f, const Diagnosis& diagnosis) {
  if (diagnosis.rule == "ratchet") {
    const std::int64_t by = std::max(value(f.growth_step), Draft::kGranularity);
    draft.step("ready");
    draft.step("allocate", "workspace", by,
               ", count = " + std::to_string(std::clamp<std::int64_t>(value(f.growth_steps), 8, 1000)));
    return true;
  }
  if (diagnosis.rule == "after_ready") {
    if (!full_device(draft, f)) return false;
    draft.step("ready");
    refuse(draft, f);
    return true;
  }
  const std::int64_t size = f.workspace_left ? f.workspace_left->value : value(f.limit);
  draft.limit(size);
  draft.limit_told(std::max<std::int64_t>(size, 1));
  if (!f.workspace_left) draft.hold("workspace", value(f.live));
  refuse(draft, f);
  return true;
}

bool leaked_references(Draft& draft, const Figures& f, const Diagnosis& diagnosis) {
  if (diagnosis.rule == "unowned" && f.requested) {
    const std::int64_t unowned = Draft::down_to_granule(value(f.unowned));
    if (!full_device(draft, f, unowned) || unowned == 0) return false;
    draft.step("allocate", "kept", unowned);
    draft.step("drop", "kept", 0, ", holder = \"reference\"");
    refuse(draft, f);
    return true;
  }
  std::int64_t missing = value(f.lost) + value(f.unowned);
  if (diagnosis.rule == "residue_grows") missing = value(f.residual) - value(f.residual_first);
  if (diagnosis.rule == "slots_missing")
    missing =
        value(f.slots_max) - value(f.slots_available) - value(f.slots_protected) - value(f.slots_evictable);
  if (missing <= 0) return false;
  draft.step("ready");
  draft.step("allocate", "kept", missing);
  draft.step("drop", "kept", 0, ", holder = \"reference\"");
  draft.step("drained");
  return true;
}

bool double_counted_margin(Draft& draft, const Figures& f, const Diagnosis&) {
  const std::int64_t demanded = f.asked ? f.asked->value : value(f.requested);
  const std::int64_t needed = f.needed ? f.needed->value : f.asked ? value(f.requested) : 0;
  const std::int64_t cache =
      value(f.reclaimable) > 0 ? value(f.reclaimable) + Draft::peer_context_bytes() : 0;
  const std::int64_t total = f.total ? f.total->value : value(f.free) + Draft::context_bytes() + cache;
  draft.device_of(total);
  if (cache > 0) draft.step("peer", "page cache", value(f.reclaimable), ", reclaimable = true");
  draft.hold("in_use", Draft::down_to_granule(total - value(f.free) - Draft::context_bytes() - cache));
  draft.step("require", "formula", demanded,
             std::string(kRefused) + (needed > 0 ? ", needed_bytes = " + std::to_string(needed) : ""));
  return true;
}

bool unbounded_retry(Draft& draft, const Figures& f, const Diagnosis&) {
  const std::int64_t bytes = std::max<std::int64_t>(value(f.requested), 2);
  draft.limit(f.limit ? std::min(f.limit->value, bytes - 1) : bytes - 1);
  draft.step("allocate", "request", bytes,
             std::string(kRefused) + ", cap = 3, tries = " +
                 std::to_string(std::clamp<std::int64_t>(value(f.refusals), 32, 1'000'000)));
  draft.expect("caught_by = \"retry_cap\"");
  return true;
}

bool impossible_request(Draft& draft, const Figures& f, const Diagnosis&) {
  draft.device_of(value(f.total));
  refuse(draft, f);
  return true;
}

bool api_limit(Draft& draft, const Figures& f, const Diagnosis& diagnosis) {
  if (diagnosis.rule == "call_limit") {
    draft.device("host_register_limit_bytes = " + std::to_string(value(f.call_limit)));
    draft.step("register", "", value(f.requested), kRefused);
    return true;
  }
  const std::int64_t asked = f.needed ? value(f.requested) : value(f.asked);
  draft.device_of(asked);
  draft.step("require", "rounded", asked,
             std::string(kRefused) +
                 ", needed_bytes = " + std::to_string(f.needed ? f.needed->value : value(f.requested)));
  return true;
}

bool teardown_order(Draft& draft, const Figures& f, const Diagnosis&) {
  if (!f.requested) {
    draft.hold("kept", value(f.unowned));
    draft.step("drop", "kept", 0, ", holder = \"reference\", phase = \"teardown\"");
    return value(f.unowned) > 0;
  }
  if (!full_device(draft, f)) draft.limit(value(f.requested) - 1);
  refuse(draft, f, ", phase = \"teardown\"");
  return true;
}

bool nothing(Draft&, const Figures&, const Diagnosis&) { return false; }

using Write = bool (*)(Draft&, const Figures&, const Diagnosis&);

Write writer_of(Shortage shortage) {
  switch (shortage) {
    case Shortage::capacity:
      return capacity;
    case Shortage::fragmentation:
      return fragmentation;
    case Shortage::cached:
      return cached;
    case Shortage::peer:
      return peer;
    case Shortage::workspace_growth:
      return workspace_growth;
    case Shortage::leaked_references:
      return leaked_references;
    case Shortage::double_counted_margin:
      return double_counted_margin;
    case Shortage::unbounded_retry:
      return unbounded_retry;
    case Shortage::impossible_request:
      return impossible_request;
    case Shortage::api_limit:
      return api_limit;
    case Shortage::teardown_order:
      return teardown_order;
    case Shortage::no_shortage:
    case Shortage::undecided:
      return nothing;
  }
  return nothing;
}

}  // namespace

std::optional<std::string> reproduction(const Figures& figures, const Diagnosis& diagnosis,
                                        std::string_view told_by) {
  const std::string shortage(name(diagnosis.shortage));
  Draft draft;
  draft.expect("diagnosis = \"" + shortage + "\"");
  if (!writer_of(diagnosis.shortage)(draft, figures, diagnosis)) return {};
  const bool asks = diagnosis.shortage != Shortage::leaked_references && !figures.asked;
  if (asks && value(figures.requested) > 1)
    draft.expect("decisions = [\"figure.requested=" + std::to_string(figures.requested->value) + "\"]");
  return draft.text("Out of memory by " + shortage + ", as a log told it",
                    std::string(told_by) + ": " + diagnosis.sentence);
}

}  // namespace drought
