#include "harness/gtest/armed_rig.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <exception>
#include <ostream>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/run.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {
namespace {

class TestItself final : public Workload {
 public:
  void run(Rig&) override {}
};

constexpr WorkloadEntry kWorkloads[] = {
    {"test", "what the test does itself",
     [](const Table&) -> std::unique_ptr<Workload> { return std::make_unique<TestItself>(); }}};

Catalogues catalogues_of_tests() {
  Catalogues all = all_catalogues();
  all.workloads = kWorkloads;
  return all;
}

/// The scenario of a test: what it says, with the title and the workload that each scenario needs.
Scenario scenario_at(std::string_view toml, CallSite at) {
  Table root = parse_toml(toml, at.text() + ": toml");
  root.allow_only({"device", "resource", "fault"});
  Table workload(root.file(), root.at());
  workload.add({"kind", root.at(), {std::string("test"), root.at()}});
  root.add({"title", root.at(), {std::string("a test"), root.at()}});
  root.add({"workload", root.at(), {std::vector<Table>{workload}, root.at()}});
  return read_scenario(root, catalogues_of_tests());
}

}  // namespace

ArmedRig::ArmedRig(std::string_view toml, RigOptions options, CallSite at) : at_(at) {
  const Scenario scenario = scenario_at(toml, at);
  rig_ = std::make_unique<Rig>(scenario, catalogues_of_tests(), options);
  for (const FaultSection& fault : scenario.faults) rig_->arm(fault, true);
}

ArmedRig::~ArmedRig() {
  const bool was_cut_short = std::uncaught_exceptions() != 0;
  end();
  if (was_cut_short || testing::Test::IsSkipped()) return;
  const std::vector<ArmedFault>& armed = rig_->plan().armed();
  for (std::size_t i = excused_; i < armed.size(); ++i)
    if (armed[i].required && armed[i].struck == 0)
      ADD_FAILURE_AT(at_.file, at_.line) << "fault '" << armed[i].kind << "' never struck";
}

const FaultEntry& ArmedRig::fault_named(std::string_view kind, CallSite at) {
  const auto& faults = all_catalogues().faults;
  if (const FaultEntry* const entry = find_entry(faults, kind)) return *entry;
  std::string known;
  for (const std::string& name : names_of(faults)) known += (known.empty() ? "" : ", ") + name;
  throw UserError(at.text() + ": unknown fault '" + std::string(kind) + "'; known: " + known);
}

void ArmedRig::arm(std::string_view kind, Trigger::Options when, CallSite at) {
  arm(std::string(kind), fault_named(kind, at).make(Table(at.text(), {})), std::move(when), at);
}

void ArmedRig::arm(std::string kind, std::unique_ptr<Fault> fault, Trigger::Options when, CallSite at) {
  try {
    const Trigger trigger(when);
    rig_->plan().arm({std::move(kind), std::move(fault), trigger});
  } catch (const std::invalid_argument& mistake) {
    throw UserError(at.text() + ": " + mistake.what());
  }
}

void ArmedRig::arm_at(const FaultPoint& point, bool forever, std::string_view kind, CallSite at) {
  Trigger::Options when;
  when.site = name(point.site);
  if (!point.resource.empty()) when.resource = point.resource;
  (forever ? when.call_min : when.call) = point.call;
  rig_->plan().arm(
      {std::string(kind), fault_named(kind, at).make(Table(at.text(), {})), Trigger(when), false});
}

Account& ArmedRig::top() const {
  return own_.empty() ? static_cast<Account&>(rig_->memory()) : *own_.back().account;
}

Resource& ArmedRig::with(const std::string& name, const Maker& make, Over over) {
  for (const Own& own : own_)
    if (own.name == name) return *own.allocator;
  Account* const below = over == Over::chain ? &top() : nullptr;
  auto allocator = make(below, rig_->device());
  auto account = std::make_unique<Account>(rig_->ledger(), name, *allocator, rig_->device(), below);
  own_.push_back({name, std::move(allocator), std::move(account)});
  return *own_.back().allocator;
}

std::size_t ArmedRig::free_bytes() {
  MemInfo info;
  EXPECT_EQ(rig_->device().mem_info(info), Status::success);
  return info.free_bytes;
}

std::vector<Survivor> ArmedRig::held() const {
  std::vector<Tag> tags;
  for (const Account* account : ledger().accounts())
    for (const auto& [begin, allocation] : account->live()) tags.push_back(allocation.request.tag);
  return ledger().survivors(tags);
}

std::uint64_t ArmedRig::struck() const {
  std::uint64_t count = 0;
  for (const ArmedFault& fault : rig_->plan().armed()) count += fault.struck;
  return count;
}

void ArmedRig::end() {
  if (ended_) return;
  ended_ = true;
  rig_->heal();
  rig_->ledger().mark_end();
  while (!own_.empty()) {
    Own last = std::move(own_.back());
    own_.pop_back();
    const Account* const below = last.account->below();
    last.account.reset();
    last.allocator.reset();
    if (!below) continue;
    for (const auto& [begin, kept] : below->live())
      rig_->record().violate(
          "accounting", last.name + " ended and kept " + std::to_string(kept.request.bytes) + " B of '" +
                            std::string(kept.request.tag.view()) + "' (id " + std::to_string(kept.id) + ")");
  }
  rig_->close();
}

std::string ArmedRig::complaint(std::string_view checks, const Outcome& outcome) const {
  for (const CheckResult& check : finish_checks(rig_->catalogues(), rig_->record(), outcome))
    if (!check.ok && glob_matches(checks, check.name)) return check.name + ": " + check.message;
  return {};
}

void PrintTo(const ArmedRig& rig, std::ostream* out) {
  *out << "a rig whose test holds " << format_bytes(rig.ledger().live_bytes());
}

}  // namespace drought
