#include "harness/diagnose/figures.hpp"

#include <algorithm>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

// A context takes 0.5 GiB (measured on an H200), with cuBLAS and NCCL up to 2 GiB.
constexpr std::int64_t kContextMax = 2_GiB, kFreshContextMax = 768_MiB;

/// Nothing where the part is more than the whole.
std::optional<Bounds> rest_of(const MaybeFigure& whole, const MaybeFigure& part) {
  if (!whole || !part || surely_below(*whole, *part)) return {};
  const Bounds rest = Bounds(*whole) - Bounds(*part);
  return Bounds(std::max(rest.low, std::int64_t{0}), rest.high);
}

}  // namespace

std::string bytes_text(std::int64_t bytes) {
  return bytes < 0 ? "-" + format_bytes(static_cast<std::size_t>(-bytes))
                   : format_bytes(static_cast<std::size_t>(bytes));
}

Figure Figures::asked_of_device() const {
  if (asked) return *asked;
  Figure segment = *requested;
  if (!torch || segment.unit != "B") return segment;
  // kSmallSize, kMinLargeAlloc, kRoundLarge of c10/cuda/CUDACachingAllocator.cpp.
  if (segment.value <= std::int64_t{1_MiB})
    segment.value = 2_MiB;
  else if (segment.value < std::int64_t{10_MiB})
    segment.value = 20_MiB;
  return segment;
}

std::optional<Bounds> Figures::idle_bytes() const { return idle ? Bounds(*idle) : rest_of(reserved, live); }

std::optional<Bounds> Figures::room_bytes() const { return rest_of(limit, live); }

std::optional<Bounds> Figures::held_by_others() const {
  if (!total || !free || async_pool) return {};
  const Bounds used = Bounds(*total) - Bounds(*free);
  if (process) return used - Bounds(*process);
  if (at_start) return used - Bounds(0, kFreshContextMax);
  const auto not_lent = idle_bytes();
  if (!live || !not_lent) return {};
  return used - Bounds(*live) - *not_lent - Bounds(0, kContextMax);
}

std::string Figure::text() const {
  return unit == "B" ? bytes_text(value) : std::to_string(value) + " " + std::string(unit);
}

Figures::Member Figures::named(std::string_view word) {
  Member found = nullptr;
  std::apply([&](const auto&... keys) { ((keys.name == word ? void(found = keys.member) : void()), ...); },
             keys());
  return found;
}

void Figures::forget_refusal() {
  constexpr Member kOfTheRefusal[] = {&Figures::requested,
                                      &Figures::asked,
                                      &Figures::torch,
                                      &Figures::unowned,
                                      &Figures::reclaimable,
                                      &Figures::needed,
                                      &Figures::free,
                                      &Figures::live,
                                      &Figures::reserved,
                                      &Figures::idle,
                                      &Figures::hole,
                                      &Figures::releasable,
                                      &Figures::limit,
                                      &Figures::process,
                                      &Figures::peer,
                                      &Figures::workspace_left,
                                      &Figures::slots_max,
                                      &Figures::slots_available,
                                      &Figures::slots_protected,
                                      &Figures::slots_evictable,
                                      &Figures::refused,
                                      &Figures::async_pool,
                                      &Figures::leak_reported,
                                      &Figures::at_start};
  for (const Member member : kOfTheRefusal) (this->*member).reset();
}

}  // namespace drought
