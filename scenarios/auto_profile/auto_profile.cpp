#include "scenarios/auto_profile/auto_profile.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

#include "scenarios/auto_profile/agreement.hpp"
#include "scenarios/auto_profile/sizing.hpp"
#include "scenarios/auto_profile/vision_hold.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::array<std::string_view, 8> kBugs{"none",          "leak_check_retried", "oom_rewrapped",
                                                "canary_kept",   "graph_kept",         "fifth_attempt",
                                                "error_pins_kv", "no_padded_request"};

/// One rank's run.
class RankProfile {
 public:
  using Options = AutoProfile::Options;
  using Vote = Agreement::Vote;

  RankProfile(Rig& rig, Group& group, int rank, const Model& model, const Options& options)
      : rig_(rig),
        options_(options),
        ranks_(rig, group, rank),
        cell_bytes_(model.cell_bytes()),
        server_(rig, rank, model,
                {.batch_max_tokens = options.batch_max_tokens,
                 .graph_max_batch_size = options.graph_max_batch_size,
                 .request_max_tokens = options.request_max_tokens,
                 .canary_bytes = options.canary_bytes,
                 .decode_splits_max = options.decode_splits_max},
                {.graph_kept = options.bug == "graph_kept",
                 .canary_kept = options.bug == "canary_kept",
                 .oom_rewrapped = options.bug == "oom_rewrapped",
                 .no_padded_request = options.bug == "no_padded_request"}) {}

  void run() {
    (void)device().take_last_error();  // A new process starts with none.
    const bool loaded = ranks_.all("load", [&] { server_.load(options_.load_transient_bytes); });
    if (!loaded || !(options_.max_total_tokens == 0 ? profile() : take_given_size())) return;
    decide("tokens", tokens_);
    decide("cache_releases", server_.meter().cache_releases());
    if (ranks_.leads() && rig_.full()) rig_.record().output_digests.push_back(digest_);
    (void)ranks_.all("shutdown", [&] { server_.teardown(); });
    (void)ranks_.all("shutdown", [&] { leave_no_leak(); });
  }

 private:
  bool take_given_size() {
    tokens_ = options_.max_total_tokens;
    return ranks_.all("build", [&] {
      server_.meter().release_cache();
      server_.build(tokens_);
      server_.place_canary();
      digest_ = server_.stress();
      server_.verify_canary();
    });
  }

  bool profile() {
    const std::uint64_t probe = probe_size(options_.batch_max_tokens, options_.graph_max_batch_size);
    decide("probe", probe);
    const bool probed = ranks_.all("probe", [&] {
      server_.meter().release_cache();  // What loading left idle is nobody's peak.
      server_.meter().restart_peak();
      server_.build(probe);
      server_.stress();
    });
    if (!probed || !ranks_.all("measure", [&] { measure(probe); })) return false;
    tokens_ = ranks_.least(sizing_.tokens);
    target_ = tokens_;
    decide("target", target_);
    const std::size_t attempts = options_.retries + 1 + (options_.bug == "fifth_attempt" ? 1 : 0);
    for (std::size_t number = 1; number <= attempts; ++number) {
      if (number > 1) tokens_ = shrunk(tokens_);
      switch (attempt(number)) {
        case Vote::fine:
          return true;
        case Vote::failed:
          return false;
        case Vote::out_of_memory:
          break;
      }
    }
    if (!last_error_.empty()) throw Fatal(diagnostic(attempts));
    return false;
  }

  void measure(std::uint64_t probe) {
    MemInfo info;
    must(device().mem_info(info), "cudaMemGetInfo");
    const PeakMeter& meter = server_.meter();
    sizing_ = size_after({.total_bytes = info.total_bytes,
                          .free_bytes = info.free_bytes,
                          .own_bytes = meter.reserved_bytes(),
                          .peak_bytes = meter.peak_bytes(),
                          .probe_tokens = probe,
                          .cell_bytes = cell_bytes_,
                          .canary_bytes = options_.canary_bytes},
                         options_.mem_fraction);
    peak_bytes_ = meter.peak_bytes();
    total_bytes_ = info.total_bytes;
    decide("non_kv_bytes", sizing_.non_kv_bytes);
    decide("peer_bytes", sizing_.peer_bytes);
    if (sizing_.non_kv_clamped) decide("non_kv_clamped", 1);
    if (sizing_.peers_clamped) decide("peers_clamped", 1);
    if (sizing_.short_bytes != 0) decide("short_bytes", sizing_.short_bytes);
    if (!sizing_.fits())
      throw Fatal("auto-profile: no room for a KV cache: measured peak without it " +
                  format_bytes(sizing_.non_kv_bytes) + ", peers " + format_bytes(sizing_.peer_bytes) +
                  ", canary " + format_bytes(options_.canary_bytes) + " of " + format_bytes(total_bytes_) +
                  ", " + std::to_string(sizing_.short_bytes) + " B short; lower " + knobs());
  }

  /// One attempt, from the teardown of what was there to a validated server. A failure of any rank that is
  /// no lack of memory ends it for all: this rank's error is rethrown; Vote::failed says that it has none.
  Vote attempt(std::size_t number) {
    std::optional<AttemptScope> scope;
    if (ranks_.leads())
      scope.emplace(rig_, Attempt{.what = "auto_profile",
                                  .number = number,
                                  .cap = options_.retries + 1,
                                  .size = static_cast<std::size_t>(tokens_)});
    decide("attempt_" + std::to_string(number), tokens_);
    if (!ranks_.all("teardown", [&] { server_.teardown(); })) return Vote::failed;
    if (!ranks_.all("teardown", [&] { leave_no_leak(); })) return Vote::failed;
    if (ranks_.leads()) rig_.ledger().begin_generation();
    Vote vote = ranks_.on("rebuild", [&] {
      server_.build(tokens_);
      server_.place_canary();
    });
    if (vote == Vote::fine)
      vote = ranks_.on("validate", [&] {
        digest_ = server_.stress();
        server_.verify_canary();
      });
    if (vote == Vote::failed) {
      if (scope) scope->failed_otherwise();
      ranks_.rethrow();
    }
    if (vote == Vote::out_of_memory) {
      last_error_ = ranks_.error_text();
      if (options_.bug == "error_pins_kv") pinned_.push_back(server_.lease_cache("the last error"));
    }
    if (vote == Vote::fine && scope) scope->succeeded();
    return vote;
  }

  /// After every rank has torn down: what lives still is a leak, by identity. Then, and only then, the cached
  /// memory goes back, so that no other pool's bytes can stand for the leaked ones.
  void leave_no_leak() {
    try {
      require_torn_down();
    } catch (const Fatal&) {
      if (options_.bug != "leak_check_retried") throw;
      tokens_ = shrunk(tokens_);
      decide("leak_retried_at", tokens_);
    }
    server_.meter().release_cache();
    const Status late = device().take_last_error();
    if (late != Status::success) throw DeviceError(late, "a free while tearing down");
  }

  Device& device() { return rig_.device(ranks_.rank()); }

  void require_torn_down() {
    if (!ranks_.leads()) return;
    const std::vector<Survivor> survivors = rig_.ledger().mark_teardown(Server::torn_down_tags());
    if (survivors.empty()) return;
    std::string text = "auto-profile: teardown leak: ";
    for (std::size_t i = 0; i < survivors.size(); ++i) text += (i ? "; " : "") + survivors[i].text();
    throw Fatal(text);
  }

  static std::string knobs() {
    return "--batch_max_tokens, --graph_max_batch_size, --visual_infer_batch_size, --max_total_token_num or "
           "--mem_fraction";
  }

  std::string diagnostic(std::size_t attempts) const {
    return "auto-profile failed after " + std::to_string(attempts) + " attempts: first " +
           std::to_string(target_) + " tokens, last " + std::to_string(tokens_) + " tokens (" +
           format_bytes(static_cast<std::size_t>(tokens_) * cell_bytes_) + " of KV cache), measured peak " +
           format_bytes(peak_bytes_) + " of " + format_bytes(total_bytes_) + ", canary " +
           format_bytes(options_.canary_bytes) + "; lower " + knobs() +
           "; the last error was: " + last_error_;
  }

  /// A figure that a scenario may expect; other ranks' names begin with the rank.
  void decide(const std::string& what, std::uint64_t value) {
    rig_.decide(ranks_.leads() ? what : "rank" + std::to_string(ranks_.rank()) + "_" + what, value);
  }

  Rig& rig_;
  const Options& options_;
  Agreement ranks_;
  const std::size_t cell_bytes_;
  Server server_;
  std::vector<Lease> pinned_;
  Sizing sizing_;
  std::uint64_t target_ = 0, tokens_ = 0, digest_ = 0;
  std::size_t peak_bytes_ = 0, total_bytes_ = 0;
  std::string last_error_;
};

}  // namespace

AutoProfile::AutoProfile(Options options)
    : options_(std::move(options)), model_(model_named(options_.model)) {
  if (std::find(kBugs.begin(), kBugs.end(), options_.bug) == kBugs.end()) {
    std::string known;
    for (const std::string_view bug : kBugs) known += (known.empty() ? "" : ", ") + std::string(bug);
    throw std::invalid_argument("unknown bug '" + options_.bug + "'; known: " + known);
  }
  const auto refuse = [](const std::string& why) { throw std::invalid_argument("auto_profile: " + why); };
  if (options_.batch_max_tokens == 0 || options_.request_max_tokens == 0)
    refuse("batch_max_tokens and request_max_tokens must be above 0");
  if (options_.graph_max_batch_size < 2)
    refuse("graph_max_batch_size must be at least 2: one row is padding");
  if (options_.batch_max_tokens > (1u << 30) || options_.graph_max_batch_size > 65535)
    refuse("batch_max_tokens is over 2^30 or graph_max_batch_size over 65535");
  if (options_.decode_splits_max == 0) refuse("decode_splits_max must be above 0");
  if (options_.canary_bytes == 0) refuse("canary_bytes must be above 0");
  if (options_.retries > 100) refuse("retries is over 100");
  if (!(options_.mem_fraction > 0 && options_.mem_fraction <= 1))
    refuse("mem_fraction must be above 0 and at most 1");
  if (!options_.visual.empty() && model_named(options_.visual).vision.layers == 0)
    refuse("visual: " + options_.visual + " has no vision tower");
}

void AutoProfile::run(Rig& rig) {
  const Phase whole(rig, "start");
  Model share;
  try {
    share = model_.share_of(static_cast<std::size_t>(rig.ranks()));
  } catch (const std::invalid_argument& mistake) {
    throw UserError(std::string("auto_profile: ") + mistake.what());
  }
  std::optional<VisionHold> hold;
  if (!options_.visual.empty()) {
    const VisionTower& tower = model_named(options_.visual).vision;
    const std::size_t held_bytes = 2 * tower.parameters() + tower.activation_bytes(options_.visual_patches);
    rig.decide("visual_bytes", held_bytes);
    hold.emplace(rig.device(), held_bytes);
  }
  Group group(rig.scheduler(), rig.ranks());
  rig.scheduler().run_beside("rank", rig.ranks(),
                             [&](int rank) { RankProfile(rig, group, rank, share, options_).run(); });
}

}  // namespace drought
