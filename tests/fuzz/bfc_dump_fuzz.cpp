// Logs with dumps of TensorFlow's BFC allocator.
#include "harness/trace/bfc_dump.hpp"

#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  drought::fuzz::read(data, size, drought::read_bfc_dump);
  return 0;
}
