#include "harness/diagnose/diagnosis.hpp"

#include <algorithm>
#include <array>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::array<std::string_view, 13> kNames{"capacity",
                                                  "fragmentation",
                                                  "cached",
                                                  "peer",
                                                  "workspace_growth",
                                                  "leaked_references",
                                                  "double_counted_margin",
                                                  "unbounded_retry",
                                                  "impossible_request",
                                                  "api_limit",
                                                  "teardown_order",
                                                  "no_shortage",
                                                  "undecided"};

/// The first number without which no rule can speak.
std::string missing(const Figures& f) {
  if (!f.refused && !f.requested) return "no wording of an out of memory was found";
  if (f.device_delta && !f.own_delta)
    return "what this process itself took is not told, and the device's free memory falls for every process";
  if (!f.requested) return "the size of the refused request is not told";
  if (f.free && surely_at_least(*f.free, *f.requested))
    return f.free->text() + " were free, more than the " + f.requested->text() +
           " asked for: another limit refused it, and the log does not say which";
  if (!f.live) return "what the allocator has lent is not told";
  for (const MaybeFigure* const most : {&f.limit, &f.reserved})
    if (*most && surely_below(**most, *f.live))
      return f.live->text() + " lent and " + (*most)->text() + " to lend are not told of one pool";
  if (!f.limit && !f.total) return "neither the device's size nor the pool's limit is told";
  if (!f.limit && !f.free) return "the device's free memory is not told";
  if (!f.limit && !f.reserved && !f.idle && !f.process) return "what the allocator has borrowed is not told";
  return "the figures are rounded by more than what they differ";
}

}  // namespace

std::string_view name(Shortage shortage) { return kNames[static_cast<std::size_t>(shortage)]; }

std::span<const std::string_view> shortage_names() { return kNames; }

Diagnosis diagnose(const Figures& figures) {
  for (const Rule& rule : rules())
    if (auto sentence = rule.judge(figures)) return {rule.shortage, rule.name, *sentence, rule.source};
  return {Shortage::undecided, "none", "the numbers do not decide: " + missing(figures), ""};
}

}  // namespace drought
