// A program's memory: what lives while it runs, what a kept program takes again, and what it is refused.
#include "scenarios/models/program.hpp"

#include <gtest/gtest.h>

#include "harness/gtest/armed_rig.hpp"
#include "kernels/gated_activation.hpp"
#include "scenarios/models/planned_operation.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

constexpr std::size_t kBytes = 1_MiB;

std::unique_ptr<Kernel> copy_of(std::size_t scratch_bytes = 0) {
  return std::make_unique<PlannedOperation>(
      "copy", std::vector<Part>{{.name = "x", .bytes = kBytes},
                                {.name = "scratch", .bytes = scratch_bytes, .role = Part::Role::workspace},
                                {.name = "out", .bytes = kBytes, .role = Part::Role::output}});
}

class AProgram : public testing::Test {
 protected:
  AProgram()
      : rig_(kDirect),
        meter_(*rig_.operator->(), 0),
        input_(rig_.memory(), {.bytes = kBytes, .tag = "input"}) {}

  Program::Where where(bool keeps) {
    return {.rig = rig_.operator->(), .memory = &rig_.memory(), .meter = &meter_, .keeps_memory = keeps};
  }
  /// Three copies in a row, the second with a workspace; answers what the last one makes.
  Program::Value chain(Program& program) {
    Program::Value at = program.given("input", input_.data(), kBytes);
    for (const std::size_t scratch : {std::size_t{0}, 4 * kBytes, std::size_t{0}}) {
      const Program::Value next = program.made("made", kBytes);
      program.call("copy", copy_of(scratch), {at, next});
      at = next;
    }
    return at;
  }

  ArmedRig rig_;
  PeakMeter meter_;
  Buffer input_;
};

TEST_F(AProgram, HoldsAValueFromItsMakerToItsLastReaderAndAWorkspaceForOneOperation) {
  Program program(where(false));
  const Program::Value last = chain(program);
  program.keep(last);
  EXPECT_EQ(rig_->ledger().live_bytes(), kBytes) << "nothing is allocated before it runs";
  program.run();
  EXPECT_EQ(meter_.peak_bytes(), 7 * kBytes) << "the input, two values and a workspace of four";
  EXPECT_EQ(rig_->ledger().live_bytes(), 2 * kBytes);
  EXPECT_NE(program.data(last), nullptr);
  program.release();
  EXPECT_EQ(rig_->ledger().live_bytes(), kBytes);
}

TEST_F(AProgram, TakesNothingFromTheResourceWhenItRunsAgainAndKeepsItsMemory) {
  Program program(where(true));
  program.keep(chain(program));
  program.run();
  const std::uint64_t allocations = rig_->record().allocations;
  program.run();
  program.run();
  EXPECT_EQ(rig_->record().allocations, allocations);
  EXPECT_FALSE(program.leases("a graph").empty());
}

TEST_F(AProgram, RefusesPartsThatDoNotFitTheKernel) {
  Program program(where(false));
  const Program::Value small = program.made("small", kBytes - 1), large = program.made("large", kBytes);
  EXPECT_THROW(program.call("copy", copy_of(), {small, large}), std::logic_error);
  EXPECT_THROW(program.call("copy", copy_of(), {large}), std::logic_error);
  EXPECT_THROW(program.call("copy", copy_of(), {large, large, large}), std::logic_error);
}

TEST_F(AProgram, GivesEverythingBackWhenAnOperationRunsOutOfMemory) {
  ArmedRig struck(std::string(kDirect) + "[[fault]]\nkind = 'out_of_memory'\nwhen = { tag = 'scratch' }");
  PeakMeter meter(*struck.operator->(), 0);
  const Buffer input(struck.memory(), {.bytes = kBytes, .tag = "input"});
  {
    Program program({.rig = struck.operator->(), .memory = &struck.memory(), .meter = &meter});
    const Program::Value made = program.made("made", kBytes);
    program.call("copy", copy_of(kBytes), {program.given("input", input.data(), kBytes), made});
    EXPECT_THROW(program.run(), OutOfMemory);
  }
  EXPECT_EQ(struck->ledger().live_bytes(), kBytes);
}

TEST_F(AProgram, CannotRunAPlannedOperationInFull) {
  ArmedRig full("[device]\nprofile = 'h100-80g'\n");
  PeakMeter meter(*full.operator->(), 0);
  const Buffer input(full.memory(), {.bytes = kBytes, .tag = "input"});
  Program program({.rig = full.operator->(), .memory = &full.memory(), .meter = &meter});
  const Program::Value made = program.made("made", kBytes);
  program.call("copy", copy_of(), {program.given("input", input.data(), kBytes), made});
  program.run();
  EXPECT_EQ(full->device().synchronize(), Status::launch_failure);
}

}  // namespace
}  // namespace drought
