// SQLite exports of Nsight Systems.
#include "harness/trace/nsight.hpp"

#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  drought::fuzz::read(data, size, drought::read_nsight);
  return 0;
}
