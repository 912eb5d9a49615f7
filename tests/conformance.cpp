#include "tests/conformance.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/sweep/sweep.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {

std::unique_ptr<Resource> make_allocator(const AllocatorEntry& entry, Resource* upstream, Device& device) {
  try {
    return entry.make(Table("conformance", {1, 1}), upstream, device);
  } catch (const std::invalid_argument&) {
    return entry.make(parse_toml("capacity_bytes = '64 GiB'", "conformance"), upstream, device);
  }
}

ChainRig::ChainRig(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) : entry_(entry) {
  Scenario scenario;
  scenario.path = "conformance";
  scenario.device.profile = "h100-80g";
  scenario.device.work = "shapes";
  scenario.resources.push_back({"direct", "direct", Table("conformance", {1, 1})});
  rig_ = std::make_unique<Rig>(scenario, all_catalogues(), RigOptions{lane, seed});
  if (rig_->device().stream_create(second_) != Status::success) throw std::runtime_error("no second stream");
  rig_->plan().keep_points();
}

void ChainRig::arm(std::string_view kind, const FaultPoint& point, bool forever) {
  Trigger::Options when;
  when.site = name(point.site);
  when.resource = point.resource.empty() ? "*" : point.resource;
  (forever ? when.call_min : when.call) = point.call;
  auto fault = find_entry(rig_->catalogues().faults, kind)->make(Table("conformance", {1, 1}));
  rig_->plan().arm({std::string(kind), std::move(fault), Trigger(when)});
}

void ChainRig::start() {
  if (account_) return;
  Account* const below = entry_.takes_upstream ? rig_->ledger().accounts().front() : nullptr;
  allocator_ = make_allocator(entry_, below, rig_->device());
  account_ =
      std::make_unique<Account>(rig_->ledger(), std::string(entry_.name), *allocator_, rig_->device(), below);
}

std::string ChainRig::end() {
  if (second_.id == 0) return first_violation();
  rig_->heal();
  (void)rig_->device().stream_destroy(second_);
  second_ = {};
  rig_->ledger().mark_end();
  const CheckResult accounting =
      find_entry(rig_->catalogues().checks, "accounting")->finish(rig_->record(), Outcome{});
  account_.reset();
  allocator_.reset();
  const auto& left = rig_->ledger().accounts().front()->live();
  std::string kept;
  if (!left.empty())
    kept = "ended and kept " + std::to_string(left.size()) + " blocks of its upstream, the first '" +
           std::string(left.begin()->second.request.tag.view()) + "'";
  const std::size_t held = rig_->device().held_bytes();
  rig_->close();
  if (!accounting.ok) return accounting.message;
  if (!kept.empty()) return kept;
  return held == 0 ? first_violation() : "the device still lends " + std::to_string(held) + " B";
}

std::size_t ChainRig::borrowed_bytes() {
  return entry_.takes_upstream
             ? rig_->ledger().accounts().front()->live_bytes() + rig_->ledger().mapped_bytes()
             : rig_->device().held_bytes();
}

std::string ChainRig::first_violation() const {
  const auto& violations = rig_->record().violations;
  return violations.empty() ? "" : violations.front().text;
}

void Tenant::allocate(Request request) {
  request.bytes = std::min(request.bytes, chain_.request_bytes_max());
  const auto begin = reinterpret_cast<std::uintptr_t>(chain_.memory().allocate(request));
  const std::string which =
      std::to_string(request.bytes) + " B at alignment " + std::to_string(request.alignment);
  if (begin == 0) note(which + " came as a null block");
  if (begin % request.alignment != 0) note(which + " came misaligned");
  const auto next = live_.lower_bound(begin);
  if (next != live_.end() && next->first < begin + request.bytes)
    note(which + " overlaps the block after it");
  if (next != live_.begin() && std::prev(next)->first + std::prev(next)->second.bytes > begin)
    note(which + " overlaps the block before it");
  live_.insert_or_assign(begin, request);
  live_bytes_ += request.bytes;
  asked_bytes_ += request.bytes;
  if (chain_.rig().ledger().live_bytes() != live_bytes_)
    note("the ledger counts " + std::to_string(chain_.rig().ledger().live_bytes()) + " B live, the model " +
         std::to_string(live_bytes_) + " B");
}

void Tenant::free(std::size_t which) {
  if (live_.empty()) return;
  const auto victim = std::next(live_.begin(), static_cast<std::ptrdiff_t>(which % live_.size()));
  const auto [begin, request] = *victim;
  live_.erase(victim);
  live_bytes_ -= request.bytes;
  chain_.memory().deallocate(reinterpret_cast<void*>(begin), request);
}

void Tenant::free_all() {
  while (!live_.empty()) free(0);
}

namespace {

bool always(Resource&) { return true; }
bool keeps_memory(Resource& allocator) { return dynamic_cast<Trims*>(&allocator) != nullptr; }

/// Allocates and frees in a drawn order, a few tens of blocks and at most half of kLentAtLeast, and keeps
/// what is live at the end. Sizes are uniform in their logarithm up to 4 MiB, so that small, large and
/// odd ones all come.
void churn(ChainRig& chain, Tenant& tenant, std::uint64_t seed) {
  Random random = Random(seed).split(0xC0);
  const std::size_t most = tenant.asked_bytes() + kLentAtLeast / 2;
  for (std::size_t i = 0; i < 60; ++i) {
    if (random.below(3) == 0) tenant.free(random.below(1000));
    const std::size_t bytes = 1 + random.below(std::size_t{1} << (1 + random.below(22)));
    if (tenant.asked_bytes() + bytes > most) continue;
    tenant.allocate({.bytes = bytes, .stream = chain.stream(i), .tag = "churned"});
  }
}

std::string churn_is_sound(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  {
    Tenant tenant(chain);
    churn(chain, tenant, seed);
    if (!tenant.mistake().empty()) return tenant.mistake();
  }
  return chain.first_violation();
}

std::string aligns(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  Tenant tenant(chain);
  for (std::size_t alignment = 1; alignment <= 2_MiB; alignment *= 2) {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{777}, alignment + 3}) {
      try {
        tenant.allocate({.bytes = bytes, .alignment = alignment, .tag = "aligned"});
      } catch (const std::invalid_argument& refused) {
        // 256 bytes is what cudaMalloc promises; above, an allocator may say that it cannot.
        if (alignment <= 256) return "refused alignment " + std::to_string(alignment) + ": " + refused.what();
      }
    }
  }
  tenant.free_all();
  return tenant.mistake().empty() ? chain.first_violation() : tenant.mistake();
}

std::string gives_all_back(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  Tenant tenant(chain);
  churn(chain, tenant, seed);
  tenant.free_all();
  if (chain.rig().ledger().live_bytes() != 0) return "bytes are live after every block was freed";
  return chain.end();
}

std::string refuses_nothing(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  Tenant tenant(chain);
  tenant.allocate({.bytes = 1, .tag = "something"});
  try {
    tenant.allocate({.bytes = 0, .tag = "nothing"});
  } catch (const std::invalid_argument&) {
    tenant.free_all();
    return chain.end();
  }
  return "a request of no bytes was not refused";
}

std::string decides_alike(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  std::vector<std::uint64_t> offsets[2];
  for (auto& run : offsets) {
    ChainRig chain(entry, seed, lane);
    Tenant tenant(chain);
    churn(chain, tenant, seed);
    for (const auto& [begin, block] : chain.account().live())
      run.push_back(chain.rig().device().offset_of(reinterpret_cast<void*>(begin)));
  }
  return offsets[0] == offsets[1] ? "" : "two runs of one seed left blocks at different offsets";
}

std::string reuses(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  Tenant tenant(chain);
  std::size_t most[2] = {};
  for (std::size_t& round : most) {
    for (const std::size_t bytes : {3_KiB, 700_B, 5_MiB, 1_MiB, 90_KiB, 2_MiB, 64_B}) {
      tenant.allocate({.bytes = bytes, .tag = "again"});
      round = std::max(round, chain.borrowed_bytes());
    }
    tenant.free_all();
  }
  if (most[0] == 0) return "nothing was borrowed, so nothing was tested";
  return most[1] <= most[0] ? ""
                            : "borrowed " + std::to_string(most[1] - most[0]) + " B while as much lay idle";
}

std::string trims(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  ChainRig chain(entry, seed, lane);
  Tenant tenant(chain);
  for (int round = 0; round < 2; ++round) {
    churn(chain, tenant, seed);
    if (chain.trims()->reserved_bytes() != chain.borrowed_bytes())
      return "reserved_bytes() is not what upstream lends";
    tenant.free_all();
    const std::size_t before = chain.borrowed_bytes();
    const std::size_t given_back = chain.trims()->trim();
    if (chain.trims()->reserved_bytes() != 0) return "reserved_bytes() is not 0 after everything was trimmed";
    if (chain.borrowed_bytes() != 0)
      return "upstream still lends " + std::to_string(chain.borrowed_bytes()) + " B after the trim";
    if (given_back != before)
      return "trim() answered " + std::to_string(given_back) + " B and gave back " + std::to_string(before) +
             " B";
  }
  return tenant.mistake().empty() ? chain.first_violation() : tenant.mistake();
}

/// One strike of the sweep: fail there, free, heal, and do the same again.
std::string survives(const AllocatorEntry& entry, std::uint64_t seed, Lane lane, const FaultPoint& point,
                     bool forever) {
  const std::string_view fault = default_faults(point.site).front();
  ChainRig chain(entry, seed, lane);
  chain.arm(fault, point, forever);
  try {
    Tenant tenant(chain);
    churn(chain, tenant, seed);
    if (!tenant.mistake().empty()) return tenant.mistake();
  } catch (const OutOfMemory&) {
  } catch (const DeviceError& error) {
    if (fault == "out_of_memory")
      return std::string("a lack of memory came as another error: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("a failure came as neither OutOfMemory nor DeviceError: ") + error.what();
  }
  if (chain.struck() == 0) return "the fault did not strike";
  chain.rig().heal();
  (void)chain.rig().device().take_last_error();
  try {
    Tenant tenant(chain);
    churn(chain, tenant, seed);
    if (!tenant.mistake().empty()) return tenant.mistake();
  } catch (const std::exception& error) {
    return std::string("after healing: ") + error.what();
  }
  return chain.end();
}

std::string survives_every_failure(const AllocatorEntry& entry, std::uint64_t seed, Lane lane) {
  std::vector<FaultPoint> points;
  {
    ChainRig chain(entry, seed, lane);
    Tenant tenant(chain);
    churn(chain, tenant, seed);
    points = chain.rig().plan().points();
  }
  std::size_t memory_points = 0;
  for (const FaultPoint& point : points) {
    // A refusal of the allocator's own `allocate` never reaches it, and a give-back cannot be refused.
    if (point.resource == entry.name || gives_back(point.site)) continue;
    const auto errors = documented_errors(point.site);
    memory_points += !errors.empty() && errors.front() == Status::memory_allocation;
    for (const bool forever : {false, true}) {
      const std::string why = survives(entry, seed, lane, point, forever);
      if (!why.empty())
        return std::string(name(point.site)) + " at call " + std::to_string(point.call) +
               (forever ? " and from there on" : "") + ": " + why;
    }
  }
  return memory_points != 0 ? "" : "the workload never reached upstream, so nothing was tested";
}

constexpr Claim kClaims[] = {
    {"AlignsEveryBlockAsAskedOrSaysThatItCannot", aligns, always},
    {"LendsOnlyWhatItBorrowedAndNoByteTwice", churn_is_sound, always},
    {"GivesBackEveryByteAtItsEnd", gives_all_back, always},
    {"RefusesARequestOfNoBytes", refuses_nothing, always},
    {"MakesTheSameDecisionsInTheSameRun", decides_alike, always},
    {"UsesFreedMemoryBeforeItBorrowsMore", reuses, keeps_memory},
    {"TrimsToNothingOnceEverythingIsFree", trims, keeps_memory},
    {"AnswersEveryUpstreamFailureCleanlyAndRecovers", survives_every_failure, always},
};

}  // namespace

std::span<const Claim> conformance_claims() { return kClaims; }

}  // namespace drought
