// RMM's logs are read in every shape that its releases and its users' tools give them, and a row that is
// none is refused by its line.
#include "harness/trace/rmm_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trace_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kHeader = "Thread,Time,Action,Pointer,Size,Stream\n";

TEST(RmmLog, ReadsAllocationsFreesAndFailuresInOrder) {
  const Trace trace = trace_of(kHeader +
                               "1979932,14:21:19.998533,allocate,0x30a000000,256,0x2\r\n"
                               "1979932,14:21:19.998540,allocate failure,(nil),1769472,0x2\n"
                               "1980043,14:21:32.661875,free,0x30a000000,256,0x2\n");
  EXPECT_EQ(listing_of(trace),
            "alloc 256 at 0x30a000000 stream 2\n"
            "oom 1769472 at 0x0 stream 2\n"
            "free_requested 256 at 0x30a000000 stream 2\n"
            "free_completed 256 at 0x30a000000 stream 2\n");
  const auto& events = trace.device_traces.at(0);
  EXPECT_EQ(events[1].time_us - events[0].time_us, 7);
  EXPECT_EQ(events[2].time_us - events[0].time_us, 12'663'342);
}

TEST(RmmLog, NeedsNoHeaderAndReadsTheTimesOfEveryRelease) {
  for (const std::string time : {"11:32:47:761879", "11:32:47.761879", "1634567890.123456"})
    EXPECT_EQ(listing_of(trace_of("1," + time + ",allocate,7f00,512,0\n")), "alloc 512 at 0x7f00 stream 0\n")
        << time;
}

TEST(RmmLog, CountsOnThroughMidnight) {
  const Trace trace = trace_of(kHeader +
                               "1,23:59:59.999999,allocate,0x100,8,0\n"
                               "1,00:00:00.000001,free,0x100,8,0\n");
  EXPECT_EQ(trace.device_traces[0][1].time_us - trace.device_traces[0][0].time_us, 2);
}

TEST(RmmLog, TakesRefusalsFromTheLoggersMessagesAndPassesOverItsOthers) {
  const Trace trace = trace_of(
      "[2025-02-16 08:24:53] [RMM] [info] ----- RMM LOG BEGIN -----\n"
      "[2025-02-16 08:24:53] [RMM] [error] [A][Stream 0x1][Upstream 2139648B][FAILURE maximum pool size "
      "exceeded]\n"
      "[RMM] [error] [A][Stream 0x7f21][Upstream 3585280B][FAILURE maximum pool size exceeded]\n");
  EXPECT_EQ(listing_of(trace), "oom 2139648 at 0x0 stream 1\noom 3585280 at 0x0 stream 32545\n");
}

TEST(RmmLog, PassesOverRowsOfNoBytes) {
  EXPECT_EQ(listing_of(trace_of(kHeader + "1,1:1:1.0,allocate,(nil),0,0\n1,1:1:1.0,free,(nil),0,0\n")), "");
}

struct WrongRow {
  const char* row;
  const char* says;
};

TEST(RmmLog, RefusesARowThatIsNotOfTheFormatByItsLine) {
  for (const WrongRow& wrong : std::initializer_list<WrongRow>{
           {"1,1:1:1.0,reallocate,0x1,1,0", "unknown action 'reallocate'; known: allocate, "},
           {"1,1:1:1.0,allocate,0x1,1", "expected the six columns"},
           {"1,1:1:1.0,allocate,0x1,1,0,9", "expected the six columns"},
           {"1,noon,allocate,0x1,1,0", "the time 'noon'"},
           {"1,1:1:1.0,allocate,0x1,-1,0", "the size '-1'"},
           {"1,1:1:1.0,allocate,0x1,99999999999999999999,0", "the size '99999999999999999999'"},
           {"1,1:1:1.0,allocate,0x1,9223372036854775808,0", "the size"},
           {"1,1:1:1.0,allocate,nowhere,1,0", "the pointer 'nowhere'"},
           {"1,1:1:1.0,free,(nil),1,0", "the pointer '(nil)'"},
           {"1,1:1:1.0,allocate,0x1,1,default", "the stream 'default'"},
           {"x\x01y", "got 'x?y'"}})
    EXPECT_THAT(refusal_of_trace(kHeader + "1,1:1:1.0,allocate,0x9,1,0\n" + wrong.row + "\n"),
                testing::AllOf(StartsWith("t:3: "), HasSubstr(wrong.says)))
        << wrong.row;
}

TEST(RmmLog, RefusesMoreStreamsThanAnyProgramHas) {
  std::string log = kHeader;
  for (int i = 0; i < 1100; ++i) log += "1,1:1:1.0,free,0x9,1," + std::to_string(i) + "\n";
  EXPECT_EQ(refusal_of_trace(log), "t:1026: more than 1024 different streams");
}

TEST(RmmLog, IsReadOrRefusedButNeverACrashWhereverItIsCutOff) {
  const std::string whole = kHeader +
                            "[RMM] [error] [A][Stream 0x1][Upstream 2139648B][FAILURE maximum pool size "
                            "exceeded]\n1,14:21:19.998533,allocate,0x30a000000,256,0x2\n";
  std::size_t refused = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string message = refusal_of_trace(whole.substr(0, length));
    refused += !message.empty();
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  EXPECT_GT(refused, 30u);
}

}  // namespace
}  // namespace drought
