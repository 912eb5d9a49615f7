// PyTorch's caching allocator, timed as drought times its own: the same pairs, and the same recorded
// requests through its C++ interface, warm. Built and run by ci/bench where PyTorch is installed.
//
//   torch_allocator OPS     OPS: lines "a KEY BYTES" and "f KEY" in the order of the recording
#include <c10/cuda/CUDACachingAllocator.h>
#include <time.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

namespace torch_allocator = c10::cuda::CUDACachingAllocator;

double thread_ns() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

struct Op {
  std::size_t slot = 0, bytes = 0;  // bytes of 0: a free.
};

double pair_ns() {
  constexpr std::size_t kSizes[] = {512, 4096, 20480, 524288, 3145728, 12582912, 1049088, 65536};
  constexpr int kPairs = 1'000'000;
  const auto pair = [&](int i) { torch_allocator::raw_delete(torch_allocator::raw_alloc(kSizes[i % 8])); };
  for (int i = 0; i < 1000; ++i) pair(i);
  const double begin_ns = thread_ns();
  for (int i = 0; i < kPairs; ++i) pair(i);
  return (thread_ns() - begin_ns) / kPairs;
}

double replay_ns(const std::vector<Op>& ops, std::size_t slots) {
  std::vector<void*> live(slots);
  double best_ns = 0;
  for (int round = 0; round < 20; ++round) {  // The first rounds fill the cache.
    const double begin_ns = thread_ns();
    for (const Op& op : ops) {
      void*& block = live[op.slot];
      if (op.bytes != 0) {
        block = torch_allocator::raw_alloc(op.bytes);
      } else if (block) {
        torch_allocator::raw_delete(block);
        block = nullptr;
      }
    }
    const double ns = (thread_ns() - begin_ns) / static_cast<double>(ops.size());
    if (round > 1 && (best_ns == 0 || ns < best_ns)) best_ns = ns;
    for (void*& block : live)
      if (block) torch_allocator::raw_delete(std::exchange(block, nullptr));
  }
  return best_ns;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::ifstream file(argv[1]);
  std::vector<Op> ops;
  std::unordered_map<std::string, std::size_t> slots;
  std::string kind, key;
  while (file >> kind >> key) {
    Op op{.slot = slots.try_emplace(key, slots.size()).first->second};
    if (kind == "a") file >> op.bytes;
    ops.push_back(op);
  }
  if (cudaSetDevice(0) != cudaSuccess || cudaFree(nullptr) != cudaSuccess) return 77;
  torch_allocator::init(1);
  std::printf("pair %.1f\nreplay %.1f\n", pair_ns(), replay_ns(ops, slots.size()));
}
