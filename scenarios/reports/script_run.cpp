#include "scenarios/reports/script_run.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "harness/memory/interfaces.hpp"
#include "scenarios/reports/holdings.hpp"

namespace drought {
namespace {

constexpr Verb kVerbs[] = {
    {"allocate", &ScriptRun::allocate, true},
    {"use", &ScriptRun::use, true},
    {"free", &ScriptRun::free},
    {"drop", &ScriptRun::drop},
    {"collect", &ScriptRun::collect},
    {"trim", &ScriptRun::trim},
    {"peer", &ScriptRun::peer},
    {"ready", &ScriptRun::ready},
    {"drained", &ScriptRun::drained},
    {"require", &ScriptRun::require, true},
    {"watch", &ScriptRun::watch},
    {"judge", &ScriptRun::judge},
    {"register", &ScriptRun::register_host, true},
};

/// Host memory of any size that costs nothing: no page of it is written.
class HostRange {
 public:
  explicit HostRange(std::size_t bytes)
      : bytes_(bytes),
        data_(::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (data_ == MAP_FAILED)
      throw std::runtime_error("the machine has no " + format_bytes(bytes) + " of addresses to register");
  }
  ~HostRange() { ::munmap(data_, bytes_); }
  HostRange(const HostRange&) = delete;
  HostRange& operator=(const HostRange&) = delete;
  const void* data() const { return data_; }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

const Verb* verb_named(std::string_view word) {
  for (const Verb& verb : kVerbs)
    if (verb.word == word) return &verb;
  return nullptr;
}

ScriptRun::ScriptRun(Rig& rig, std::size_t limit_bytes, std::size_t streams)
    : rig_(rig), limit_bytes_(limit_bytes), streams_(rig.device(), streams) {
  for (Account* const account : rig.ledger().accounts())
    if (auto* const trims = dynamic_cast<Trims*>(&account->resource())) trims->trim();
}

ScriptRun::~ScriptRun() {
  for (const auto& [name, reclaimable] : peers_) (void)rig_.device().set_peer(name, 0);
}

void ScriptRun::take(const Step& step, std::size_t number) {
  number_ = number;
  const Phase phase(rig_, step.phase.empty() ? rig_.ledger().phase() : Tag(step.phase));
  (this->*verb_named(step.verb)->act)(step);
}

void ScriptRun::finish() {
  if (judged_ != 0) rig_.decide("over", over_);
  if (!any_refused_) record_state();
  held_.clear();
  leases_.clear();
}

void ScriptRun::figure(std::string_view name, std::uint64_t value) {
  rig_.decide("figure." + std::string(name), value);
}

MemInfo ScriptRun::device_info() {
  MemInfo info;
  must(rig_.device().mem_info(info), "cudaMemGetInfo");
  return info;
}

void ScriptRun::record_state() {
  const MemInfo info = device_info();
  const Holdings held = holdings(rig_);
  figure("total", info.total_bytes);
  figure("free", info.free_bytes);
  figure("process", rig_.device().held_bytes() + rig_.device().profile().context_bytes);
  figure("live", held.live_bytes);
  figure("reserved", held.reserved_bytes);
  figure("hole", held.hole_bytes);
  figure("releasable", held.releasable_bytes);
  if (limit_bytes_ != 0) figure("limit", limit_bytes_);
  if (growth_steps_ != 0) figure("growth_steps", growth_steps_);
  if (growth_steps_ != 0) figure("growth_step", growth_step_);
  if (const std::size_t bytes = unowned_bytes()) figure("unowned", bytes);
  std::size_t reclaimable = 0;
  for (const auto& [name, is_reclaimable] : peers_)
    if (is_reclaimable) reclaimable += peer_bytes_[name];
  if (reclaimable != 0) figure("reclaimable", reclaimable);
  if (rig_.ledger().phase() == Tag("teardown")) figure("teardown", 1);
}

void ScriptRun::refused(const Step& step, std::size_t bytes, std::size_t times) {
  any_refused_ = true;
  figure("requested", bytes);
  const Rig::Refusal& refusal = rig_.last_refusal();
  if (refusal.call > calls_before_ && refusal.bytes != bytes) figure("asked", refusal.bytes);
  if (step.needed_bytes != 0) figure("needed", step.needed_bytes);
  figure("refusals", times);
  record_state();
}

void ScriptRun::expected(const Step& step, const std::string& what) {
  rig_.record().fallbacks.push_back("step " + std::to_string(number_) + ", '" + step.verb + "': " + what);
}

Buffer ScriptRun::ask(const Step& step, const std::string& name, std::size_t bytes) {
  Resource& memory = step.from.empty() ? rig_.memory() : rig_.memory_named(step.from);
  return Buffer(memory,
                Request{.bytes = bytes, .stream = streams_[step.stream], .tag = Tag(std::string_view(name))});
}

/// Growth that nothing explains: the program was ready, or gives back all that it uses.
void ScriptRun::note_growth() {
  const std::size_t held = holdings(rig_).reserved_bytes;
  if (held > held_before_) {
    ++growth_steps_;
    growth_step_ = held - held_before_;
  }
  held_before_ = held;
}

/// One block, asked for as often as the step says; none when it was refused each time.
std::optional<Buffer> ScriptRun::try_for(const Step& step, std::size_t bytes) {
  for (std::size_t number = 1;; ++number) {
    std::optional<AttemptScope> attempt;
    if (step.cap != 0)
      attempt.emplace(
          rig_, Attempt{.what = "'" + step.name + "'", .number = number, .cap = step.cap, .size = bytes});
    try {
      calls_before_ = rig_.calls();
      Buffer made = ask(step, step.name, bytes);
      if (attempt) attempt->succeeded();
      return made;
    } catch (const OutOfMemory&) {
      if (number < step.tries) continue;
      refused(step, bytes, number);
      if (!step.refused) throw;
      expected(step, "refused, as it should be");
      return {};
    }
  }
}

void ScriptRun::allocate_each(const Step& step, bool keep) {
  const bool watches_growth = (is_ready_ || !keep) && step.with.empty() && step.count > 1;
  if (watches_growth) {
    held_before_ = holdings(rig_).reserved_bytes;
    growth_steps_ = 0;
  }
  // What was got before a refusal stays: who unwinds it, and whether, is the script's next step.
  for (std::size_t i = 0; i < step.count; ++i) {
    std::optional<Buffer> made = try_for(step, step.bytes + i * step.grow_bytes);
    if (!made) return;
    if (keep) held_[step.name].push_back(std::move(*made));
    made.reset();
    if (!step.with.empty()) held_[step.with].push_back(ask(step, step.with, step.with_bytes));
    if (watches_growth) note_growth();
  }
  if (step.refused)
    throw Fatal("step " + std::to_string(number_) + ", '" + step.name +
                "': was served, and was to be refused");
}

void ScriptRun::allocate(const Step& step) { allocate_each(step, true); }
void ScriptRun::use(const Step& step) { allocate_each(step, false); }

void ScriptRun::free(const Step& step) {
  std::vector<Buffer> kept;
  std::vector<Buffer>& all = held_[step.name];
  for (std::size_t i = 0; i < all.size(); ++i)
    if (i % step.every != 0 || (step.count > 1 && i / step.every >= step.count))
      kept.push_back(std::move(all[i]));
  all = std::move(kept);
}

void ScriptRun::drop(const Step& step) {
  for (Buffer& buffer : held_[step.name]) {
    leases_[step.holder].push_back(buffer.lease(step.holder));
    unowned_[step.holder] += buffer.bytes();
  }
  held_.erase(step.name);
  if (rig_.ledger().phase() == Tag("teardown")) figure("teardown", 1);
}

void ScriptRun::collect(const Step& step) {
  leases_.erase(step.holder);
  unowned_.erase(step.holder);
}

std::size_t ScriptRun::unowned_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [holder, held] : unowned_) bytes += held;
  return bytes;
}

void ScriptRun::trim(const Step& step) {
  auto* const trims = dynamic_cast<Trims*>(&rig_.allocator(step.from));
  if (!trims) throw UserError("the step '" + step.verb + "' names an allocator that keeps nothing");
  rig_.decide("trimmed", trims->trim());
}

void ScriptRun::peer(const Step& step) {
  const bool fits = rig_.device().set_peer(step.name, step.bytes) == Status::success;
  if (fits == step.refused)
    throw Fatal("step " + std::to_string(number_) + ": peer '" + step.name + "' " +
                (fits ? "fits the device, and was to be refused" : "does not fit the device"));
  if (!fits) return;
  peers_[step.name] = step.reclaimable;
  peer_bytes_[step.name] = step.bytes;
}

void ScriptRun::ready(const Step&) {
  is_ready_ = true;
  ready_bytes_ = holdings(rig_).live_bytes;
  figure("ready", ready_bytes_);
}

void ScriptRun::drained(const Step&) {
  const std::size_t live = holdings(rig_).live_bytes;
  figure("lost", live > ready_bytes_ ? live - ready_bytes_ : 0);
}

void ScriptRun::require(const Step& step) {
  calls_before_ = rig_.calls();
  const std::size_t free_bytes = device_info().free_bytes;
  if (step.bytes <= free_bytes) {
    if (!step.refused) return;
    throw Fatal("step " + std::to_string(number_) + ": " + format_bytes(step.bytes) +
                " were free, and were to be refused");
  }
  refused(step, step.bytes, 1);
  if (!step.refused)
    throw Fatal("'" + step.name + "' wants " + format_bytes(step.bytes) + " free, and " +
                format_bytes(free_bytes) + " are");
}

void ScriptRun::watch(const Step&) {
  watched_free_ = device_info().free_bytes;
  watched_held_ = rig_.device().held_bytes();
}

void ScriptRun::judge(const Step& step) {
  const std::size_t free_bytes = device_info().free_bytes, held = rig_.device().held_bytes();
  const std::size_t fell = watched_free_ > free_bytes ? watched_free_ - free_bytes : 0;
  const std::size_t own = held > watched_held_ ? held - watched_held_ : 0;
  ++judged_;
  if (fell <= step.bytes) return;
  ++over_;
  figure("device_delta", fell);
  figure("own_delta", own);
  figure("allowance", step.bytes);
}

void ScriptRun::register_host(const Step& step) {
  calls_before_ = rig_.calls();
  const HostRange range(step.bytes);
  const Status status = rig_.device().host_register(range.data(), step.bytes, {.read_only = true});
  if (status == Status::success) {
    must(rig_.device().host_unregister(range.data()), "cudaHostUnregister");
    if (step.refused)
      throw Fatal("step " + std::to_string(number_) + ": " + format_bytes(step.bytes) +
                  " were registered, and were to be refused");
    return;
  }
  (void)rig_.device().take_last_error();
  refused(step, step.bytes, 1);
  if (const std::size_t most = rig_.device().profile().host_register_limit_bytes) figure("call_limit", most);
  if (!step.refused || status != Status::memory_allocation) throw DeviceError(status, "cudaHostRegister");
  expected(step, "refused, as it should be");
}

}  // namespace drought
