// A barrier left out of a real kernel is a data race that ThreadSanitizer must report, although simulated
// threads never run at the same time; and the kernel as it is must not be reported.
#include <gtest/gtest.h>

#include "harness/sched/sanitizers.hpp"
#include "harness/simt/host_launch.hpp"
#include "kernels/prefill_attention.hpp"
#include "tests/kernel_memory.hpp"

namespace drought {
namespace {

/// A context whose nth barrier of every four, as a pass over one tile of keys has them, does nothing.
class SkippingContext : public HostContext {
 public:
  SkippingContext(const HostContext& real, int skipped) : HostContext(real), skipped_(skipped) {}
  void sync() {
    if (barriers_++ % 4 != skipped_) HostContext::sync();
  }

 private:
  int skipped_;
  int barriers_ = 0;
};

/// -1: all barriers are kept.
template <int skipped>
struct MutantPrefill : PrefillBlock<bf16, 64> {
  template <typename Context>
  static void body(Context& context, const Arguments& given) {
    SkippingContext skipping(context, skipped);
    PrefillBlock<bf16, 64>::body(skipping, given);
  }
};

/// Launches with the mutant's body in place of the kernel's.
template <int skipped>
class MutantDevice final : public PlainDevice {
 protected:
  Status do_launch(const Launch& launch) override { return host_body<MutantPrefill<skipped>>(launch); }
};

template <int skipped>
Status run_mutant() {
  const PrefillAttention kernel(
      {.queries = 150, .heads = 1, .kv_heads = 1, .causal = false, .body = "portable"});
  KernelMemory memory(kernel, 4);
  MutantDevice<skipped> device;
  return memory.launch_on(device, 9);
}

TEST(MissingSync, IsNotReportedWhereNoneIsMissing) { EXPECT_EQ(run_mutant<-1>(), Status::success); }

template <int skipped>
void expect_race() {
  if (!sanitizers::thread) GTEST_SKIP() << "only a build with ThreadSanitizer sees a missing barrier";
  EXPECT_EXIT(
      {
        static_cast<void>(run_mutant<skipped>());
        std::exit(0);  // ThreadSanitizer turns it into its own status when it has reported.
      },
      testing::ExitedWithCode(66), "data race");
}

TEST(MissingSyncDeathTest, BeforeTheScoresIsARace) { expect_race<0>(); }
TEST(MissingSyncDeathTest, BeforeTheNextKeysIsARace) { expect_race<1>(); }
TEST(MissingSyncDeathTest, BeforeTheOutputIsARace) { expect_race<2>(); }
TEST(MissingSyncDeathTest, BeforeTheNextValuesIsARace) { expect_race<3>(); }

}  // namespace
}  // namespace drought
