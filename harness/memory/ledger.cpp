#include "harness/memory/ledger.hpp"

#include <algorithm>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr std::size_t kGraves = 4096;
constexpr std::size_t kSuspectsMax = 8;
// An address further than this from a block is not called near it: two granules of the driver's.
constexpr std::size_t kNearBytes = 4_MiB;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool is_a_fault(std::string_view holder) { return holder.starts_with("fault:"); }

}  // namespace

std::string Survivor::text() const {
  const std::string held = joined(holders);
  return "'" + std::string(tag.view()) + "' (id " + std::to_string(id) + ", " + format_bytes(bytes) +
         ", allocated at " + allocated_at + ") held by " + (held.empty() ? "nobody known" : held) +
         (users.empty() ? "" : ", used by " + joined(users));
}

void Ledger::bury(const Allocation& allocation, const Request& freed_by) {
  static_assert(sizeof(Freed) <= 64, "a grave is one cache line");
  if (graveyard_.empty()) graveyard_.resize(kGraves);
  const std::size_t grave = buried_++ % kGraves;
  graveyard_[grave] = {allocation.begin, allocation.end(),        allocation.id, allocation.request.tag,
                       phase_,           allocation.request.from, freed_by.from};
  if (!used_when_freed_.empty()) used_when_freed_.erase(grave);
  if (graph_uses_.empty()) return;
  const std::string users = joined(graph_uses_.users_of(allocation.begin, allocation.end()));
  if (!users.empty()) used_when_freed_[grave] = users;
}

std::string Ledger::how_freed(const Freed& freed) const {
  const CallSite &lent_at = freed.lent_at, &freed_at = freed.freed_at;
  const bool by_its_buffer = lent_at.line == freed_at.line && lent_at.text() == freed_at.text();
  const auto used = used_when_freed_.find(static_cast<std::size_t>(&freed - graveyard_.data()));
  return (by_its_buffer ? "with its buffer, allocated at " + lent_at.text() : "at " + freed_at.text()) +
         (used == used_when_freed_.end() ? "" : " while " + used->second + " used it");
}

const Ledger::Freed* Ledger::freed_around(std::uintptr_t begin) const {
  for (std::uint64_t age = 1; age <= std::min<std::uint64_t>(buried_, kGraves); ++age) {
    const Freed& freed = graveyard_[(buried_ - age) % kGraves];
    if (freed.begin <= begin && begin < freed.end) return &freed;
  }
  return nullptr;
}

void Ledger::update_peak() { record_.peak_bytes = std::max(record_.peak_bytes, live_bytes_); }

Ledger::Objection Ledger::objection_to(const Operand& operand) const {
  if (operand.bytes == 0) return {};
  const auto begin = reinterpret_cast<std::uintptr_t>(operand.data);
  if (begin + operand.bytes < begin) return {"wraps around the address space"};
  const std::uintptr_t end = begin + operand.bytes;
  for (const SpanMap& map : maps_) {
    if (begin < map.base || begin - map.base >= map.bytes) continue;
    if (map.covers(begin - map.base, operand.bytes)) return {};
    return {"lies outside the spans of map '" + map.name + "' (offset " + std::to_string(begin - map.base) +
                ", " + std::to_string(operand.bytes) + " B)",
            "span_cover"};
  }
  for (const Account* account : accounts_) {
    const Allocation* block = account->above_ ? nullptr : account->containing(begin);
    if (!block) continue;
    if (end <= block->end()) return {};
    return {"runs " + std::to_string(end - block->end()) + " B past the end of '" +
            std::string(block->request.tag.view()) + "' (id " + std::to_string(block->id) + ", " +
            std::to_string(block->request.bytes) + " B)"};
  }
  if (auto after = ranges_.upper_bound(begin); after != ranges_.begin()) {
    const auto& [start, range] = *std::prev(after);
    if (begin - start < range.bytes)
      return {end - start <= range.bytes ? std::string() : "runs past the end of '" + range.name + "'"};
  }
  if (const Freed* freed = freed_around(begin))
    return {"is stale: '" + std::string(freed->tag.view()) + "' (id " + std::to_string(freed->id) +
            ") was freed " + how_freed(*freed) +
            (freed->phase.view().empty() ? "" : " in phase " + std::string(freed->phase.view()))};
  // Memory that an allocator borrowed and has not lent is the device's for certain, in a copy too.
  for (const Account* account : accounts_)
    if (account->above_ && account->containing(begin))
      return {"is foreign: '" + account->above_->name() + "' borrowed it and has lent it to nobody"};
  return {.text = "is foreign: no live allocation holds it", .foreign = true};
}

void Ledger::suspect(const Call& launch) {
  if (launch.site != Site::launch) return;
  for (const Operand& operand : launch.operands) {
    const Objection objection = objection_to(operand);
    if (objection.text.empty()) continue;
    suspects_.push_back(std::string(launch.kernel) + " operand '" + std::string(operand.name) + "' " +
                        objection.text);
    if (suspects_.size() > kSuspectsMax) suspects_.pop_front();
  }
}

std::string Ledger::place_of(std::uintptr_t address) const {
  const auto named = [](const Allocation& block) {
    return "'" + std::string(block.request.tag.view()) + "' (id " + std::to_string(block.id) + ", " +
           std::to_string(block.request.bytes) + " B, allocated at " + block.request.from.text() + ")";
  };
  std::size_t nearest = kNearBytes;
  std::string beside;
  for (const Account* account : accounts_) {
    if (account->above_) continue;
    const auto next = account->live_.upper_bound(address);
    if (next != account->live_.end() && next->first - address < nearest) {
      nearest = next->first - address;
      beside = std::to_string(nearest) + " B before the start of " + named(next->second);
    }
    if (next == account->live_.begin()) continue;
    const Allocation& before = std::prev(next)->second;
    if (address < before.end())
      return "at byte " + std::to_string(address - before.begin) + " of " + named(before);
    if (address - before.end() < nearest) {
      nearest = address - before.end();
      beside = std::to_string(nearest) + " B past the end of " + named(before);
    }
  }
  if (const Freed* freed = freed_around(address))
    return "at byte " + std::to_string(address - freed->begin) + " of '" + std::string(freed->tag.view()) +
           "' (id " + std::to_string(freed->id) + ", " + std::to_string(freed->end - freed->begin) +
           " B), freed " + how_freed(*freed);
  return beside;
}

std::string Ledger::explain_fault(const void* address) const {
  std::string text = address ? place_of(reinterpret_cast<std::uintptr_t>(address)) : "";
  if (!text.empty()) text = "the address lies " + text;
  for (const std::string& operand : suspects_) text += (text.empty() ? "" : "; ") + ("suspect: " + operand);
  return text;
}

void Ledger::judge_registration(const Call& call) {
  const auto begin = reinterpret_cast<std::uintptr_t>(call.data);
  for (const SpanMap& map : maps_) {
    if (begin < map.base || begin - map.base >= map.bytes) continue;
    ++record_.judged_registrations;
    // The last page of a file reaches past its end, and registering it whole touches nothing else.
    const std::uint64_t offset = begin - map.base, left = round_up(map.bytes, map.page_bytes) - offset;
    const std::uint64_t inside =
        call.bytes <= left ? std::min<std::uint64_t>(call.bytes, map.bytes - offset) : call.bytes;
    if (!map.covers(offset, inside))
      record_.violate("span_cover", "pages outside the spans of map '" + map.name +
                                        "' are registered (offset " + std::to_string(offset) + ", " +
                                        std::to_string(call.bytes) + " B)");
  }
}

void Ledger::completed(const Call& call) {
  order_.completed(call);
  graph_uses_.completed(call);
  if (call.site == Site::cudaHostRegister) registered_.insert_or_assign(call.data, call.bytes);
  if (call.site == Site::cudaHostUnregister) registered_.erase(call.data);
  if (call.site == Site::cuMemMap || call.site == Site::cuMemUnmap) note_mapping(call);
}

void Ledger::note_mapping(const Call& call) {
  const auto begin = reinterpret_cast<std::uintptr_t>(call.data);
  if (call.site == Site::cuMemMap) {
    mapped_bytes_ += mapped_.try_emplace(begin, call.bytes).second ? call.bytes : 0;
    return;
  }
  for (auto at = mapped_.lower_bound(begin); at != mapped_.end() && at->first - begin < call.bytes;) {
    mapped_bytes_ -= at->second;
    at = mapped_.erase(at);
  }
  for (const Account* account : accounts_) {
    const auto inside = account->live().lower_bound(begin);
    if (inside != account->live().end() && inside->first - begin < call.bytes)
      record_.violate("accounting",
                      "cuMemUnmap took memory in which " + account->called(inside->second) + " still lives");
  }
}

bool Ledger::is_mapped(std::uintptr_t begin, std::uintptr_t end) const {
  auto at = mapped_.upper_bound(begin);
  if (at == mapped_.begin()) return false;
  for (--at; at != mapped_.end() && at->first <= begin; ++at) {
    begin = std::max(begin, at->first + at->second);
    if (begin >= end) return true;
  }
  return false;
}

void Ledger::judge(Call& call) {
  if (!call.declared) return suspect(call);
  // An instance is only made ready; what its launch touches is judged then.
  if (call.site == Site::cudaGraphInstantiate) return;
  if (call.operands.empty() && call.site != Site::cudaHostRegister) return;
  if (call.site == Site::cudaHostRegister) judge_registration(call);
  for (const Operand& operand : call.operands) {
    ++record_.judged_operands;
    const Objection objection = objection_to(operand);
    // The other side of a copy may be any host memory; the device knows that better.
    if (objection.text.empty() || (objection.foreign && operand.may_be_host)) continue;
    const std::string_view who = call.kernel.empty() ? name(call.site) : call.kernel;
    record_.violate(std::string(objection.check),
                    std::string(who) + " operand '" + std::string(operand.name) + "' " + objection.text);
    call.refused = Status::invalid_value;
  }
  if (call.refused || call.captured) return;
  record_.ordered_accesses += call.operands.size();
  for (const std::string& race : order_.note(call)) record_.violate("stream_order", race);
}

Survivor Ledger::survivor(const Allocation& allocation) const {
  Survivor found{allocation.id,
                 allocation.request.tag,
                 allocation.request.bytes,
                 {},
                 graph_uses_.users_of(allocation.begin, allocation.end()),
                 allocation.request.from.text(),
                 false};
  if (allocation.owned) found.holders.emplace_back("its owner");
  bool faults_only = !allocation.owned && !allocation.leases.empty();
  for (const std::string& holder : allocation.leases) {
    found.holders.push_back(holder);
    faults_only = faults_only && is_a_fault(holder);
  }
  found.charged_to_fault = faults_only;
  return found;
}

std::vector<Survivor> Ledger::survivors(std::span<const Tag> tags) const {
  std::vector<Survivor> found;
  for (const Account* account : accounts_) {
    if (account->above_) continue;
    for (const auto& [begin, allocation] : account->live_)
      if (std::find(tags.begin(), tags.end(), allocation.request.tag) != tags.end())
        found.push_back(survivor(allocation));
  }
  std::sort(found.begin(), found.end(), [](const Survivor& a, const Survivor& b) { return a.id < b.id; });
  return found;
}

std::vector<Survivor> Ledger::mark_teardown(std::vector<Tag> tags) {
  std::vector<Survivor> found = survivors(tags);
  record_.teardowns.push_back({std::string(phase_.view()), std::move(tags), found});
  return found;
}

void Ledger::mark_end() {
  record_.live_at_end.clear();
  for (const Account* account : accounts_)
    for (const auto& [begin, allocation] : account->live_)
      if (!account->above_) record_.live_at_end.push_back(survivor(allocation));
  for (const auto& [begin, bytes] : registered_)
    record_.violate("accounting",
                    "host memory of " + std::to_string(bytes) + " B is still registered at the end");
}

std::uint64_t Ledger::declare_map(SpanMap map) {
  forget_map(map.name);
  std::sort(map.spans.begin(), map.spans.end(),
            [](const SpanMap::Span& a, const SpanMap::Span& b) { return a.offset < b.offset; });
  map.id = next_map_id_++;
  maps_.push_back(std::move(map));
  return maps_.back().id;
}

void Ledger::forget_map(std::string_view name) {
  std::erase_if(maps_, [&](const SpanMap& map) { return map.name == name; });
}

const SpanMap* Ledger::map_named(std::string_view name) const {
  for (const SpanMap& map : maps_)
    if (map.name == name) return &map;
  return nullptr;
}

void Ledger::declare_range(std::string name, const void* data, std::size_t bytes) {
  ranges_.insert_or_assign(reinterpret_cast<std::uintptr_t>(data), NamedRange{std::move(name), bytes});
}

void Ledger::forget_range(const void* data) { ranges_.erase(reinterpret_cast<std::uintptr_t>(data)); }

}  // namespace drought
