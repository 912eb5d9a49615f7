#include "scenarios/allocators/overrun.hpp"

#include <bit>
#include <stdexcept>

#include "kernels/checksum.hpp"
#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

/// Which of two words it is: false the first, true the second.
bool second_of(const std::string& word, const char* what, const char* first, const char* second) {
  if (word == first || word == second) return word == second;
  throw std::invalid_argument(std::string(what) + " must be " + first + " or " + second + ", not '" + word +
                              "'");
}

}  // namespace

Overrun::Overrun(Options options)
    : writes_(second_of(options.access, "access", "read", "write")),
      before_(second_of(options.side, "side", "after", "before")),
      alignment_(options.alignment) {
  if (!std::has_single_bit(alignment_) || alignment_ < sizeof(std::uint32_t))
    throw std::invalid_argument("alignment must be a power of two, 4 or more");
}

void Overrun::run(Rig& rig) {
  constexpr std::size_t word = sizeof(std::uint32_t), sound_words = 1024;
  // The victim is one word shorter than what the kernel reads or writes of it.
  const Checksum checksum({.words = writes_ ? sound_words : sound_words + 1});
  const std::size_t touched_bytes = checksum.plan()[writes_ ? 1 : 0].bytes;
  const std::size_t other_bytes = checksum.plan()[writes_ ? 0 : 1].bytes;
  const Buffer data(rig.memory(), {.bytes = touched_bytes - word, .alignment = alignment_, .tag = "data"});
  const Buffer other(rig.memory(), {.bytes = other_bytes, .tag = "other"});
  void* const touched = before_ ? data.data() - word : data.data();
  void* const parts[] = {writes_ ? other.data() : touched, writes_ ? touched : other.data()};
  must(checksum.launch_over(rig.device(), {}, parts, false), "launch");
  must(rig.device().synchronize(), "cudaDeviceSynchronize");
}

}  // namespace drought
