// The growth of flash-attention scratch as a property over contexts, KV types and caps, and the tries that
// an account sees an allocator make. The fixed figures are pinned by the scenarios of the family.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "harness/device/device.hpp"
#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "harness/memory/ledger.hpp"
#include "harness/scenario/run.hpp"
#include "harness/sched/random.hpp"
#include "scenarios/catalogue.hpp"

namespace drought {
namespace {

RunResult run_text(const std::string& toml) {
  const Scenario scenario = read_scenario(parse_toml(toml, "test.toml"), all_catalogues());
  return run_scenario(scenario, all_catalogues(), {});
}

/// The growing context on a pool with its flush under a cap.
RunResult run_capped(std::size_t tokens, std::size_t ubatch, std::size_t cap_bytes) {
  return run_text(
      "title = 'a test'\n[device]\nwork = 'shapes'\n"
      "[[resource]]\nkind = 'limit'\ncapacity_bytes = " +
      std::to_string(cap_bytes) +
      "\n[[resource]]\nkind = 'legacy_pool'\n[workload]\nkind = 'pool_decode'\ntokens = " +
      std::to_string(tokens) + "\nubatch = " + std::to_string(ubatch) + "\n");
}

std::size_t with_look_ahead(std::size_t bytes) {
  return round_up(static_cast<std::size_t>(1.05 * static_cast<double>(bytes)), std::size_t{256});
}

std::size_t dst_tmp_bytes(std::size_t ubatch) { return 3 * 16 * 256 * sizeof(float) * ubatch; }

/// What the blocks of one attention take from upstream at once: K, V, dst_tmp and its meta.
std::size_t needed_at_once(std::size_t n_kv, std::size_t ubatch) {
  return 2 * with_look_ahead(1024 * n_kv) + with_look_ahead(dst_tmp_bytes(ubatch)) +
         with_look_ahead(3 * 16 * 8 * ubatch);
}

// Only where K is the largest block: a smaller V may be given the idle block of dst_tmp, best fit or not, and
// then dst_tmp does not fit beside it.
TEST(PoolDecode, NeverRunsOutWithItsFlushWhereOneAttentionFitsAndKIsItsLargestBlock) {
  Random random(7);
  for (int i = 0; i < 40; ++i) {
    const std::size_t ubatch = std::size_t{128} << random.below(4);
    const std::size_t least = dst_tmp_bytes(ubatch) / 1024;
    const std::size_t tokens = least + ubatch * random.below((100'000 - least) / ubatch);
    const std::size_t cap = needed_at_once(round_up(tokens, std::size_t{256}), ubatch);
    const RunResult result = run_capped(tokens, ubatch, cap);
    EXPECT_EQ(result.verdict, Verdict::survived)
        << tokens << " tokens, ubatch " << ubatch << ", cap " << cap << ": " << result.why;
  }
}

TEST(PoolDecode, RunsOutWhereTheBlocksOfOneAttentionDoNotFitAndSaysSo) {
  Random random(8);
  for (int i = 0; i < 20; ++i) {
    const std::size_t tokens = 256 * (1 + random.below(200));
    const std::size_t live = 2 * 1024 * tokens + dst_tmp_bytes(128);  // Without look-ahead.
    const RunResult result = run_capped(tokens, 128, live - 1);
    EXPECT_EQ(result.outcome.kind, Outcome::Kind::clean_error) << tokens << " tokens, cap " << live - 1;
    for (const CheckResult& check : result.checks)
      EXPECT_TRUE(check.ok) << check.name << ": " << check.message;
  }
}

/// Promises three tries and makes as many as it is told.
class Tries final : public Resource, public Retries {
 public:
  explicit Tries(int made) : made_(made) {}
  void set_upstream(Resource& upstream) { upstream_ = &upstream; }
  std::size_t attempts_max() const override { return 3; }
  void* allocate(Request request) override {
    for (int i = 1;; ++i) try {
        return upstream_->allocate(request);
      } catch (const OutOfMemory&) {
        if (i == made_) throw;
      }
  }
  void deallocate(void* block, Request request) noexcept override { upstream_->deallocate(block, request); }

 private:
  Resource* upstream_ = nullptr;
  const int made_;
};

/// Refuses everything.
class Empty final : public Resource {
 public:
  void* allocate(Request request) override { throw OutOfMemory(request, "empty"); }
  void deallocate(void*, Request) noexcept override {}
};

/// The verdict of retry_cap on an allocator that promises three tries, makes `made` and is asked twice.
CheckResult judged_after(int made) {
  Record record;
  Ledger ledger(record);
  const std::unique_ptr<Device> device =
      make_host_device(profile_named("h200"), {.work = Device::Work::shapes});
  Empty empty;
  Tries tries(made);
  Account below(ledger, "empty", empty, *device, nullptr);
  tries.set_upstream(below);
  Account above(ledger, "tries", tries, *device, &below);
  for (int i = 0; i < 2; ++i) EXPECT_THROW(above.allocate({.bytes = 64, .tag = "block"}), OutOfMemory);
  EXPECT_EQ(record.attempts.size(), static_cast<std::size_t>(2 * made));
  for (const CheckResult& check : finish_checks(all_catalogues(), record, {}))
    if (check.name == "retry_cap") return check;
  throw std::logic_error("there is no check retry_cap");
}

TEST(Retries, AreFineWhenAllThatWerePromisedAreMade) {
  EXPECT_TRUE(judged_after(3).ok) << judged_after(3).message;
}

TEST(Retries, AreCountedAboveThePromiseWithoutTheAllocatorsHelp) {
  EXPECT_EQ(judged_after(4).message, "'tries grow' attempt 4 is over the cap of 3");
}

TEST(Retries, GivenUpEarlyAreCaughtAlsoWhenTheRunGoesOn) {
  EXPECT_EQ(judged_after(2).message, "'tries grow' gave up after attempt 2 of 3, and went on");
}

TEST(BesideTheChain, NothingStandsThatNeedsAnUpstream) {
  try {
    run_text(
        "title = 'a test'\n[[resource]]\nkind = 'legacy_pool'\nbeside = true\n[workload]\nkind = 'churn'\n");
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "test.toml:4:10: 'legacy_pool' needs an upstream, which nothing beside the chain has");
  }
}

TEST(Limit, OfNothingIsTheUsersMistake) {
  try {
    run_text(
        "title = 'a test'\n[[resource]]\nkind = 'limit'\ncapacity_bytes = 0\n[workload]\nkind = 'churn'\n");
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "test.toml:2:1: limit: capacity_bytes must not be 0");
  }
}

TEST(PoolDecode, RefusesFullModeAndAKvTypeThatItDoesNotKnow) {
  EXPECT_THROW(run_text("title = 'a test'\n[workload]\nkind = 'pool_decode'\n"), UserError);
  EXPECT_THROW(run_text("title = 'a test'\n[workload]\nkind = 'pool_decode'\nkv_types = ['q3_k']\n"),
               UserError);
}

}  // namespace
}  // namespace drought
