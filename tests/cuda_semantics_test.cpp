// Every row of the semantics table on a real GPU, each in a process of its own: that is how the answers
// were measured, a first launch is a first one only there, and some rows end their context.
#include <gtest/gtest.h>

#include <string>

#include "harness/device/child.hpp"
#include "tests/child_jobs.hpp"
#include "tests/cuda_lane.hpp"
#include "tests/semantics.hpp"

namespace drought {

int run_semantics_row(std::istream& input, std::ostream& record) {
  std::size_t index = 0;
  std::string why_not;
  const SemanticsRow* const row = input >> index ? semantics_row(index) : nullptr;
  if (!row) return 2;
  const auto device = device_of(why_not);
  if (!device) return 77;
  try {
    record << run_row(*row, *device);
  } catch (const DeviceError& error) {
    record << row->name << ": " << error.what();
  }
  return 0;
}

namespace {

class EverySemanticsRowOnCuda : public testing::TestWithParam<std::size_t> {};

TEST_P(EverySemanticsRowOnCuda, HoldsInAProcessOfItsOwn) {
  const ChildEnd end = Child(job("semantics_row")).finish(std::to_string(GetParam()));
  if (end.how == ChildEnd::How::exited && end.number == 77)
    GTEST_SKIP() << "no GPU here, or no cuda lane in this build";
  EXPECT_TRUE(end.succeeded()) << semantics_row(GetParam())->name << ": " << end.text();
  EXPECT_EQ(end.record, "");
}

INSTANTIATE_TEST_SUITE_P(Table, EverySemanticsRowOnCuda,
                         testing::Range<std::size_t>(0, semantics_row_count()));

}  // namespace
}  // namespace drought
