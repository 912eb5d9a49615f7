// A script under way: what it holds, and what each verb does. Everything it took ends with it, whichever
// step fails.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/rig.hpp"
#include "scenarios/device_calls.hpp"
#include "scenarios/reports/script.hpp"

namespace drought {

class ScriptRun {
 public:
  /// `rig` outlives this. Allocators that keep memory from an earlier run give it back first.
  ScriptRun(Rig& rig, std::size_t limit_bytes, std::size_t streams);
  ~ScriptRun();
  ScriptRun(const ScriptRun&) = delete;
  ScriptRun& operator=(const ScriptRun&) = delete;

  /// `number` counts the steps from 1. Throws OutOfMemory for a refusal that the step does not expect,
  /// Fatal for a step that did not come out as it says.
  void take(const Step& step, std::size_t number);
  /// Records the figures of the end, where no refusal has recorded any.
  void finish();

  void allocate(const Step& step);
  void use(const Step& step);
  void free(const Step& step);
  void drop(const Step& step);
  void collect(const Step& step);
  void trim(const Step& step);
  void peer(const Step& step);
  void ready(const Step& step);
  void drained(const Step& step);
  void require(const Step& step);
  void watch(const Step& step);
  void judge(const Step& step);
  void register_host(const Step& step);

 private:
  void allocate_each(const Step& step, bool keep);
  std::optional<Buffer> try_for(const Step& step, std::size_t bytes);
  Buffer ask(const Step& step, const std::string& name, std::size_t bytes);
  void note_growth();
  /// The figures of a refusal of `bytes`.
  void refused(const Step& step, std::size_t bytes, std::size_t times);
  /// Goes on where the step expects the refusal.
  void expected(const Step& step, const std::string& what);
  void record_state();
  void figure(std::string_view name, std::uint64_t value);
  MemInfo device_info();
  std::size_t unowned_bytes() const;

  Rig& rig_;
  const std::size_t limit_bytes_;
  const Streams streams_;
  std::size_t number_ = 0;
  std::uint64_t calls_before_ = 0;  ///< When what may be refused was asked for.
  std::map<std::string, std::vector<Buffer>> held_;
  std::map<std::string, std::vector<Lease>> leases_;
  std::map<std::string, std::size_t> unowned_;  ///< Bytes, by holder.
  std::map<std::string, bool> peers_;           ///< By name: reclaimable.
  std::map<std::string, std::size_t> peer_bytes_;
  bool any_refused_ = false, is_ready_ = false;
  std::size_t ready_bytes_ = 0;
  std::size_t held_before_ = 0, growth_steps_ = 0, growth_step_ = 0;
  std::size_t watched_free_ = 0, watched_held_ = 0, over_ = 0, judged_ = 0;
};

/// A word of the scripts and what it does.
struct Verb {
  std::string_view word;
  void (ScriptRun::*act)(const Step&);
  bool needs_bytes = false;
};
std::span<const Verb> verbs();
const Verb* verb_named(std::string_view word);

}  // namespace drought
