// The guard on a real GPU: each stray access is noticed there too, in a process of its own where it ends the
// context, and a kernel on guarded blocks costs what it costs on plain ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "allocators/direct.hpp"
#include "allocators/guard.hpp"
#include "allocators/shared_object.hpp"
#include "harness/device/child.hpp"
#include "harness/device/cuda_timer.hpp"
#include "harness/memory/buffer.hpp"
#include "kernels/decode_attention.hpp"
#include "tests/cuda_lane.hpp"
#include "tests/guard_cases.hpp"
#include "tests/named.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

class EveryGuardCaseOnCuda : public CudaLane, public testing::WithParamInterface<GuardCase> {};
INSTANTIATE_TEST_SUITE_P(Each, EveryGuardCaseOnCuda, testing::ValuesIn(guard_cases()), by_name);

TEST_P(EveryGuardCaseOnCuda, IsNoticedInAProcessOfItsOwn) {
  const ChildEnd end = Child(job("guard_case")).finish("cuda " + std::string(GetParam().name));
  EXPECT_TRUE(end.succeeded()) << end.text();
  EXPECT_THAT(end.record, HasSubstr(std::string(GetParam().answer)));
  EXPECT_EQ(touch(*device_, {}), Status::success) << "the parent's context died with the child's";
  EXPECT_EQ(device_->synchronize(), Status::success);
}

class CudaGuard : public CudaLane {};

TEST_F(CudaGuard, FindsNothingWrongWithWritesInsideABlockAndRefusesASecondFree) {
  const std::size_t held = device_->held_bytes();
  {
    Guard guard(*device_, {});
    EXPECT_EQ(write_inside_and_free_twice(*device_, guard), "damaged 0, refused 1");
  }
  EXPECT_EQ(device_->held_bytes(), held);
}

TEST_F(CudaGuard, GivesBackEveryByteOfThousandsOfBlocks) {
  const std::size_t free_before = free_bytes(*device_), held = device_->held_bytes();
  {
    Guard guard(*device_, {.quarantine_blocks = 100});
    std::vector<Buffer> blocks;
    for (std::size_t i = 0; i < 2000; ++i) {
      if (blocks.size() == 50) blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(i % 50));
      blocks.emplace_back(guard, Request{.bytes = 1 + i * 4099 % 5'000'000});
    }
    blocks.clear();
    EXPECT_EQ(guard.damaged_blocks(), 0u);
  }
  EXPECT_EQ(device_->held_bytes(), held);
  EXPECT_LE(free_before - std::min(free_before, free_bytes(*device_)), 64_MiB)
      << "the driver's page tables aside";
}

/// Runs `plain` and `guarded` in turn, the order changing each round, and answers the ratio of the medians.
template <typename Work>
double ratio_of(const char* what, const Work& plain, const Work& guarded) {
  constexpr int warm_up = 5, rounds = 51;
  std::vector<double> times[2];
  const Work* const works[] = {&plain, &guarded};
  for (int round = 0; round < warm_up + rounds; ++round)
    for (const int turn : {round % 2, 1 - round % 2}) {
      const auto time = cuda_milliseconds(*works[turn]);
      EXPECT_TRUE(time) << what << " was not timed";
      if (time && round >= warm_up) times[turn].push_back(*time);
    }
  double medians[2];
  for (int i = 0; i < 2; ++i) {
    if (times[i].empty()) return 1e9;
    std::nth_element(times[i].begin(), times[i].begin() + rounds / 2, times[i].end());
    medians[i] = times[i][rounds / 2];
  }
  std::printf("[ MEASURED ] %s: plain %.4f ms, guarded %.4f ms, ratio %.4f (medians of %d)\n", what,
              medians[0], medians[1], medians[1] / medians[0], rounds);
  return medians[1] / medians[0];
}

/// A kernel's parts from one resource, integers as filled and payload zero.
class KernelParts {
 public:
  KernelParts(Device& device, Resource& memory, const Kernel& kernel) : device_(device), kernel_(kernel) {
    const std::vector<Part> plan = kernel.plan();
    for (std::size_t i = 0; i < plan.size(); ++i) {
      const Part& part = plan[i];
      buffers_.emplace_back();
      if (part.bytes != 0) buffers_.back() = Buffer(memory, {.bytes = part.bytes, .tag = part.name});
      pointers_.push_back(buffers_.back().data());
      if (part.bytes == 0) continue;
      if (part.payload || part.role != Part::Role::input) {
        EXPECT_EQ(device.memset(pointers_.back(), 0, part.bytes), Status::success);
        continue;
      }
      std::vector<std::byte> host(part.bytes);
      kernel.fill(i, 41, host);
      EXPECT_EQ(device.memcpy(pointers_.back(), host.data(), part.bytes), Status::success);
    }
    EXPECT_EQ(device.synchronize(), Status::success);
  }
  void launch() const { EXPECT_EQ(kernel_.launch(device_, {}, pointers_), Status::success); }

 private:
  Device& device_;
  const Kernel& kernel_;
  std::vector<Buffer> buffers_;
  std::vector<void*> pointers_;
};

TEST_F(CudaGuard, RunsADecodeKernelOnItsBlocksAtTheSpeedOfPlainOnes) {
  const DecodeAttention decode({.seqlens = std::vector<std::size_t>(16, 4096),
                                .splits = 8,
                                .heads = 32,
                                .kv_heads = 8,
                                .head_dim = 128});
  Direct direct(*device_, {});
  Guard guard(*device_, {});
  const KernelParts plain(*device_, direct, decode), guarded(*device_, guard, decode);
  const std::function<void()> on_plain = [&] { plain.launch(); }, on_guarded = [&] { guarded.launch(); };
  EXPECT_LE(ratio_of("decode_attention, 16 x 4096 tokens", on_plain, on_guarded), 1.02);
}

TEST_F(CudaGuard, CopiesBetweenItsBlocksAtTheSpeedOfPlainOnes) {
  constexpr std::size_t bytes = 512_MiB;
  Direct direct(*device_, {});
  Guard guard(*device_, {});
  const auto copy = [&](Resource& memory) -> std::function<void()> {
    const auto from = std::make_shared<Buffer>(memory, Request{.bytes = bytes});
    const auto to = std::make_shared<Buffer>(memory, Request{.bytes = bytes});
    return [=, this] { EXPECT_EQ(device_->memcpy(to->data(), from->data(), bytes), Status::success); };
  };
  EXPECT_LE(ratio_of("copy of 512 MiB", copy(direct), copy(guard)), 1.02);
}

TEST_F(CudaGuard, StandsBesideAUsersLibraryWhoseCallsReachTheSameGpu) {
  const std::size_t held = device_->held_bytes();
  SharedObject memory(*device_, {});
  const Request request{.bytes = 3_MiB};
  void* const block = memory.allocate(request);
  EXPECT_EQ(device_->held_bytes() - held, 4_MiB);
  ASSERT_EQ(device_->memset(block, 0x5a, request.bytes), Status::success);
  EXPECT_EQ(read(static_cast<std::byte*>(block) + request.bytes - 1, 1).front(), 0x5a);
  memory.deallocate(block, request);
  EXPECT_EQ(device_->held_bytes(), held);
}

}  // namespace
}  // namespace drought
