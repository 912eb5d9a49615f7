// The ledger says what is wrong with an operand by name before the device sees it, who holds what was
// to be dead, and whether a part of a map may be touched.
#include "harness/memory/ledger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "harness/device/device.hpp"
#include "harness/memory/buffer.hpp"

namespace drought {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Lends addresses out of nothing, upwards; nothing here is ever touched.
class Addresses final : public Resource {
 public:
  void* allocate(Request request) override {
    next_ += round_up(request.bytes, 256);
    return reinterpret_cast<void*>(next_ - round_up(request.bytes, 256));
  }
  void deallocate(void*, Request) noexcept override {}

 private:
  std::uintptr_t next_ = std::uintptr_t{1} << 40;
};

class LedgerTest : public testing::Test {
 protected:
  /// What the ledger says against a launch that reads this operand; empty when it may run.
  std::string objection(const void* data, std::size_t bytes, Site site = Site::launch) {
    const Operand operands[] = {{"kv", data, bytes, Access::read, site == Site::cudaMemcpy}};
    Call call{.site = site, .operands = operands, .kernel = "decode"};
    const std::size_t before = record_.violations.size();
    ledger_.judge(call);
    const bool found = record_.violations.size() > before;
    EXPECT_EQ(call.refused.has_value(), found) << "refused without a violation, or the other way round";
    return found ? record_.violations.back().check + ": " + record_.violations.back().text : "";
  }
  static const std::byte* byte_of(const Buffer& buffer, std::size_t offset) { return buffer.data() + offset; }

  std::unique_ptr<Device> device_ = make_host_device(profile_named("h200"), {.work = Device::Work::shapes});
  Record record_;
  Ledger ledger_{record_};
  Addresses addresses_;
  Account pool_{ledger_, "pool", addresses_, *device_, nullptr};
};

TEST_F(LedgerTest, LetsEveryPartOfALiveBlockBeUsed) {
  const Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
  EXPECT_EQ(objection(block.data(), 1000), "");
  EXPECT_EQ(objection(byte_of(block, 999), 1), "");
  EXPECT_EQ(objection(nullptr, 0), "") << "an absent operand";
  EXPECT_EQ(record_.judged_operands, 3u);
}

TEST_F(LedgerTest, NamesAFreedOperandAndWhereAndWhenItWasFreed) {
  Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
  const std::byte* const inside = byte_of(block, 500);
  ledger_.set_phase("teardown");
  block.reset();
  const std::string text = objection(inside, 8);
  EXPECT_THAT(text,
              HasSubstr("no_stale_operand: decode operand 'kv' is stale: 'kv_buffer' (id 1) was freed at "
                        "tests/ledger_test.cpp:"));
  EXPECT_THAT(text, HasSubstr("in phase teardown"));
}

TEST_F(LedgerTest, NamesWhoBorrowedMemoryThatACopyTouchesAndNobodyWasLent) {
  const Buffer borrowed(pool_, {.bytes = 1000, .tag = "segment"});
  Addresses cache;
  const Account above(ledger_, "cache", cache, *device_, &pool_);
  EXPECT_THAT(objection(borrowed.data(), 8, Site::cudaMemcpy), HasSubstr("foreign: 'cache' borrowed it"));
}

TEST_F(LedgerTest, DoesNotClaimToKnowWhereABufferWentThatLeftItsScope) {
  const std::byte* gone = nullptr;
  {
    const Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
    gone = block.data();
  }
  EXPECT_THAT(objection(gone, 8),
              HasSubstr("was freed with its buffer, allocated at tests/ledger_test.cpp:"));
}

TEST_F(LedgerTest, RefusesAForeignOperandOfALaunchAndLeavesThatOfACopyToTheDevice) {
  int host = 0;
  EXPECT_THAT(objection(&host, sizeof host), HasSubstr("is foreign: no live allocation holds it"));
  EXPECT_EQ(objection(&host, sizeof host, Site::cudaMemcpy), "");
}

TEST_F(LedgerTest, SaysHowFarAnOperandRunsPastTheEndOfItsBlock) {
  const Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
  const Buffer neighbour(pool_, {.bytes = 1000, .tag = "next"});
  EXPECT_THAT(objection(block.data(), 1001),
              HasSubstr("runs 1 B past the end of 'kv_buffer' (id 1, 1000 B)"));
  EXPECT_THAT(objection(byte_of(block, 999), 8), HasSubstr("runs 7 B past"));
}

TEST_F(LedgerTest, RefusesAnOperandWhoseEndWrapsAroundTheAddressSpace) {
  const Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
  EXPECT_THAT(objection(block.data(), std::numeric_limits<std::size_t>::max()), HasSubstr("wraps"));
}

TEST_F(LedgerTest, DoesNotJudgeAProbe) {
  int host = 0;
  const Operand operands[] = {{"kv", &host, 4, Access::read}};
  Call call{.site = Site::launch, .operands = operands, .declared = false};
  ledger_.judge(call);
  EXPECT_FALSE(call.refused);
  EXPECT_EQ(record_.judged_operands, 0u);
}

TEST_F(LedgerTest, KnowsTheBlockOfTheTopmostLinkAndNotTheSlabUnderIt) {
  Account slabs(ledger_, "slabs", addresses_, *device_, nullptr);
  const Request slab_request{.bytes = 4096, .tag = "slab"};
  void* const slab = slabs.allocate(slab_request);
  class Front final : public Resource {
   public:
    explicit Front(void* slab) : slab_(slab) {}
    void* allocate(Request) override { return slab_; }
    void deallocate(void*, Request) noexcept override {}

   private:
    void* slab_;
  } front(slab);
  {
    Account top(ledger_, "top", front, *device_, &slabs);
    const Buffer block(top, {.bytes = 100, .tag = "block"});
    EXPECT_EQ(ledger_.live_bytes(), 100u) << "the slab is not the workload's";
    EXPECT_THAT(objection(slab, 101), HasSubstr("past the end of 'block'"));
  }
  slabs.deallocate(slab, slab_request);
  EXPECT_THAT(record_.violations, SizeIs(1));
}

TEST_F(LedgerTest, CountsLiveBytesAndTheirPeak) {
  Buffer first(pool_, {.bytes = 300, .tag = "a"});
  Buffer second(pool_, {.bytes = 500, .tag = "b"});
  EXPECT_EQ(ledger_.live_bytes(), 800u);
  first.reset();
  EXPECT_EQ(ledger_.live_bytes(), 500u);
  EXPECT_EQ(record_.peak_bytes, 800u);
  EXPECT_EQ(record_.allocations, 2u);
  EXPECT_EQ(record_.frees, 1u);
}

TEST_F(LedgerTest, NamesEachSurvivorOfATeardownWithAllWhoHoldIt) {
  Buffer kept(pool_, {.bytes = 300, .tag = "kv_buffer"});
  Buffer leased(pool_, {.bytes = 500, .tag = "kv_buffer"});
  const Buffer weights(pool_, {.bytes = 700, .tag = "weights"});
  const Lease graph = leased.lease("cuda_graph");
  const Lease error = leased.lease("traceback");
  leased.reset();
  ledger_.set_phase("teardown");
  const auto survivors = ledger_.mark_teardown({"kv_buffer"});
  ASSERT_THAT(survivors, SizeIs(2));
  EXPECT_THAT(survivors[0].holders, ElementsAre("its owner"));
  EXPECT_THAT(survivors[1].holders, ElementsAre("cuda_graph", "traceback"));
  EXPECT_EQ(survivors[1].bytes, 500u);
  EXPECT_FALSE(survivors[1].charged_to_fault);
  EXPECT_THAT(survivors[1].text(),
              HasSubstr("'kv_buffer' (id 2, 500 B, allocated at tests/ledger_test.cpp:"));
  ASSERT_THAT(record_.teardowns, SizeIs(1));
  EXPECT_EQ(record_.teardowns[0].phase, "teardown");
}

TEST_F(LedgerTest, ForgetsALeaseThatEndsAndABlockWhoseLastLeaseEnds) {
  Buffer block(pool_, {.bytes = 300, .tag = "kv_buffer"});
  Lease first = block.lease("graph"), second = block.lease("graph");
  block.reset();
  first.drop();
  const Tag tags[] = {"kv_buffer"};
  ASSERT_THAT(ledger_.survivors(tags), SizeIs(1));
  EXPECT_THAT(ledger_.survivors(tags)[0].holders, ElementsAre("graph"));
  second.drop();
  EXPECT_THAT(ledger_.survivors(tags), IsEmpty());
  EXPECT_EQ(ledger_.live_bytes(), 0u);
}

TEST_F(LedgerTest, ChargesToAFaultOnlyWhatNobodyElseHolds) {
  Buffer block(pool_, {.bytes = 300, .tag = "kv_buffer"});
  const Lease fault = block.lease("fault:leak_reference");
  const Tag tags[] = {"kv_buffer"};
  EXPECT_FALSE(ledger_.survivors(tags)[0].charged_to_fault) << "its owner holds it too";
  Lease other = block.lease("registry");
  block.reset();
  EXPECT_FALSE(ledger_.survivors(tags)[0].charged_to_fault) << "the registry holds it too";
  other.drop();
  EXPECT_TRUE(ledger_.survivors(tags)[0].charged_to_fault);
}

TEST_F(LedgerTest, CannotNameAHolderThatIsNotKnown) {
  auto block = std::make_shared<Block>(pool_, Request{.bytes = 300, .tag = "kv_buffer"});
  Buffer owner;
  pool_.releasing(block);  // The owner let go, and somebody kept the memory without a lease.
  const Tag tags[] = {"kv_buffer"};
  ASSERT_THAT(ledger_.survivors(tags), SizeIs(1));
  EXPECT_THAT(ledger_.survivors(tags)[0].text(), HasSubstr("held by nobody known"));
}

TEST_F(LedgerTest, RecordsWhatIsLiveAtTheEnd) {
  Buffer block(pool_, {.bytes = 300, .tag = "kv_buffer"});
  ledger_.mark_end();
  EXPECT_THAT(record_.live_at_end, SizeIs(1));
  block.reset();
  ledger_.mark_end();
  EXPECT_THAT(record_.live_at_end, IsEmpty());
}

SpanMap model_map() {
  return {.name = "model",
          .base = 0x10'0000,
          .bytes = 100'000,
          .page_bytes = 4096,
          .spans = {{40'000, 1000}, {0, 5000}, {49'152, 100}}};
}

TEST_F(LedgerTest, JudgesATouchOfAMapByTheUnionOfItsPageRoundedSpans) {
  ledger_.declare_map(model_map());
  const auto touch = [&](std::uint64_t offset, std::size_t bytes) {
    return objection(reinterpret_cast<void*>(0x10'0000 + offset), bytes);
  };
  EXPECT_EQ(touch(0, 5000), "");
  EXPECT_EQ(touch(5000, 3192), "") << "the rest of the last page";
  EXPECT_EQ(touch(36'864, 4096 * 2), "") << "the pages under the second span";
  EXPECT_THAT(touch(8192, 1),
              HasSubstr("span_cover: decode operand 'kv' lies outside the spans of map 'model' "
                        "(offset 8192, 1 B)"));
  EXPECT_THAT(touch(8000, 400), HasSubstr("outside the spans")) << "begins inside, ends outside";
  EXPECT_THAT(touch(0, 45'000), HasSubstr("outside the spans")) << "the interval from the first to the last";
  EXPECT_THAT(touch(53'248, 1), HasSubstr("outside the spans"));
}

TEST_F(LedgerTest, JoinsSpansThatTouchOnceRoundedToPages) {
  SpanMap map = model_map();
  map.spans = {{0, 4096}, {4097, 100}, {8192, 1}};
  ledger_.declare_map(map);
  EXPECT_EQ(objection(reinterpret_cast<void*>(0x10'0000), 12'288), "");
}

TEST_F(LedgerTest, RefusesATouchOfAMapThatWrapsOrLeavesIt) {
  SpanMap map = model_map();
  map.spans = {{0, 100'000}};
  EXPECT_TRUE(map.covers(0, 100'000));
  EXPECT_FALSE(map.covers(0, 100'001));
  EXPECT_FALSE(map.covers(99'999, 2));
  EXPECT_FALSE(map.covers(8, std::numeric_limits<std::uint64_t>::max() - 4)) << "offset + bytes wraps to 3";
  EXPECT_FALSE(map.covers(std::numeric_limits<std::uint64_t>::max(), 1));
}

TEST_F(LedgerTest, ReplacesAMapOfOneNameAndForgetsIt) {
  const std::uint64_t first = ledger_.declare_map(model_map());
  SpanMap narrow = model_map();
  narrow.spans = {{0, 1}};
  const std::uint64_t second = ledger_.declare_map(narrow);
  EXPECT_NE(first, second);
  EXPECT_NE(objection(reinterpret_cast<void*>(0x10'0000 + 40'000), 1), "") << "the old map still grants";
  ledger_.forget_map("model");
  EXPECT_EQ(ledger_.map_named("model"), nullptr);
  EXPECT_THAT(objection(reinterpret_cast<void*>(0x10'0000), 1), HasSubstr("is foreign"));
}

TEST_F(LedgerTest, LetsADeclaredRangeBeUsedToItsEndAndUntilItIsForgotten) {
  int host[4] = {};
  ledger_.declare_range("registered", host, sizeof host);
  EXPECT_EQ(objection(host, sizeof host), "");
  EXPECT_THAT(objection(&host[1], sizeof host), HasSubstr("runs past the end of 'registered'"));
  ledger_.forget_range(host);
  EXPECT_THAT(objection(host, 4), HasSubstr("is foreign"));
}

TEST_F(LedgerTest, RecordsARaceUnderStreamOrder) {
  const Buffer block(pool_, {.bytes = 1000, .tag = "kv_buffer"});
  const Operand operands[] = {{"kv", block.data(), 1000, Access::write}};
  Call first{.site = Site::launch, .stream = {1}, .operands = operands, .kernel = "k"};
  Call second = first;
  second.stream = {2};
  ledger_.judge(first);
  EXPECT_THAT(record_.violations, IsEmpty());
  ledger_.judge(second);
  ASSERT_THAT(record_.violations, SizeIs(1));
  EXPECT_EQ(record_.violations[0].check, "stream_order");
  EXPECT_FALSE(second.refused) << "a race is reported and runs";
}

}  // namespace
}  // namespace drought
