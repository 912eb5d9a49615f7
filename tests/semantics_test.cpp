// Every row of the semantics table on the simulated device, computing or not, under several seeds. The
// same rows meet a real GPU in cuda_semantics_test.cpp.
#include "tests/semantics.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <tuple>

#include "tests/probe.hpp"

namespace drought {
namespace {

using Work = Device::Work;

class EverySemanticsRow : public testing::TestWithParam<std::tuple<std::size_t, Work, std::uint64_t>> {};

TEST_P(EverySemanticsRow, HoldsOnTheSimulatedDevice) {
  const auto [index, work, seed] = GetParam();
  if (work == Work::shapes && semantics_row(index)->reads_payload)
    GTEST_SKIP() << "no payload in shapes mode";
  const auto device = make_host_device(profile_named("h200"), {.work = work, .seed = seed});
  EXPECT_EQ(run_row(*semantics_row(index), *device), "");
}

INSTANTIATE_TEST_SUITE_P(Table, EverySemanticsRow,
                         testing::Combine(testing::Range<std::size_t>(0, semantics_row_count()),
                                          testing::Values(Work::full, Work::shapes),
                                          testing::Values(1, 2, 3)));

// Not a row: on the GPU it depends on the program. Probes took nothing, larger programs 2 MiB.
TEST(HostDevice, ChargesTheFirstLaunchWhatItsProfileSaysAndTheSecondNothing) {
  const auto device = make_host_device(profile_named("h200"), {});
  void* const block = malloc_or_null(*device, 1);
  const std::size_t before = free_bytes(*device);
  ASSERT_EQ(probe_read(*device, block), Status::success);
  EXPECT_EQ(before - free_bytes(*device), device->profile().first_launch_bytes);
  ASSERT_EQ(probe_read(*device, block), Status::success);
  EXPECT_EQ(before - free_bytes(*device), device->profile().first_launch_bytes);
}

TEST(SemanticsTable, NamesEachRowOnce) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; const SemanticsRow* row = semantics_row(i); ++i)
    EXPECT_TRUE(names.insert(row->name).second) << row->name;
  EXPECT_EQ(names.size(), semantics_row_count());
}

TEST(SemanticsTable, SaysWhatDifferedWhenADeviceAnswersOtherwise) {
  const auto device = make_host_device(profile_named("rx9070-16g"), {});
  const std::string text = run_row(vmm_rows().front(), *device);
  EXPECT_NE(text.find("InvalidValue"), std::string::npos) << text;
  EXPECT_NE(text.find("NotSupported"), std::string::npos) << text;
}

}  // namespace
}  // namespace drought
