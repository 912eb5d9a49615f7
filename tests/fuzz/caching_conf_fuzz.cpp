// The string of PYTORCH_CUDA_ALLOC_CONF: settings that round no size down, or a mistake told.
#include "allocators/caching_conf.hpp"

#include <stdexcept>

#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace drought;
  try {
    const CachingConf conf = parse_caching_conf(fuzz::text_of(data, size));
    for (std::size_t bytes = 1; bytes < (std::size_t{1} << 40); bytes = bytes * 3 + 1)
      fuzz::require(conf.round_size(bytes) >= bytes, "a size rounded up");
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
