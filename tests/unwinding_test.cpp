// What a destructor stores while an exception passes is there afterwards. g++ 12.2 drops such a store when
// only a loop stands between it and the end of the unwinding, unless it is told -fno-tree-dse; the ledger,
// the leases and every process that the scheduler unwinds stand on it.
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace drought {
namespace {

[[gnu::noinline]] void fail(bool fails) {
  if (fails) throw std::runtime_error("on its way");
}

struct Counted {
  int active = 0;
  bool waiting[8] = {};
  std::vector<bool> asleep = std::vector<bool>(8);
};

[[gnu::noinline]] void leave_and_wake(Counted& counted, bool fails) {
  ++counted.active;
  struct Leaves {
    Counted& counted;
    ~Leaves() {
      --counted.active;
      for (bool& waiting : counted.waiting) waiting = false;
    }
  } const leaves{counted};
  fail(fails);
}

[[gnu::noinline]] void leave_and_rouse(Counted& counted, bool fails) {
  ++counted.active;
  struct Leaves {
    Counted& counted;
    ~Leaves() {
      --counted.active;
      for (std::size_t i = 0; i < counted.asleep.size(); ++i) counted.asleep[i] = false;
    }
  } const leaves{counted};
  fail(fails);
}

TEST(Unwinding, KeepsWhatADestructorStoresBeforeALoop) {
  for (const auto leave : {leave_and_wake, leave_and_rouse})
    for (const bool fails : {false, true}) {
      Counted counted;
      try {
        leave(counted, fails);
      } catch (const std::runtime_error&) {
      }
      EXPECT_EQ(counted.active, 0) << (fails ? "after an exception" : "after a return");
    }
}

}  // namespace
}  // namespace drought
