#include "scenarios/kernels/stray_read.hpp"

#include <stdexcept>

#include "kernels/checksum.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {

StrayRead::StrayRead(Options options) : options_(options) {
  if (options_.bytes < sizeof(std::uint32_t)) throw std::invalid_argument("bytes must be 4 or more");
}

void StrayRead::run(Rig& rig) {
  // A few words at the start are enough: the whole mapping is gone.
  const Checksum checksum({.words = std::min<std::size_t>(options_.bytes / sizeof(std::uint32_t), 1024)});
  const std::vector<Part> plan = checksum.plan();
  Buffer data(rig.memory(), {.bytes = options_.bytes, .tag = "data"});
  const Buffer sums(rig.memory(), {.bytes = plan[1].bytes, .tag = "out"});
  void* const parts[] = {data.data(), sums.data()};
  {
    const Phase phase(rig, "after_free");
    data.reset();
    if (auto* const cache = dynamic_cast<Trims*>(&rig.allocator())) cache->trim();
    must(checksum.launch_over(rig.device(), {}, parts, options_.declared), "launch");
  }
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
}

}  // namespace drought
