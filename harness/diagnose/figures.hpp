// The numbers of one shortage, whoever told them: a log in any framework's words, a recorded trace, a
// run's own record. Each is optional and knows how exact it is and where it was found, because "1.63 GiB"
// may be 5 MiB off, and a verdict that turns on less than that is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "harness/scenario/key.hpp"

namespace drought {

/// A number as it was written. `rounding` is half of its last digit: the truth lies so far off at most.
struct Figure {
  std::int64_t value = 0, rounding = 0;
  std::size_t line = 0;         ///< Where it was found, from 1; 0: computed.
  std::string_view unit = "B";  ///< "B", or what is counted: "blocks", "tokens", "times". Static text.

  /// "1.63 GiB", "57 blocks".
  std::string text() const;
};

/// Between `low` and `high`: what arithmetic with rounded figures can know.
struct Bounds {
  std::int64_t low = 0, high = 0;
  Bounds(std::int64_t exact) : low(exact), high(exact) {}
  Bounds(std::int64_t from, std::int64_t to) : low(from), high(to) {}
  Bounds(const Figure& figure) : low(figure.value - figure.rounding), high(figure.value + figure.rounding) {}
  std::int64_t middle() const { return low + (high - low) / 2; }
};
inline Bounds operator+(Bounds a, Bounds b) { return {a.low + b.low, a.high + b.high}; }
inline Bounds operator-(Bounds a, Bounds b) { return {a.low - b.high, a.high - b.low}; }
/// Whatever was rounded away.
inline bool surely_below(Bounds a, Bounds b) { return a.high < b.low; }
inline bool surely_at_least(Bounds a, Bounds b) { return a.low >= b.high; }

/// As format_bytes, with a sign.
std::string bytes_text(std::int64_t bytes);

using MaybeFigure = std::optional<Figure>;

struct Figures {
  // Of the refusal.
  MaybeFigure requested;       ///< What was refused.
  MaybeFigure needed;          ///< What the caller needs of that; the rest is somebody's margin or rounding.
  MaybeFigure asked;           ///< What the allocator asked of the device for it.
  MaybeFigure total, free;     ///< The device's.
  MaybeFigure live, reserved;  ///< What the allocator has lent, and what it has borrowed.
  MaybeFigure idle;            ///< Borrowed and not lent.
  MaybeFigure hole;            ///< The largest idle piece.
  MaybeFigure releasable;      ///< Idle, and in pieces that can go back to the device.
  MaybeFigure limit;           ///< The most that the allocator may hold.
  MaybeFigure process;         ///< All that this process holds, its context included.
  MaybeFigure peer;            ///< All that processes listed by their number hold.
  MaybeFigure workspace_left;  ///< What is left of a buffer of fixed size.
  MaybeFigure slots_available, slots_max, slots_protected, slots_evictable;  ///< Of an idle KV cache.
  // Of what went before.
  MaybeFigure ready;                     ///< What was lent when the program was ready to serve.
  MaybeFigure sized;                     ///< The KV cache, which took what was free.
  MaybeFigure unowned;                   ///< Alive through references only: its owner has let go.
  MaybeFigure lost;                      ///< Still lent after everything had to be back.
  MaybeFigure residual_first, residual;  ///< Still in use after a sleep: the first time, and the last.
  MaybeFigure reclaimable;               ///< Counted as used, and given up when somebody asks.
  MaybeFigure refusals;                  ///< How often the same request was refused in a row.
  MaybeFigure growth_steps;              ///< How often in a row the same thing grew by the same step.
  MaybeFigure growth_step;
  MaybeFigure device_delta, own_delta, allowance;  ///< A cost measured two ways, and what it may be.
  MaybeFigure call_limit;  ///< The most that the refused call takes, whatever is free.
  // Facts without a number: the figure is the line that tells them.
  MaybeFigure refused, teardown, async_pool, leak_reported;
  MaybeFigure torch;     ///< PyTorch's own allocator refused, which borrows in segments.
  MaybeFigure at_start;  ///< Refused before this process took anything but its context.

  static constexpr auto keys() {
    using F = Figures;
    return std::tuple{key("requested", &F::requested),
                      key("needed", &F::needed),
                      key("asked", &F::asked),
                      key("torch", &F::torch),
                      key("total", &F::total),
                      key("free", &F::free),
                      key("live", &F::live),
                      key("reserved", &F::reserved),
                      key("idle", &F::idle),
                      key("hole", &F::hole),
                      key("releasable", &F::releasable),
                      key("limit", &F::limit),
                      key("process", &F::process),
                      key("peer", &F::peer),
                      key("workspace_left", &F::workspace_left),
                      key("slots_available", &F::slots_available),
                      key("slots_max", &F::slots_max),
                      key("slots_protected", &F::slots_protected),
                      key("slots_evictable", &F::slots_evictable),
                      key("ready", &F::ready),
                      key("sized", &F::sized),
                      key("unowned", &F::unowned),
                      key("lost", &F::lost),
                      key("residual_first", &F::residual_first),
                      key("residual", &F::residual),
                      key("reclaimable", &F::reclaimable),
                      key("refusals", &F::refusals),
                      key("growth_steps", &F::growth_steps),
                      key("growth_step", &F::growth_step),
                      key("device_delta", &F::device_delta),
                      key("own_delta", &F::own_delta),
                      key("allowance", &F::allowance),
                      key("call_limit", &F::call_limit),
                      key("refused", &F::refused),
                      key("teardown", &F::teardown),
                      key("async_pool", &F::async_pool),
                      key("leak_reported", &F::leak_reported),
                      key("at_start", &F::at_start)};
  }

  /// What had to be free for `requested`: as told, PyTorch's segment for it, or just that.
  Figure asked_of_device() const;
  /// Borrowed by the allocator and not lent, as told or as the difference.
  std::optional<Bounds> idle_bytes() const;
  /// What the limit leaves to lend. Nothing where more is lent: then the two are not of one pool.
  std::optional<Bounds> room_bytes() const;
  /// What other processes hold of the device: what neither it has free nor this process holds. Where the
  /// process's own total is not told, a context's worth of that may be its own.
  std::optional<Bounds> held_by_others() const;

  using Member = MaybeFigure Figures::*;
  /// Null for a word that names none.
  static Member named(std::string_view word);
  /// A new refusal begins: what was told of the last one no longer counts, but the size of the device.
  void forget_refusal();
};

}  // namespace drought
