#include "harness/scenario/rig.hpp"

#include "harness/scenario/workload.hpp"

namespace drought {

Rig::Rig(const Scenario& scenario, const Catalogues& catalogues, RigOptions options)
    : catalogues_(catalogues),
      options_(options),
      device_work_(scenario.device.work == "shapes" ? Device::Work::shapes : Device::Work::full),
      plan_(record_, options.seed),
      scheduler_(
          {.seed = options.seed, .steps_max = scenario.device.steps_max, .switches = scenario.switches()}),
      fault_random_(Random(options.seed).split(0x5CE7E)) {
  // What an allocator borrows while it is made comes before the first step.
  quiet_ = true;
  for (int rank = 0; rank < scenario.device.count; ++rank) ranks_.push_back(make_rank(scenario, rank));
  quiet_ = false;
}

Rig::RankParts Rig::make_rank(const Scenario& scenario, int rank) {
  Profile profile = profile_named(scenario.device.profile);
  if (scenario.device.host_register_limit_bytes != 0)
    profile.host_register_limit_bytes = scenario.device.host_register_limit_bytes;
  const DeviceOptions wanted{.work = device_work_,
                             .capacity_bytes = scenario.device.capacity_bytes,
                             .seed = Random(options_.seed).split(0xDE1 + static_cast<std::uint64_t>(rank))(),
                             .repeatable = true};
  RankParts parts;
  if (options_.lane == Lane::host) {
    parts.device = make_host_device(profile, wanted);
  } else {
    std::string why_not;
    parts.device = make_cuda_device(profile, wanted, why_not);
    if (!parts.device) throw std::runtime_error("the cuda lane is not here: " + why_not);
  }
  for (std::size_t i = 0; i < scenario.device.peer_bytes.size(); ++i)
    if (parts.device->set_peer("peer " + std::to_string(i), scenario.device.peer_bytes[i]) != Status::success)
      throw UserError(scenario.path + ": peer " + std::to_string(i) + " does not fit the device");
  parts.device->set_gate(this);
  for (const Component& part : scenario.resources) {
    const AllocatorEntry* const entry = find_entry(catalogues_.allocators, part.kind);
    Account* const below = entry->takes_upstream ? parts.accounts.back().get() : nullptr;
    try {
      parts.resources.push_back(entry->make(part.options, below, *parts.device));
    } catch (const std::invalid_argument& mistake) {
      part.options.fail(part.options.at(), mistake.what());
    }
    parts.accounts.push_back(
        std::make_unique<Account>(ledger_, part.name, *parts.resources.back(), *parts.device, below));
    parts.names.push_back(part.name);
  }
  return parts;
}

Rig::~Rig() {
  heal();
  close();
}

void Rig::close() {
  bool was_open = false, any_lost = false;
  for (RankParts& parts : ranks_) {
    const bool is_open = !parts.resources.empty();
    // Top first: each resource gives back to the one below it.
    while (!parts.resources.empty()) {
      const std::string name = parts.names.back();
      const bool had_upstream = parts.accounts.back()->below();
      parts.accounts.pop_back();
      parts.resources.pop_back();
      parts.names.pop_back();
      if (!had_upstream) continue;
      for (const auto& [begin, kept] : parts.accounts.back()->live())
        record_.violate("accounting", name + " ended and kept " + std::to_string(kept.request.bytes) +
                                          " B of '" + std::string(kept.request.tag.view()) + "' (id " +
                                          std::to_string(kept.id) + ")");
    }
    // A context that an error has ended takes its memory with it.
    const bool is_lost = is_sticky(parts.device->peek_last_error());
    if (is_open && !is_lost && parts.device->held_bytes() != 0)
      record_.violate("accounting", "the device still lends " + std::to_string(parts.device->held_bytes()) +
                                        " B after everything ended");
    parts.device->set_gate(nullptr);
    was_open = was_open || is_open;
    any_lost = any_lost || is_lost;
  }
  if (const std::string alive = handles_.alive(); was_open && !any_lost && !alive.empty())
    record_.violate("accounting", "after everything ended there are still " + alive);
}

Record Rig::take_record() {
  Record taken = std::move(record_);
  record_ = Record();
  return taken;
}

Resource& Rig::allocator(std::string_view name, int rank) {
  RankParts& parts = ranks_[static_cast<std::size_t>(rank)];
  if (name.empty()) return *parts.resources.back();
  return *parts.resources[place_of(parts, name)];
}

Resource& Rig::memory_named(std::string_view name, int rank) {
  RankParts& parts = ranks_[static_cast<std::size_t>(rank)];
  return *parts.accounts[place_of(parts, name)];
}

std::size_t Rig::place_of(const RankParts& parts, std::string_view name) {
  for (std::size_t i = 0; i < parts.names.size(); ++i)
    if (parts.names[i] == name) return i;
  throw UserError("the scenario has no resource called '" + std::string(name) + "'");
}

void Rig::arm(const FaultSection& fault, bool required) {
  plan_.arm({fault.kind, find_entry(catalogues_.faults, fault.kind)->make(fault.options), Trigger(fault.when),
             required});
}

void Rig::heal() noexcept {
  plan_.disarm();
  quiet_ = true;
  if (!ranks_.empty()) {
    Scene scene{*ranks_.front().device, ledger_, fault_random_};
    plan_.release(scene);
  }
  quiet_ = false;
}

void Rig::enter(Call& call) {
  if (quiet_) return;
  ++calls_;
  // Made in destructors, and by noexcept functions.
  if (gives_back(call.site)) scheduler_.hold_exceptions();
  scheduler_.step();
  if (!plan_.idle()) meet_faults(call);
  // Last, so that what a fault refuses leaves no trace: it never touched its operands.
  if (!call.refused) ledger_.judge(call);
}

void Rig::meet_faults(Call& call) {
  Device& asked = device_of_caller();
  const Circumstances now{.phase = ledger_.phase(),
                          .live_bytes = ledger_.live_bytes(),
                          .call = calls_,
                          .rank = scheduler_.rank(),
                          .time = scheduler_.now(),
                          .process = scheduler_.process(),
                          .device = &asked};
  Scene scene{asked, ledger_, fault_random_};
  quiet_ = true;
  plan_.consider(call, now, scene);
  quiet_ = false;
  if (call.kills_process && scheduler_.inside()) scheduler_.die();
  if (call.delay_steps != 0) scheduler_.sleep(call.delay_steps);
}

Device& Rig::device_of_caller() {
  const int rank = scheduler_.rank();
  return device(rank < 0 || rank >= ranks() ? 0 : rank);
}

void Rig::leave(Call& call, Status status) noexcept {
  // Those too that a fault makes, and those that a chain makes at its start: they are ended as others are.
  handles_.note(call, status);
  if (!call.refused && (status == Status::success || gives_back(call.site))) ledger_.completed(call);
  if (quiet_) return;
  if (gives_back(call.site)) scheduler_.release_exceptions();
  if (plan_.awaits(call)) {
    Scene scene{device_of_caller(), ledger_, fault_random_};
    quiet_ = true;
    plan_.answered(call, status, scene);
    quiet_ = false;
  }
  if (status == Status::memory_allocation) {
    ++memory_refusals_;
    if (call.site != Site::allocate) last_refusal_ = {calls_, call.bytes};
  } else if (status != Status::success && status != Status::not_ready && !gives_back(call.site)) {
    ++other_refusals_;
  }
  if (is_sticky(status) && !call.refused && !call.answer && fault_place_.empty())
    for (const RankParts& parts : ranks_)
      if (fault_place_.empty()) fault_place_ = ledger_.explain_fault(parts.device->fault_address());
  const bool launches = (call.site == Site::launch && !call.captured) || call.site == Site::cudaGraphLaunch;
  if (launches && status == Status::success) ++record_.launches;
}

}  // namespace drought
