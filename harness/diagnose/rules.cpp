// The rules. Each compares figures as spans, so that what was rounded away never decides.
#include <algorithm>

#include "harness/diagnose/diagnosis.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

using Sentence = std::optional<std::string>;

// Eight ranks of a node print one refusal each, and a traceback shows it again.
constexpr std::int64_t kRetriesMin = 32;
// Fewer may be a program that is still warming up.
constexpr std::int64_t kGrowthsMin = 8;
// What an allocator rounds up by stays below: PyTorch's segments are rounded to 20 MiB at most.
constexpr std::int64_t kRoundingMin = 64_MiB;
constexpr std::int64_t kLittle = 64;

Sentence call_limit(const Figures& f) {
  if (!f.call_limit || !f.requested || !surely_below(*f.call_limit, *f.requested)) return {};
  return "one call asked for " + f.requested->text() + ", and the call takes " + f.call_limit->text() +
         " at most: ask in pieces";
}

Sentence rounded_up(const Figures& f) {
  const MaybeFigure& needed = f.needed ? f.needed : f.requested;
  const MaybeFigure& taken = f.needed ? f.requested : f.asked;
  if (!needed || !taken || needed->rounding != 0 || needed->value <= 0) return {};
  std::int64_t power = 1;
  while (power < needed->value) power *= 2;
  const std::int64_t waste = power - needed->value;
  if (taken->value != power || waste < power / 8 || needed->value < kRoundingMin) return {};
  return needed->text() + " were needed and " + taken->text() +
         " asked for: the allocator rounds to a power of two, and " + bytes_text(waste) +
         " of each block serve nobody";
}

Sentence taken_down(const Figures& f) {
  if (!f.teardown || (!f.refused && !f.requested && !f.unowned)) return {};
  return "memory ran out while the program was taken down" +
         (f.requested ? ": " + f.requested->text() + " were refused" : std::string()) +
         (f.unowned ? "; " + f.unowned->text() + " are held by what should be gone" : std::string());
}

Sentence same_again(const Figures& f) {
  if (!f.refusals || f.refusals->value < kRetriesMin) return {};
  const MaybeFigure& most = f.limit ? f.limit : f.total;
  const bool never = f.requested && most && surely_below(*most, *f.requested);
  return "the same request" + (f.requested ? " for " + f.requested->text() : std::string()) +
         " was refused " + f.refusals->text() + " in a row" +
         (never ? ", and more than the " + most->text() + " that there are can never be served"
                : ", with nothing freed between");
}

Sentence beyond_the_device(const Figures& f) {
  if (!f.requested || !f.total || f.needed || !surely_below(*f.total, *f.requested)) return {};
  return f.requested->text() + " were asked for, and the whole device has " + f.total->text() +
         ": no retry and no flush can help";
}

Sentence lost(const Figures& f) {
  if (!f.lost || f.lost->value <= 0) return {};
  return f.lost->text() + " are still lent after everything had to be back";
}

Sentence unowned(const Figures& f) {
  if (!f.unowned || f.unowned->value <= 0) return {};
  if (!f.requested) return f.unowned->text() + " are kept alive by references alone";
  const auto idle = f.idle_bytes();
  const Bounds freed =
      Bounds(*f.unowned) + (f.free ? Bounds(*f.free) : Bounds(0)) + (idle ? *idle : Bounds(0));
  if (!surely_at_least(freed, *f.requested)) return {};
  return f.unowned->text() + " are kept alive by references alone; with them " + f.requested->text() +
         " would have been there";
}

Sentence slots_missing(const Figures& f) {
  if (!f.leak_reported || !f.slots_available || !f.slots_max) return {};
  std::int64_t missing = f.slots_max->value - f.slots_available->value;
  if (f.slots_protected) missing -= f.slots_protected->value;
  if (f.slots_evictable) missing -= f.slots_evictable->value;
  if (missing <= 0) return {};
  return std::to_string(missing) + " of " + f.slots_max->text() +
         " did not come back though nothing runs: look at the path that an error takes";
}

Sentence residue_grows(const Figures& f) {
  if (!f.residual || !f.residual_first || !surely_below(*f.residual_first, *f.residual)) return {};
  return "what stays in use while the program sleeps grew from " + f.residual_first->text() + " to " +
         f.residual->text();
}

Sentence counted_twice(const Figures& f) {
  if (!f.requested || !f.free || (!f.needed && !f.reclaimable)) return {};
  const Bounds available = Bounds(*f.free) + (f.reclaimable ? Bounds(*f.reclaimable) : Bounds(0));
  const Figure& needed = f.needed ? *f.needed : *f.requested;
  if (!surely_below(*f.free, *f.requested) || !surely_at_least(available, needed)) return {};
  return "no shortage: " + needed.text() + " are needed and " + bytes_text(available.middle()) +
         (f.reclaimable ? " can be had, " + f.reclaimable->text() + " of it counted as used"
                        : " are free; the formula asks for " + f.requested->text());
}

Sentence asked_for_more(const Figures& f) {
  if (!f.asked || !f.requested || !f.free) return {};
  if (!surely_below(*f.free, *f.asked) || !surely_at_least(*f.free, *f.requested)) return {};
  if (!surely_at_least(Bounds(*f.asked) - Bounds(*f.requested), kRoundingMin)) return {};
  return "no shortage: " + f.requested->text() + " were needed and " + f.free->text() +
         " free, and the allocator asked the device for " + f.asked->text() + " to have a margin";
}

Sentence measured_with_others(const Figures& f) {
  if (!f.device_delta || !f.own_delta || !f.allowance) return {};
  if (!surely_below(*f.allowance, *f.device_delta) || surely_below(*f.allowance, *f.own_delta)) return {};
  return "the device's free memory fell by " + f.device_delta->text() + " and this process took " +
         f.own_delta->text() + ": the rest is another process's, and the allowance of " +
         f.allowance->text() + " was kept";
}

Sentence others(const Figures& f) {
  const auto held = f.held_by_others();
  if (!held || !f.requested || !f.free || !f.total) return {};
  const Bounds asked = f.asked_of_device();
  if (!surely_below(*f.free, asked) || !surely_at_least(*held, asked - Bounds(*f.free))) return {};
  return "other processes hold " + bytes_text(held->middle()) + " of " + f.total->text() +
         "; without them the " + f.requested->text() + " would fit beside what this one holds";
}

Sentence in_async_pool(const Figures& f) {
  if (!f.async_pool || !f.total || !f.free || !f.live || !f.requested) return {};
  if (!surely_below(*f.free, *f.requested)) return {};
  const Bounds held = Bounds(*f.total) - Bounds(*f.free) - Bounds(*f.live);
  if (!surely_at_least(held, *f.requested)) return {};
  return bytes_text(held.middle()) +
         " are neither lent nor free: the stream-ordered pool keeps them; trim it, "
         "then try once more";
}

Sentence in_cache(const Figures& f) {
  if (!f.releasable || !f.requested || f.releasable->value <= 0) return {};
  if (f.free && !surely_below(*f.free, *f.requested)) return {};  // It is not the device that refused.
  const Bounds there = Bounds(*f.releasable) + (f.free ? Bounds(*f.free) : Bounds(0));
  if (!surely_at_least(there, *f.requested)) return {};
  return f.releasable->text() + " are cached in whole segments; given back, they make room for " +
         f.requested->text();
}

Sentence ratchet(const Figures& f) {
  if (!f.growth_steps || f.growth_steps->value < kGrowthsMin) return {};
  return "what is held grew " + f.growth_steps->text() +
         (f.growth_step ? ", last by " + f.growth_step->text() : std::string()) +
         (f.reserved ? ", to " + f.reserved->text() : std::string()) +
         ", while the work stayed the same: nothing that was kept could be used again";
}

Sentence in_pieces(const Figures& f) {
  if (!f.requested || (f.hole && surely_at_least(*f.hole, *f.requested))) return {};
  const auto idle = f.idle_bytes();
  const bool idle_suffices = idle && surely_at_least(*idle, *f.requested);
  // A pool with a limit may hold it in blocks that cannot be joined, or have the right to borrow the rest.
  const bool may_borrow = !idle || (f.free && surely_at_least(*f.free, *f.requested));
  const auto room = f.room_bytes();
  const bool limit_suffices = room && may_borrow && surely_at_least(*room, *f.requested);
  if (!idle_suffices && !limit_suffices) return {};
  return (idle_suffices
              ? bytes_text(idle->middle()) + " are idle in the allocator"
              : bytes_text(room->middle()) + " of the pool's " + f.limit->text() + " are not lent") +
         ", and " + f.requested->text() + " were refused" +
         (f.hole ? "; the largest piece has " + f.hole->text() : std::string()) +
         "; compaction would serve it";
}

Sentence buffer_too_small(const Figures& f) {
  if (!f.requested) return {};
  if (f.workspace_left && surely_below(*f.workspace_left, *f.requested))
    return f.requested->text() + " were asked of a buffer of fixed size with " + f.workspace_left->text() +
           " left: it is the buffer that is too small, not the device";
  const auto room = f.room_bytes();
  if (!room || !f.free || !surely_at_least(*f.free, *f.requested)) return {};
  if (!surely_below(*room, *f.requested)) return {};
  return f.requested->text() + " were asked of a pool of " + f.limit->text() + " with " + f.live->text() +
         " lent, and the device has " + f.free->text() + " free: it is the pool that is too small";
}

Sentence after_ready(const Figures& f) {
  if (!f.requested || !f.free || !surely_below(*f.free, f.asked_of_device())) return {};
  const std::string short_by = bytes_text((Bounds(f.asked_of_device()) - Bounds(*f.free)).middle());
  if (f.ready && f.live && !surely_below(*f.live, *f.ready))
    return "the program was ready with " + f.ready->text() + "; since then it took " +
           bytes_text(std::max((Bounds(*f.live) - Bounds(*f.ready)).middle(), std::int64_t{0})) +
           " and asks for " + f.requested->text() + ", " + short_by + " too much";
  if (f.sized && surely_below(*f.requested, *f.sized))
    return "the KV cache was given " + f.sized->text() + ", and what came after asks for " +
           f.requested->text() + ", " + short_by + " too much: the margin did not count it";
  return {};
}

Sentence oversubscribed(const Figures& f) {
  if (!f.live || !f.total || !surely_below(*f.total, *f.live)) return {};
  return f.live->text() + " are lent on a device of " + f.total->text() +
         ": nothing was refused, and pages move instead";
}

Sentence pool_is_full(const Figures& f) {
  if (!f.requested || !f.limit) return {};
  const auto room = f.live ? f.room_bytes() : Bounds(*f.limit);
  if (!room || !surely_below(*room, *f.requested)) return {};
  return bytes_text(room->middle()) + " of " + f.limit->text() + " are not lent, " +
         bytes_text((Bounds(*f.requested) - *room).middle()) + " less than the " + f.requested->text() +
         " asked for: compaction could not serve it";
}

Sentence device_is_full(const Figures& f) {
  if (!f.requested || !f.total || !f.free || !surely_below(*f.free, f.asked_of_device())) return {};
  const auto idle = f.idle_bytes();
  // An idle rest of a percent or two is what rounding leaves, in the log or in the allocator.
  const bool little = idle && surely_below(*idle, f.total->value / kLittle);
  if (!little && (!idle || !surely_below(*idle, *f.requested))) return {};
  const Bounds short_by = Bounds(f.asked_of_device()) - Bounds(*f.free);
  return f.free->text() + " are free and " + bytes_text(idle->middle()) + " idle, of " + f.total->text() +
         "; " + bytes_text(short_by.middle()) + " are missing for " + f.requested->text();
}

Sentence nothing_refused(const Figures& f) {
  if (f.requested || f.refused) return {};
  const bool anything = f.live || f.reserved || f.total || f.sized;
  if (!anything) return {};
  return "no refusal is told; " + (f.live    ? f.live->text() + " are in use"
                                   : f.sized ? "the KV cache took " + f.sized->text()
                                             : std::string("memory is in use"));
}

constexpr Rule kRules[] = {
    {"call_limit", Shortage::api_limit, call_limit, "vllm 51080: cudaHostRegister takes 512 GiB a call"},
    {"rounded_up", Shortage::api_limit, rounded_up, "sglang 36562: the pinned allocator rounds to 2^n"},
    {"taken_down", Shortage::teardown_order, taken_down, "pytorch 126381, 190348"},
    {"same_again", Shortage::unbounded_retry, same_again, "inference-sim 373, sglang 25126, llama.cpp 11476"},
    {"slots_missing", Shortage::leaked_references, slots_missing, "sglang 105"},
    {"lost", Shortage::leaked_references, lost, "imp 1115, vllm 34600"},
    {"unowned", Shortage::leaked_references, unowned, "pytorch 38966, Reactant.jl getting-started"},
    {"residue_grows", Shortage::leaked_references, residue_grows, "NeMo-RL 2619"},
    {"counted_twice", Shortage::double_counted_margin, counted_twice, "rmm 471, vllm 10533, 45178, 48140"},
    {"asked_for_more", Shortage::double_counted_margin, asked_for_more, "rmm 471, 496"},
    {"beyond_the_device", Shortage::impossible_request, beyond_the_device, "ik_llama.cpp 749"},
    {"measured_with_others", Shortage::peer, measured_with_others, "ninfer-3090 6"},
    {"in_async_pool", Shortage::cached, in_async_pool, "pytorch 110194, 188110"},
    {"in_cache", Shortage::cached, in_cache, "DeepSpeed 1611, 2620"},
    {"ratchet", Shortage::workspace_growth, ratchet, "llama.cpp 22107, onnxruntime 14474, pytorch 83461"},
    {"in_pieces", Shortage::fragmentation, in_pieces, "rmm 1957, 1664; TensorFlow heap dumps; pytorch 29554"},
    {"others", Shortage::peer, others, "vllm 783, kvcached 110"},
    {"buffer_too_small", Shortage::workspace_growth, buffer_too_small, "vllm 40023, 25342; pie 414"},
    {"after_ready", Shortage::workspace_growth, after_ready, "vllm 57475, 7553; exllamav3 50"},
    {"oversubscribed", Shortage::capacity, oversubscribed, "SlimServe 11"},
    {"pool_is_full", Shortage::capacity, pool_is_full, "TensorFlow heap dumps: 945,152 B short of 40 GB"},
    {"device_is_full", Shortage::capacity, device_is_full, "lmdeploy 684, ds4 995"},
    {"nothing_refused", Shortage::no_shortage, nothing_refused, "TensorRT-LLM 1400"},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

}  // namespace drought
