// A user's library behind PyTorch's two functions: its calls reach the device and can be struck, its null
// and its exceptions mean what they mean in production, what it keeps in globals ends with it, and each
// defect that such libraries have had is caught by the suite that every allocator passes.
#include "allocators/shared_object.hpp"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/conformance.hpp"
#include "tests/host_lane.hpp"
#include "tests/named.hpp"
#include "tests/scenario_text.hpp"
#include "tests/scripted_device.hpp"
#include "tests/seed.hpp"

namespace drought {
namespace {

using testing::HasSubstr;
using testing::Not;

SharedObject::Options functions(const char* alloc, const char* free = "example_free") {
  return {.alloc = alloc, .free = free};
}

std::string refusal_of(const std::function<void()>& made) {
  try {
    made();
  } catch (const std::exception& refusal) {
    return refusal.what();
  }
  return "nothing was refused";
}

struct BrokenLibrary {
  const char* name;
  std::unique_ptr<Resource> (*make)(const Table& options, Resource* upstream, Device& device);
  const char* breaks;  ///< The claim of the conformance suite that must notice.
  const char* says;
};

template <const char* const& alloc, const char* const& free>
std::unique_ptr<Resource> made_of(const Table&, Resource*, Device& device) {
  return std::make_unique<SharedObject>(device, functions(alloc, free));
}

constexpr const char *kLeaky = "leaky_alloc", *kLeakyFree = "leaky_free", *kThrowing = "throwing_alloc",
                     *kForgetful = "forgetful_alloc", *kCareless = "careless_alloc", *kFree = "example_free",
                     *kThrowingFree = "throwing_free", *kExample = "example_alloc";

constexpr BrokenLibrary kBroken[] = {
    {"leaky", made_of<kLeaky, kLeakyFree>, "AnswersEveryUpstreamFailureCleanlyAndRecovers", "still lends"},
    {"throwing", made_of<kThrowing, kFree>, "AnswersEveryUpstreamFailureCleanlyAndRecovers",
     "neither OutOfMemory nor DeviceError: throwing_alloc has no memory"},
    {"forgetful", made_of<kForgetful, kFree>, "AnswersEveryUpstreamFailureCleanlyAndRecovers",
     "last CUDA error is cudaSuccess"},
    {"careless", made_of<kCareless, kFree>, "AnswersEveryUpstreamFailureCleanlyAndRecovers", "overlaps"},
    {"throwing_free", made_of<kExample, kThrowingFree>, "LendsOnlyWhatItBorrowedAndNoByteTwice",
     "throwing_free threw"},
};

void PrintTo(const BrokenLibrary& library, std::ostream* out) { *out << library.name; }

class EveryBrokenLibrary : public testing::TestWithParam<BrokenLibrary> {};
INSTANTIATE_TEST_SUITE_P(Each, EveryBrokenLibrary, testing::ValuesIn(kBroken), by_name);

TEST_P(EveryBrokenLibrary, IsCaughtByTheConformanceSuite) {
  const AllocatorEntry entry{GetParam().name, "broken on purpose", GetParam().make, false};
  for (const Claim& claim : conformance_claims()) {
    if (claim.name != GetParam().breaks) continue;
    std::string mistake;
    const std::string thrown = refusal_of([&] { mistake = claim.mistake(entry, test_seed(), Lane::host); });
    const std::string came = mistake.empty() ? thrown : mistake;
    EXPECT_THAT(came, Not(HasSubstr("nothing was refused")));
    EXPECT_THAT(came, HasSubstr(GetParam().says));
    return;
  }
  FAIL() << "no claim " << GetParam().breaks;
}

TEST(SharedObject, PassesSizeStreamAndTagToTheDeviceUnderTheRuntimesOwnNames) {
  const Catalogues& all = all_catalogues();
  const RunResult struck = run_scenario(
      scenario_of(
          "[[resource]]\nkind = 'shared_object'\n[workload]\nkind = 'churn'\n[[fault]]\n"
          "kind = 'out_of_memory'\nwhen = {site = 'cudaMalloc', tag = 'block', bytes_min = 1, nth = 3}",
          all),
      all, {});
  EXPECT_THAT(struck.outcome.message, HasSubstr("example_alloc returned null"));
  EXPECT_EQ(struck.faults.front().struck, 1u);
}

TEST(SharedObject, TakesTheErrorThatAnsweredTheLibraryOutOfTheSlot) {
  ScriptedDevice device(1_MiB);
  SharedObject memory(device, {});
  EXPECT_THAT(refusal_of([&] { (void)memory.allocate({.bytes = 2_MiB, .tag = "kv"}); }),
              HasSubstr("for 'kv', asked at tests/shared_object_test.cpp:"));
  EXPECT_EQ(device.peek_last_error(), Status::success);
}

TEST(SharedObject, GivesEachOfItsOwnersALibraryWithGlobalsOfItsOwn) {
  const auto device = h200();
  const auto lent_of = [&](int wanted) {
    SharedObject memory(*device, functions("forgetful_alloc"));
    int lent = 0;
    (void)refusal_of([&] {
      for (; lent < wanted; ++lent) (void)memory.allocate({.bytes = 1});
    });
    return lent;
  };
  EXPECT_EQ(lent_of(3), 3);
  EXPECT_EQ(lent_of(20), 6) << "the first library's count of calls lives on in the second";
}

TEST(SharedObject, KeepsTwoDevicesApart) {
  const auto first = h200(), second = h200();
  SharedObject on_first(*first, {}), on_second(*second, {});
  void* const block = on_first.allocate({.bytes = 3_MiB});
  EXPECT_EQ(first->held_bytes(), 4_MiB);
  EXPECT_EQ(second->held_bytes(), 0u);
  on_first.deallocate(block, {.bytes = 3_MiB});
  EXPECT_EQ(first->held_bytes(), 0u);
}

TEST(SharedObject, RefusesASecondFreeAndAForeignOneBeforeTheLibrarySeesThem) {
  const auto device = h200();
  SharedObject memory(*device, {});
  const Request request{.bytes = 1000};
  void* const block = memory.allocate(request);
  int foreign = 0;
  memory.deallocate(&foreign, request);
  memory.deallocate(block, request);
  memory.deallocate(block, request);
  EXPECT_EQ(memory.refused_frees(), 2u);
  EXPECT_EQ(device->peek_last_error(), Status::success);
}

TEST(SharedObject, ThrowsWhatFreeThrewAtTheNextAllocate) {
  const auto device = h200();
  SharedObject memory(*device, functions("example_alloc", "throwing_free"));
  memory.deallocate(memory.allocate({.bytes = 1}), {.bytes = 1});
  EXPECT_EQ(refusal_of([&] { (void)memory.allocate({.bytes = 1}); }),
            "throwing_free threw: throwing_free does not like it");
  EXPECT_EQ(device->held_bytes(), 0u);
}

TEST(SharedObject, SaysInOneLineWithItsPlaceWhatOfALibraryIsMissing) {
  const auto mistake = [](const std::string& options) {
    return refusal_of([&] {
      (void)run_scenario(
          scenario_of("[[resource]]\nkind = 'shared_object'\n" + options + "\n[workload]\nkind = 'churn'"),
          all_catalogues(), {});
    });
  };
  EXPECT_EQ(mistake("library = '/nonexistent/alloc.so'"),
            "test.toml:2:1: cannot open library '/nonexistent/alloc.so': No such file or directory");
  EXPECT_EQ(mistake("library = '/proc/self/exe'").find("test.toml:2:1: cannot load library"), 0u);
  EXPECT_EQ(mistake("library = '/etc/passwd'"),
            "test.toml:2:1: cannot load library '/etc/passwd': invalid ELF header");
  EXPECT_EQ(mistake("library = '/'"), "test.toml:2:1: '/' is no library: not a file");
  EXPECT_EQ(mistake("library = '/dev/null'"), "test.toml:2:1: '/dev/null' is no library: not a file");
  EXPECT_EQ(mistake("alloc = 'my_malloc'"), "test.toml:2:1: the built-in example has no symbol 'my_malloc'");
  EXPECT_EQ(mistake("free = 'my_free'"), "test.toml:2:1: the built-in example has no symbol 'my_free'");
}

TEST(RuntimeLibrary, AnswersThatNothingIsInitialisedWhereNoDeviceIsCurrent) {
  const auto device = h200();
  const RuntimeLibrary library("", *device);
  using Alloc = void*(ssize_t, int, void*);
  auto* const alloc = reinterpret_cast<Alloc*>(library.symbol("example_alloc"));
  EXPECT_EQ(alloc(1, 0, nullptr), nullptr);
  const RuntimeScope scope(*device);
  EXPECT_NE(alloc(1, 0, nullptr), nullptr);
  EXPECT_EQ(device->held_bytes(), 2_MiB);
}

/// The stand-in, as a library that was linked against the runtime finds it.
template <typename Function>
Function* runtime_function(const char* symbol) {
  void* const standin = ::dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD);
  return standin ? reinterpret_cast<Function*>(::dlsym(standin, symbol)) : nullptr;
}

TEST(RuntimeLibrary, AnswersTheRuntimesOtherCallsAsTheDeviceDoes) {
  const auto device = h200();
  const RuntimeLibrary library("", *device);
  const RuntimeScope scope(*device);
  void *block = nullptr, *stream = nullptr, *event = nullptr;
  std::size_t free_bytes = 0, total_bytes = 0;
  ASSERT_NE(runtime_function<int(void**)>("cudaStreamCreate"), nullptr);
  EXPECT_EQ(runtime_function<int(void**)>("cudaStreamCreate")(&stream), 0);
  EXPECT_EQ(runtime_function<int(void**, unsigned)>("cudaEventCreateWithFlags")(&event, 2), 0);
  EXPECT_EQ(runtime_function<int(void**, std::size_t, void*)>("cudaMallocAsync")(&block, 8, stream), 0);
  EXPECT_EQ(runtime_function<int(void*, int, std::size_t, void*)>("cudaMemsetAsync")(block, 7, 8, stream), 0);
  EXPECT_EQ(runtime_function<int(void*, void*)>("cudaEventRecord")(event, stream), 0);
  EXPECT_EQ(runtime_function<int(void*)>("cudaEventSynchronize")(event), 0);
  std::uint8_t seen[8] = {};
  EXPECT_EQ(runtime_function<int(void*, const void*, std::size_t, int)>("cudaMemcpy")(seen, block, 8, 4), 0);
  EXPECT_THAT(seen, testing::Each(7));
  EXPECT_EQ(runtime_function<int(std::size_t*, std::size_t*)>("cudaMemGetInfo")(&free_bytes, &total_bytes),
            0);
  EXPECT_EQ(total_bytes, device->profile().total_bytes);
  EXPECT_EQ(runtime_function<int(void*, void*)>("cudaFreeAsync")(block, stream), 0);
  EXPECT_EQ(runtime_function<int(void*, void*)>("cudaFreeAsync")(block, stream), 1);
  EXPECT_EQ(runtime_function<int()>("cudaPeekAtLastError")(), 1);
  EXPECT_STREQ(runtime_function<const char*(int)>("cudaGetErrorName")(1), "cudaErrorInvalidValue");
  EXPECT_EQ(runtime_function<int()>("cudaGetLastError")(), 1);
  EXPECT_EQ(runtime_function<int()>("cudaGetLastError")(), 0);
  EXPECT_EQ(runtime_function<int(int)>("cudaSetDevice")(1), 101);
  EXPECT_EQ(runtime_function<int(void*)>("cudaEventDestroy")(event), 0);
  EXPECT_EQ(runtime_function<int(void*)>("cudaStreamDestroy")(stream), 0);
  EXPECT_EQ(runtime_function<int(void*)>("cudaStreamSynchronize")(stream), 400);
}

}  // namespace
}  // namespace drought
