// Exports of Nsight Systems are read by what their tables say; a database that is damaged, hostile or of
// another schema is refused with the table or the row.
#include "harness/trace/nsight.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/trace_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kTable =
    "CREATE TABLE CUDA_GPU_MEMORY_USAGE_EVENTS (start INTEGER NOT NULL, globalPid INTEGER, deviceId INTEGER, "
    "contextId INTEGER, address INTEGER, pc INTEGER, bytes INTEGER, memKind INTEGER, "
    "memoryOperationType INTEGER, name INTEGER, correlationId INTEGER, streamId INTEGER);";

/// A row of the table: start, globalPid, deviceId, address, bytes, memKind, memoryOperationType.
std::string row(const std::string& values) {
  return "INSERT INTO CUDA_GPU_MEMORY_USAGE_EVENTS (start, globalPid, deviceId, address, bytes, memKind, "
         "memoryOperationType) VALUES (" +
         values + ");";
}

/// The bytes of a database that these statements made.
std::string database(const std::string& statements) {
  sqlite3* made = nullptr;
  sqlite3_open(":memory:", &made);
  char* why = nullptr;
  EXPECT_EQ(sqlite3_exec(made, statements.c_str(), nullptr, nullptr, &why), SQLITE_OK) << why;
  sqlite3_int64 bytes = 0;
  unsigned char* image = sqlite3_serialize(made, "main", &bytes, 0);
  std::string text(reinterpret_cast<const char*>(image), static_cast<std::size_t>(bytes));
  sqlite3_free(image);
  sqlite3_close(made);
  return text;
}

TEST(Nsight, ReadsDeviceMemoryInTheOrderOfItsTimes) {
  const Trace trace =
      trace_of(database(kTable + row("5000, 1, 0, 8192, 4096, 2, 1") + row("2000, 1, 0, 8192, 4096, 2, 0") +
                        row("3000, 1, 0, 64, 512, 1, 0") + row("4000, 1, 0, 64, 512, 4, 0") +
                        row("1000, 1, 1, 16, 256, 5, 0")));
  ASSERT_EQ(trace.device_traces.size(), 2u);
  EXPECT_EQ(listing_of(trace, 0),
            "alloc 4096 at 0x2000 stream 0\n"
            "free_requested 4096 at 0x2000 stream 0\n"
            "free_completed 4096 at 0x2000 stream 0\n")
      << "pinned and managed memory is left out";
  EXPECT_EQ(listing_of(trace, 1), "alloc 256 at 0x10 stream 0\n");
  EXPECT_EQ(trace.device_traces[0][0].time_us, 2);
}

TEST(Nsight, KeepsEventsOfOneInstantInTheirRowsOrder) {
  const Trace trace = trace_of(database(kTable + row("7, 1, 0, 16, 1, 2, 0") + row("7, 1, 0, 16, 1, 2, 1") +
                                        row("7, 1, 0, 16, 2, 2, 0")));
  EXPECT_EQ(listing_of(trace),
            "alloc 1 at 0x10 stream 0\nfree_requested 1 at 0x10 stream 0\nfree_completed 1 at 0x10 stream 0\n"
            "alloc 2 at 0x10 stream 0\n");
}

TEST(Nsight, TakesTheMeaningOfItsNumbersFromTheExport) {
  const Trace trace = trace_of(
      database(kTable +
               "CREATE TABLE ENUM_CUDA_MEM_KIND (id INTEGER PRIMARY KEY, name TEXT, label TEXT);"
               "INSERT INTO ENUM_CUDA_MEM_KIND VALUES (2, 'CUDA_MEMOPR_MEMORY_KIND_PINNED', 'Pinned'),"
               "(9, 'CUDA_MEMOPR_MEMORY_KIND_DEVICE', 'Device');"
               "CREATE TABLE ENUM_CUDA_DEV_MEM_EVENT_OPER (id INTEGER PRIMARY KEY, name TEXT);"
               "INSERT INTO ENUM_CUDA_DEV_MEM_EVENT_OPER VALUES (0, 'CUDA_DEV_MEM_EVENT_OPR_DEALLOCATION'),"
               "(1, 'CUDA_DEV_MEM_EVENT_OPR_ALLOCATION');" +
               row("1, 1, 0, 16, 1, 2, 1") + row("2, 1, 0, 32, 2, 9, 1")));
  EXPECT_EQ(listing_of(trace), "alloc 2 at 0x20 stream 0\n");
}

TEST(Nsight, TellsTheAddressesOfTwoProcessesApart) {
  const Trace trace =
      trace_of(database(kTable + row("1, 100, 0, 16, 1, 2, 0") + row("2, 200, 0, 16, 1, 2, 0")));
  EXPECT_NE(trace.device_traces[0][0].address, trace.device_traces[0][1].address);
}

TEST(Nsight, SaysWhichTableIsMissingAndHowItIsRecorded) {
  EXPECT_EQ(
      refusal_of_trace(database("CREATE TABLE StringIds (id INTEGER, value TEXT);")),
      "t: has no table CUDA_GPU_MEMORY_USAGE_EVENTS; record with nsys profile --cuda-memory-usage=true");
  EXPECT_THAT(refusal_of_trace(database("CREATE TABLE CUDA_GPU_MEMORY_USAGE_EVENTS (start INTEGER);")),
              HasSubstr("has not the expected columns: no such column: "));
}

TEST(Nsight, TrustsNoSchema) {
  EXPECT_THAT(
      refusal_of_trace(database("CREATE VIEW CUDA_GPU_MEMORY_USAGE_EVENTS AS WITH RECURSIVE n(i) AS "
                                "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS start FROM n;")),
      HasSubstr("has no table"));
}

TEST(Nsight, NamesTheRowThatIsWrong) {
  const auto refused = [](const std::string& values) {
    return refusal_of_trace(database(kTable + row("1, 1, 0, 16, 1, 2, 0") + row(values)));
  };
  const std::string where = "t: CUDA_GPU_MEMORY_USAGE_EVENTS row 2: ";
  EXPECT_EQ(refused("1, 1, 0, 'x', 1, 2, 0"), where + "'address' is no integer");
  EXPECT_EQ(refused("1, 1, 0, NULL, 1, 2, 0"), where + "'address' is no integer");
  EXPECT_EQ(refused("1, 1, 0, 16, 1, 77, 0"), where + "unknown memKind 77");
  EXPECT_EQ(refused("1, 1, 0, 16, 1, 2, 7"), where + "unknown memoryOperationType 7");
  EXPECT_EQ(refused("1, 1, 4096, 16, 1, 2, 0"), where + "deviceId is 4096, outside 0 to 255");
  EXPECT_EQ(refused("1, 1, 0, 16, -1, 2, 0"), where + "bytes is negative");
  EXPECT_EQ(refused("1, 1, 0, -16, 1, 2, 0"), where + "address is beyond what a GPU has");
}

TEST(Nsight, WithADamagedByteOrCutOffIsReadOrRefusedButNeverACrash) {
  std::string statements = kTable;
  for (int i = 1; i < 300; ++i) statements += row(std::to_string(i) + ", 1, 0, 4096, 512, 2, 0");
  const std::string whole = database(statements);
  std::size_t refused = 0, read = 0;
  std::uint32_t random = 7;
  for (std::size_t at = 0; at < whole.size(); at += 23) {
    std::string damaged = whole;
    random = random * 1664525 + 1013904223;
    damaged[at] = static_cast<char>(random >> 24);
    const std::string message = refusal_of_trace(damaged);
    (message.empty() ? read : refused) += 1;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  for (std::size_t length = 16; length < whole.size(); length += 511)
    EXPECT_NE(refusal_of_trace(whole.substr(0, length)), "") << length;
  EXPECT_GT(refused, 20u);
  EXPECT_GT(read, 20u);
}

}  // namespace
}  // namespace drought
