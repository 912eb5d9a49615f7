// Every row of the semantics table: on the simulated device, computing or not, under several seeds; and
// on a real GPU, each row in a process of its own, because some rows end their context.
#include "tests/semantics.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <tuple>

#include "harness/device/child.hpp"
#include "tests/child_jobs.hpp"

namespace drought {
namespace {

using Work = Device::Work;

class EverySemanticsRow : public testing::TestWithParam<std::tuple<std::size_t, Work, std::uint64_t>> {};

TEST_P(EverySemanticsRow, HoldsOnTheSimulatedDevice) {
  const auto [index, work, seed] = GetParam();
  const auto device = make_host_device(profile_named("h200"), {.work = work, .seed = seed});
  EXPECT_EQ(run_row(*semantics_row(index), *device), "");
}

INSTANTIATE_TEST_SUITE_P(Table, EverySemanticsRow,
                         testing::Combine(testing::Range<std::size_t>(0, semantics_row_count()),
                                          testing::Values(Work::full, Work::shapes),
                                          testing::Values(1, 2, 3)));

/// Why there is no GPU to ask, or "".
const std::string& why_no_gpu() {
  static const std::string why = [] {
    std::string why_not;
    return make_cuda_device(profile_named("h200"), {}, why_not) ? std::string() : why_not;
  }();
  return why;
}

class EverySemanticsRowOnCuda : public testing::TestWithParam<std::size_t> {};

TEST_P(EverySemanticsRowOnCuda, HoldsInAProcessOfItsOwn) {
  if (!why_no_gpu().empty()) GTEST_SKIP() << why_no_gpu();
  const ChildEnd end = Child(job("semantics_row")).finish(std::to_string(GetParam()));
  EXPECT_EQ(end.text(), "exit 0");
  EXPECT_EQ(end.record, "held\n");
}

INSTANTIATE_TEST_SUITE_P(Table, EverySemanticsRowOnCuda,
                         testing::Range<std::size_t>(0, semantics_row_count()));

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

int run_semantics_row(std::istream& input, std::ostream& record) {
  std::size_t index = 0;
  input >> index;
  const SemanticsRow* const row = semantics_row(index);
  if (!input || !row) return 2;
  std::string why_not;
  const auto device = make_cuda_device(profile_named("h200"), {}, why_not);
  if (!device) return 77;
  const std::string differed = run_row(*row, *device);
  record << (differed.empty() ? "held" : differed) << '\n';
  return 0;
}

}  // namespace drought
