// Call stacks at a fault point: taken where a trigger asks, named without debug information, each once.
#include "harness/fault/stack.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scenario_text.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

struct Loader {
  __attribute__((noinline)) static Stack load() {
    Stack stack = Stack::here();
    asm volatile("" : : "r"(&stack) : "memory");  // No tail call: the frame stays.
    return stack;
  }
};

__attribute__((noinline)) Stack serve() {
  Stack stack = Loader::load();
  asm volatile("" : : "r"(&stack) : "memory");
  return stack;
}

bool has(const Stack& stack, const char* glob) {
  std::unordered_map<const void*, bool> known;
  return stack.has_frame(glob, known);
}

TEST(Stack, NamesTheFunctionsOnItInFullOrFromAnyScopeOn) {
  const Stack stack = serve();
  for (const char* glob : {"serve", "Loader::load", "load", "Loader::*", "ser?e"})
    EXPECT_TRUE(has(stack, glob)) << glob << ": " << testing::PrintToString(stack.names());
  for (const char* glob : {"oad", "Loader", "serve2", ""}) EXPECT_FALSE(has(stack, glob)) << glob;
  EXPECT_FALSE(has(Loader::load(), "serve"));
  ASSERT_GE(stack.frames().size(), 3u);
  EXPECT_EQ(stack.names()[0], "Loader::load") << "the innermost first";
}

TEST(Stack, ReadsNamesWithoutTheirTypes) {
  EXPECT_EQ(plain_name("drought::Churn::run(drought::Rig&)"), "Churn::run");
  EXPECT_EQ(plain_name("drought::(anonymous namespace)::take_all(std::vector<int>&, char)"), "take_all");
  EXPECT_EQ(plain_name("void drought::AddressTable<unsigned long>::insert(unsigned long)"),
            "AddressTable<unsigned long>::insert");
  EXPECT_EQ(plain_name("std::pair<int, int> drought::f<std::pair<int, int> >(int)"),
            "f<std::pair<int, int> >");
  EXPECT_EQ(plain_name("drought::Rig::run()::{lambda(int)#1}::operator()(int) const"), "Rig::run");
  EXPECT_EQ(plain_name("drought::X::operator()(int)"), "X::operator()");
  EXPECT_EQ(plain_name("main"), "main");
  EXPECT_EQ(plain_name(""), "");
}

TEST(Stack, IsKnownAgainFromTheSamePlaceAndNewFromAnother) {
  StackSet seen;
  std::size_t fresh = 0;
  for (int round = 0; round < 3; ++round) {
    fresh += seen.insert(serve());
    fresh += seen.insert(Loader::load());
  }
  EXPECT_EQ(fresh, 2u);
}

RunResult churn_with(const std::string& when) {
  return run_scenario(scenario_of("[workload]\nkind = 'churn'\nallocations = 40\n[[fault]]\nkind = 'delay'\n"
                                  "when = " +
                                  when),
                      all_catalogues(), {});
}

TEST(StackTrigger, StrikesTheCallsThatAFunctionMakesAndNoOthers) {
  const RunResult all = churn_with("{site = 'cudaMemcpy'}");
  const RunResult named = churn_with("{site = 'cudaMemcpy', stack = 'Churn::run'}");
  EXPECT_EQ(named.faults[0].struck, all.faults[0].struck);
  EXPECT_GT(named.faults[0].struck, 0u);
  EXPECT_EQ(churn_with("{site = 'cudaMemcpy', stack = 'AutoProfile::*'}").verdict, Verdict::never_reached);
  EXPECT_EQ(churn_with("{site = 'cudaMalloc', not = {stack = 'Churn::run'}}").verdict,
            Verdict::never_reached);
}

TEST(StackTrigger, StrikesEachCallStackOnce) {
  const std::uint64_t calls = churn_with("{site = 'cudaMemset'}").faults[0].struck;
  EXPECT_EQ(calls, 40u);
  EXPECT_EQ(churn_with("{site = 'cudaMemset', unique_stack = true}").faults[0].struck, 1u);
  const std::uint64_t copies = churn_with("{site = 'cudaMemcpy', unique_stack = true}").faults[0].struck;
  EXPECT_GE(copies, 1u);
  EXPECT_LE(copies, 4u) << "two places free a block, each with a copy for either end";
}

}  // namespace
}  // namespace drought
