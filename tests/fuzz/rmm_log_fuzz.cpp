// RMM's logs.
#include "harness/trace/rmm_log.hpp"

#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  drought::fuzz::read(data, size, drought::read_rmm_log);
  return 0;
}
