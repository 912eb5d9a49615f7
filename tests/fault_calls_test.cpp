// Faults of single calls: each does what the real event does, answers only what the real call documents, and
// gives back all it took.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "faults/catalogue.hpp"
#include "faults/failed_free.hpp"
#include "faults/late_error.hpp"
#include "harness/gtest/armed_rig.hpp"
#include "harness/gtest/matchers.hpp"
#include "tests/named.hpp"
#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

std::string with_fault(const std::string& kind_and_when) {
  return std::string(kDirect) + "[[fault]]\nkind = " + kind_and_when;
}

class EveryFault : public testing::TestWithParam<FaultEntry> {};
INSTANTIATE_TEST_SUITE_P(Catalogue, EveryFault, testing::ValuesIn(fault_catalogue()), by_name);

TEST_P(EveryFault, AnswersOnlyWhatTheCallDocumentsAndHoldsNothingAfterIt) {
  const Scenario scenario =
      scenario_of(std::string(kDirect) + "capacity_bytes = '2 GiB'\n[workload]\nkind = 'churn'");
  Rig rig(scenario, all_catalogues(), {});
  const auto block = std::make_shared<Block>(rig.memory(), Request{.bytes = 1_MiB});
  const std::size_t held = rig.device().held_bytes();
  std::size_t possible = 0;
  {
    const auto fault = GetParam().make(Table("test", {1, 1}));
    Random random(1);
    Scene scene{rig.device(), rig.ledger(), random};
    for (int i = 0; i < site_count; ++i) {
      const Site site = static_cast<Site>(i);
      if (!fault->can_strike(site)) continue;
      ++possible;
      Call call{.site = site, .bytes = 1_MiB, .tag = "struck"};
      call.resource = "direct";
      call.lender = &rig.allocator();
      if (site == Site::release) call.block = block;
      fault->strike(call, scene);
      const auto errors = documented_errors(site);
      for (const auto& answer : {call.refused, call.answer})
        if (answer) {
          EXPECT_NE(std::find(errors.begin(), errors.end(), *answer), errors.end()) << name(site);
          EXPECT_FALSE(is_sticky(*answer)) << name(site) << ": the context is not lost by saying so";
        }
      if (gives_back(site)) {
        EXPECT_FALSE(call.refused) << name(site) << " cannot be refused";
        EXPECT_FALSE(call.kills_process || call.delay_steps) << name(site) << " runs in destructors";
      }
      fault->answered(call, call.refused.value_or(call.answer.value_or(Status::success)), true, scene);
    }
    fault->release(scene);
  }
  EXPECT_GT(possible, 0u);
  EXPECT_EQ(rig.device().held_bytes(), held) << "the fault kept memory of the device";
}

TEST(ErrorCodeFault, LeavesNoTraceOfTheAccessThatItRefuses) {
  ArmedRig rig(with_fault("'error_code'\nwhen = {site = 'cudaMemset', nth = 1}"));
  Stream streams[2];
  for (Stream& stream : streams) ASSERT_EQ(rig->device().stream_create(stream), Status::success);
  {
    const Buffer block(rig.memory(), {.bytes = 1_MiB, .tag = "block"});
    EXPECT_NE(rig->device().memset(block.data(), 1, block.bytes(), streams[0]), Status::success);
    EXPECT_EQ(rig->device().memset(block.data(), 2, block.bytes(), streams[1]), Status::success);
    EXPECT_EQ(rig.complaint("stream_order"), "") << "the refused write counts as one that was made";
    ASSERT_EQ(rig->device().synchronize(), Status::success);
  }
  for (const Stream stream : streams) EXPECT_EQ(rig->device().stream_destroy(stream), Status::success);
}

TEST(LateErrorFault, MakesTheAllocationThatItDeniesAndKeepsItUntilTheEnd) {
  for (const char* site : {"cudaMalloc", "cuMemCreate"}) {
    ArmedRig rig(with_fault("'late_error'\nwhen = {site = '" + std::string(site) + "', nth = 1}"));
    void* block = &rig;
    MemoryHandle handle;
    const Status answer = std::string(site) == "cudaMalloc" ? rig->device().malloc(block, 64_MiB)
                                                            : rig->device().mem_create(handle, 64_MiB);
    EXPECT_EQ(answer, Status::memory_allocation) << site;
    EXPECT_EQ(handle.id, 0u);
    EXPECT_EQ(rig->device().held_bytes(), 64_MiB) << site << " did not happen";
    rig->heal();
    EXPECT_THAT(rig, IsDrained()) << site;
  }
}

TEST(LateErrorFault, MakesACallThatMakesNothingAndAnswersItsError) {
  ArmedRig rig(with_fault("'late_error'\nwhen = {site = 'cudaEventRecord'}"));
  Event event;
  ASSERT_EQ(rig->device().event_create(event), Status::success);
  EXPECT_EQ(rig->device().event_record(event, {}), Status::invalid_resource_handle);
  EXPECT_EQ(rig->device().event_query(event), Status::success) << "the record was not made";
  EXPECT_EQ(rig->device().event_destroy(event), Status::success);
}

/// A reserved range of `pages` granules with a handle for each, not mapped yet.
struct Range {
  Range(Device& device, std::size_t pages) : step(device.profile().granularity_bytes) {
    EXPECT_EQ(device.address_reserve(begin, pages * step), Status::success);
    for (std::size_t i = 0; i < pages; ++i)
      EXPECT_EQ(device.mem_create(handles.emplace_back(), step), Status::success);
  }
  void* at(std::size_t page) const { return static_cast<std::byte*>(begin) + page * step; }
  std::size_t step;
  void* begin = nullptr;
  std::vector<MemoryHandle> handles;
};

TEST(LateErrorFault, LeavesAMappingInPlaceUntilItsCallerOrTheEndUnmapsIt) {
  for (const bool caller_unmaps : {true, false}) {
    ArmedRig rig(with_fault("'late_error'\nwhen = {site = 'cuMemMap', nth = 1}"));
    Device& device = rig->device();
    const Range range(device, 1);
    EXPECT_EQ(device.mem_map(range.begin, range.step, 0, range.handles[0]), Status::memory_allocation);
    EXPECT_EQ(device.mem_release(range.handles[0]), Status::success);
    EXPECT_EQ(device.address_free(range.begin, range.step), Status::invalid_value) << "it is mapped";
    EXPECT_EQ(device.held_bytes(), range.step);
    if (caller_unmaps) {
      EXPECT_EQ(device.mem_unmap(range.begin, range.step), Status::success);
      MemoryHandle other;
      EXPECT_EQ(device.mem_create(other, range.step), Status::success);
      EXPECT_EQ(device.mem_map(range.begin, range.step, 0, other), Status::success);
      rig->heal();
      EXPECT_EQ(device.held_bytes(), range.step) << "the fault unmapped what is somebody else's";
      EXPECT_EQ(device.mem_unmap(range.begin, range.step), Status::success);
      EXPECT_EQ(device.mem_release(other), Status::success);
    }
    rig->heal();
    EXPECT_EQ(device.held_bytes(), 0u);
    EXPECT_EQ(device.address_free(range.begin, range.step), Status::success);
  }
}

TEST(LateErrorFault, LeavesARegistrationInPlaceSoThatTheNextFindsItThere) {
  ArmedRig rig(with_fault("'late_error'\nwhen = {site = 'cudaHostRegister', nth = 1}"));
  void* const pages = std::aligned_alloc(4096, 8192);
  EXPECT_EQ(rig->device().host_register(pages, 8192, {}), Status::memory_allocation);
  EXPECT_EQ(rig->device().host_register(pages, 8192, {}), Status::host_memory_already_registered);
  rig->heal();
  EXPECT_EQ(rig->device().host_register(pages, 8192, {}), Status::success);
  EXPECT_EQ(rig->device().host_unregister(pages), Status::success);
  std::free(pages);
}

TEST(FailedFreeFault, GivesTheMemoryBackAndSaysThatItFailed) {
  ArmedRig rig(with_fault("'failed_free'\nwhen = {site = 'cudaFree'}"));
  void* block = nullptr;
  ASSERT_EQ(rig->device().malloc(block, 4_MiB), Status::success);
  EXPECT_EQ(rig->device().free(block), Status::invalid_value);
  EXPECT_THAT(rig, IsDrained()) << "the memory did not go back";
}

TEST(FailedFreeFault, StrikesWhatGivesBackAndNothingElse) {
  const FailedFree frees({});
  const LateError others({});
  for (int i = 0; i < site_count; ++i) {
    const Site site = static_cast<Site>(i);
    EXPECT_FALSE(frees.can_strike(site) && others.can_strike(site)) << name(site);
    EXPECT_EQ(frees.can_strike(site), gives_back(site) && !documented_errors(site).empty()) << name(site);
  }
}

TEST(PartialSuccessFault, GrantsAccessToAPartOfTheRangeAndAnswersAnError) {
  ArmedRig rig(with_fault("'partial_success'\nwhen = {site = 'cuMemSetAccess', nth = 1}"));
  Device& device = rig->device();
  const Range range(device, 4);
  for (std::size_t i = 0; i < 4; ++i)
    ASSERT_EQ(device.mem_map(range.at(i), range.step, 0, range.handles[i]), Status::success);
  EXPECT_EQ(device.mem_set_access(range.begin, 4 * range.step, Protection::read_write),
            Status::invalid_value);
  rig->ledger().declare_range("range", range.begin, 4 * range.step);
  EXPECT_EQ(device.memset(range.at(0), 1, 2 * range.step), Status::success) << "nothing was granted";
  EXPECT_EQ(device.memset(range.at(2), 1, range.step), Status::invalid_value) << "all was granted";
  EXPECT_EQ(device.mem_set_access(range.begin, 4 * range.step, Protection::read_write), Status::success);
  EXPECT_EQ(device.memset(range.at(0), 1, 4 * range.step), Status::success);
  EXPECT_EQ(device.mem_unmap(range.begin, 4 * range.step), Status::success);
  for (const MemoryHandle handle : range.handles) EXPECT_EQ(device.mem_release(handle), Status::success);
  EXPECT_EQ(device.held_bytes(), 0u);
}

TEST(CapacityShrinksFault, TakesFromTotalAndFreeMemoryAndGivesBothBackAtTheEnd) {
  ArmedRig rig(with_fault("'capacity_shrinks'\nbytes = '10 GiB'\nwhen = {site = 'cudaMalloc', nth = 1}"));
  MemInfo before, after;
  ASSERT_EQ(rig->device().mem_info(before), Status::success);
  void* block = nullptr;
  EXPECT_EQ(rig->device().malloc(block, 2_MiB), Status::success);
  ASSERT_EQ(rig->device().mem_info(after), Status::success);
  EXPECT_EQ(before.total_bytes - after.total_bytes, 10_GiB);
  EXPECT_EQ(before.free_bytes - after.free_bytes, 10_GiB + 2_MiB);
  EXPECT_EQ(rig->device().free(block), Status::success);
  rig->heal();
  ASSERT_EQ(rig->device().mem_info(after), Status::success);
  EXPECT_EQ(after.total_bytes, before.total_bytes);
  EXPECT_EQ(after.free_bytes, before.free_bytes);
}

TEST(CapacityShrinksFault, TakesWhatIsInUseAsItComesBack) {
  ArmedRig rig(with_fault("'capacity_shrinks'\nbytes = '40 GiB'\nwhen = {site = 'cudaMemGetInfo', nth = 2}"));
  const std::size_t before = rig.free_bytes();
  void* block = nullptr;
  ASSERT_EQ(rig->device().malloc(block, 60_GiB), Status::success);
  EXPECT_LT(rig.free_bytes(), 2_MiB);
  EXPECT_EQ(rig->device().free(block), Status::success);
  EXPECT_LT(before - rig.free_bytes() - 40_GiB, 2_MiB) << "what was owed was not taken";
}

TEST(MemInfoLiesFault, AnswersWhatWasFreeAtFirstOrMoreOrLessThanThereIs) {
  const auto answers = [](const std::string& how) {
    ArmedRig rig(with_fault("'mem_info_lies'\n" + how + "when = {from = 2}"));
    const std::size_t first = rig.free_bytes();
    void* block = nullptr;
    EXPECT_EQ(rig->device().malloc(block, 6_GiB), Status::success);
    const std::size_t second = rig.free_bytes();
    EXPECT_EQ(rig->device().free(block), Status::success);
    return static_cast<std::int64_t>(second) - static_cast<std::int64_t>(first);
  };
  constexpr auto gib = static_cast<std::int64_t>(1_GiB);
  EXPECT_EQ(answers(""), 0) << "it is not stale";
  EXPECT_EQ(answers("more_bytes = '1 GiB'\n"), -5 * gib);
  EXPECT_EQ(answers("less_bytes = '2 GiB'\n"), -8 * gib);
  EXPECT_EQ(answers("more_bytes = '500 GiB'\n"), 552'402'944) << "more is free than there is";
}

TEST(ContextLostFault, EndsTheContextAtTheNextCallThatSynchronisesAndForGood) {
  for (const char* work : {"full", "shapes"}) {
    ArmedRig rig("[device]\nprofile = 'h100-80g'\nisolate = true\nwork = '" + std::string(work) +
                 "'\n[[fault]]\nkind = 'context_lost'\nwhen = {site = 'cudaMemGetInfo', nth = 2}");
    (void)rig.free_bytes();
    EXPECT_EQ(rig->device().synchronize(), Status::success);
    MemInfo info;
    EXPECT_EQ(rig->device().mem_info(info), Status::success) << "the error is asynchronous";
    EXPECT_EQ(rig->device().synchronize(), Status::illegal_address) << work;
    EXPECT_EQ(rig->device().take_last_error(), Status::illegal_address);
    EXPECT_EQ(rig->device().mem_info(info), Status::illegal_address) << "it recovered";
    EXPECT_TRUE(rig->record().violations.empty()) << rig->record().violations[0].text;
  }
}

}  // namespace
}  // namespace drought
