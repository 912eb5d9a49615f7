// Every allocator of the catalogue beside the machine's model: a million seeded operations, and short runs
// that rapidcheck draws and shrinks, in which blocks have bytes. A broken allocator for each promise proves
// that the machine bites.
#include "tests/allocator_machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/state.h>

#include <set>
#include <sstream>

#include "allocators/catalogue.hpp"
#include "allocators/legacy_pool.hpp"
#include "allocators/vmm_pool.hpp"
#include "tests/broken_keepers.hpp"
#include "tests/named.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kOperations = 1'000'000;

/// What was broken, as "promise: text"; empty when all was kept. The history tells a passing run's worth.
std::string run_seeded(AllocatorMachine& machine, std::uint64_t seed, std::uint64_t operations) {
  Random random = Random(seed).split(0x3AC);
  while (machine.operations() < operations && !machine.broken()) machine.apply(draw_operation(random));
  const std::uint64_t at = machine.operations();
  machine.finish();
  return machine.broken() ? machine.mistake() + " (operation " + std::to_string(at) + ")" : "";
}

class EveryAllocatorsMachine : public testing::TestWithParam<AllocatorEntry> {};
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryAllocatorsMachine, testing::ValuesIn(allocator_catalogue()),
                         by_name);

TEST_P(EveryAllocatorsMachine, KeepsItsWordOverAMillionOperations) {
  AllocatorMachine machine(GetParam(), test_seed(), false);
  EXPECT_EQ(run_seeded(machine, test_seed(), kOperations), "");
  // One that borrows all that it will lend while it is made is short of memory there.
  EXPECT_GT(machine.seen("out_of_memory") + machine.seen("never_made"), 100u) << "memory was hardly short";
  EXPECT_GT(machine.seen("struck"), 100u) << "hardly a call was refused";
}

/// The model is how many operations came before: every operation means something in every state.
struct Count {
  std::size_t operations = 0;
};

struct Step final : rc::state::Command<Count, AllocatorMachine> {
  explicit Step(const Operation& drawn) : operation(drawn) {}
  void apply(Count& count) const override { ++count.operations; }
  void run(const Count&, AllocatorMachine& machine) const override {
    machine.apply(operation);
    RC_ASSERT(machine.mistake() == "");
  }
  void show(std::ostream& out) const override { out << operation; }
  const Operation operation;
};

rc::Gen<std::shared_ptr<const rc::state::Command<Count, AllocatorMachine>>> steps(const Count&) {
  const auto kinds = rc::gen::weightedElement<Operation::Kind>({{10, Operation::Kind::allocate},
                                                                {8, Operation::Kind::free},
                                                                {3, Operation::Kind::bounce},
                                                                {3, Operation::Kind::use},
                                                                {2, Operation::Kind::work},
                                                                {1, Operation::Kind::settle},
                                                                {2, Operation::Kind::arm},
                                                                {2, Operation::Kind::heal},
                                                                {1, Operation::Kind::squeeze},
                                                                {1, Operation::Kind::trim},
                                                                {2, Operation::Kind::wrong_free}});
  const auto number = rc::gen::resize(1000, rc::gen::arbitrary<std::uint32_t>());
  return rc::gen::map(rc::gen::tuple(kinds, number, number),
                      [](const std::tuple<Operation::Kind, std::uint32_t, std::uint32_t>& drawn)
                          -> std::shared_ptr<const rc::state::Command<Count, AllocatorMachine>> {
                        const auto& [kind, which, size] = drawn;
                        return std::make_shared<const Step>(Operation{kind, which, size});
                      });
}

void check_short_run(const AllocatorEntry& entry) {
  AllocatorMachine machine(entry, test_seed(), true);
  rc::state::check(Count{}, machine, steps);
  machine.finish();
  RC_ASSERT(machine.mistake() == "");
}

TEST_P(EveryAllocatorsMachine, KeepsItsWordAndItsContentsInShortRuns) {
  EXPECT_TRUE(rc::check([] { check_short_run(GetParam()); }));
}

struct MachineCanary {
  AllocatorEntry entry;
  Promise breaks;
  std::string_view says;  ///< Part of what must be said.
};

void PrintTo(const MachineCanary& canary, std::ostream* out) { *out << canary.entry.name; }

constexpr MachineCanary kMachineCanaries[] = {
    {broken<Misaligns>("misaligns"), Promise::alignment, "not aligned to 256"},
    {broken<Overlaps>("overlaps"), Promise::no_overlap, "over a live block"},
    {broken<LendsTooMuch>("lends_too_much"), Promise::no_overlap, "had not borrowed"},
    {broken<IgnoresRefusals>("ignores_refusals"), Promise::no_overlap, "had not borrowed"},
    {broken<FreesUnderItsTenant>("frees_under_its_tenant"), Promise::no_overlap, ""},
    {broken<ForgetsSizes>("forgets_sizes"), Promise::accounting, "where it had borrowed"},
    {broken<TrimsNothing>("trims_nothing"), Promise::growth, "borrowed more"},
    {broken<Hoards>("hoards"), Promise::growth, "borrowed more"},
    {broken<Miscounts>("miscounts"), Promise::accounting, "says that it reserves"},
    {broken<GivesUpEarly>("gives_up_early"), Promise::refusal, "would have made room"},
    {broken<AsksTooOften>("asks_too_often"), Promise::refusal, "asked 2 times and promises at most 1"},
    {broken<RefusesAtWhim>("refuses_at_whim"), Promise::refusal, "after lending only"},
    {broken<LeaksWhenRefused>("leaks_when_refused"), Promise::refusal, "kept 256 B"},
    {broken<RenamesRefusals>("renames_refusals"), Promise::refusal, "neither OutOfMemory nor DeviceError"},
    {broken<NeverRecovers>("never_recovers"), Promise::refusal, "after lending only"},
    {broken<StaysGreedy>("stays_greedy"), Promise::recovery, "after healing"},
    {broken<ForgetsStreams>("forgets_streams"), Promise::stream_order, "may still use them"},
    {broken<MixesStreams>("mixes_streams"), Promise::stream_order, "may still use them"},
    {broken<TrustsFrees>("trusts_frees"), Promise::wrong_free, "wrongly freed"},
    {broken<NeverMerges>("never_merges"), Promise::merged, "side by side"},
    {broken<Leaks>("leaks"), Promise::wrong_free, "gave memory back for a wrong free"},
    {broken<LosesOne>("loses_one"), Promise::all_given_back, "ended and kept"},
};

/// An allocator of the catalogue with one of its historic bugs switched on.
template <typename Made, typename... Above>
std::unique_ptr<Resource> with_bug(const char* bug, Above&... above) {
  typename Made::Options options;
  options.bug = bug;
  return std::make_unique<Made>(above..., std::move(options));
}

constexpr MachineCanary kMachineMutants[] = {
    {{"legacy_pool_no_flush", "gives up at the first refusal",
      [](const Table&, Resource* upstream, Device& device) {
        return with_bug<LegacyPool>("no_flush", *upstream, device);
      }},
     Promise::refusal,
     "would have made room"},
    {{"legacy_pool_second_retry", "asks three times",
      [](const Table&, Resource* upstream, Device& device) {
        return with_bug<LegacyPool>("second_retry", *upstream, device);
      }},
     Promise::refusal,
     "asked 3 times and promises at most 2"},
    {{"legacy_pool_drop_live", "gives back a block that is lent",
      [](const Table&, Resource* upstream, Device& device) {
        return with_bug<LegacyPool>("drop_live", *upstream, device);
      }},
     Promise::accounting,
     "still lives"},
    {{"legacy_pool_double_free", "lends one address twice",
      [](const Table&, Resource* upstream, Device& device) {
        return with_bug<LegacyPool>("double_free", *upstream, device);
      }},
     Promise::wrong_free,
     "wrongly freed"},
    {{"vmm_pool_no_unwind", "keeps what a refused step took",
      [](const Table&, Resource*, Device& device) { return with_bug<VmmPool>("no_unwind", device); }, false},
     Promise::refusal,
     "kept"},
    {{"vmm_pool_pops_any", "takes the topmost bytes back",
      [](const Table&, Resource*, Device& device) { return with_bug<VmmPool>("pops_any", device); }, false},
     Promise::no_overlap,
     "over"},
};

class MachineOverTheBroken : public testing::TestWithParam<MachineCanary> {};
INSTANTIATE_TEST_SUITE_P(EveryDefect, MachineOverTheBroken, testing::ValuesIn(kMachineCanaries),
                         [](const auto& info) { return std::string(info.param.entry.name); });

/// One defect breaks now this promise first and now that; every run must catch it.
TEST_P(MachineOverTheBroken, IsCaughtInEveryRunAndNamesThePromise) {
  std::string named;
  for (std::uint64_t run = 0; run < 8; ++run) {
    const std::uint64_t seed = Random(test_seed()).split(run)();
    AllocatorMachine machine(GetParam().entry, seed, false);
    const std::string broken = run_seeded(machine, seed, 50'000);
    ASSERT_NE(broken, "") << "run " << run;
    if (machine.broken()->promise == GetParam().breaks && broken.find(GetParam().says) != std::string::npos)
      return;
    named += "\n" + broken;
  }
  FAIL() << "never named as " << name(GetParam().breaks) << ": " << named;
}

INSTANTIATE_TEST_SUITE_P(EveryHistoricBug, MachineOverTheBroken, testing::ValuesIn(kMachineMutants),
                         [](const auto& info) { return std::string(info.param.entry.name); });

TEST(AllocatorMachine, FindsNothingWrongWithAllocatorsThatAreSound) {
  for (const AllocatorEntry& sound : {broken<PassesOn>("passes_on"), broken<Keeps>("keeps")}) {
    AllocatorMachine machine(sound, test_seed(), false);
    EXPECT_EQ(run_seeded(machine, test_seed(), 100'000), "");
  }
}

TEST(AllocatorMachine, HasABrokenAllocatorForEachPromise) {
  std::set<Promise> broken_promises{Promise::contents};  // Below.
  for (const MachineCanary& canary : kMachineCanaries) broken_promises.insert(canary.breaks);
  for (int promise = 0; promise < promise_count; ++promise)
    EXPECT_TRUE(broken_promises.contains(static_cast<Promise>(promise)))
        << name(static_cast<Promise>(promise));
}

TEST(AllocatorMachine, SeesAWriteToALentBlockWhereBlocksHaveBytes) {
  const AllocatorEntry entry = broken<WritesToLentBlocks>("writes_to_lent_blocks");
  AllocatorMachine machine(entry, test_seed(), true);
  Random random = Random(test_seed()).split(0x3AC);
  while (machine.operations() < 5000 && !machine.broken()) machine.apply(draw_operation(random));
  ASSERT_TRUE(machine.broken());
  EXPECT_EQ(name(machine.broken()->promise), "contents");
}

TEST(AllocatorMachine, ShrinksAFailureToTheFewOperationsThatItTakes) {
  testing::internal::CaptureStderr();
  EXPECT_FALSE(rc::check([] { check_short_run(broken<Overlaps>("overlaps")); }));
  const std::string text = testing::internal::GetCapturedStderr();
  // One operation a line, after the line that names their type.
  const std::size_t first = text.find("\n", text.find("AllocatorMachine>>>"));
  const auto operations =
      std::count(text.begin() + static_cast<std::ptrdiff_t>(first),
                 text.begin() + static_cast<std::ptrdiff_t>(text.find("\n\n", first)), '\n');
  EXPECT_LE(operations, 2) << text << "a block, and one that begins inside it";
  EXPECT_THAT(text, HasSubstr("over a live block"));
}

}  // namespace
}  // namespace drought
