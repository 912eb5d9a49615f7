#include "tests/guard_cases.hpp"

#include <istream>
#include <ostream>

#include "tests/child_jobs.hpp"
#include "tests/probe.hpp"

namespace drought {
namespace {

constexpr std::size_t kBytes = 4_KiB;

Request victim(std::size_t bytes = kBytes) { return {.bytes = bytes, .tag = "victim"}; }

std::byte* lend(Guard& guard, const Request& request) {
  return static_cast<std::byte*>(guard.allocate(request));
}

/// Reads a byte with a kernel: the answer of the first call that waits for it.
std::string read(Device& device, const std::byte* at) {
  const Status launched = probe_read(device, at);
  return launched == Status::success ? name(device.synchronize()) : "launch " + name(launched);
}

std::string write(Device& device, std::byte* at) {
  const Status launched = probe_write(device, at, 1);
  return launched == Status::success ? name(device.synchronize()) : "launch " + name(launched);
}

/// In bounds first, so that what follows is the stray access's doing.
std::string read_at(Device& device, Guard& guard, std::ptrdiff_t offset) {
  std::byte* const block = lend(guard, victim());
  (void)lend(guard, victim());
  const auto bytes = static_cast<std::ptrdiff_t>(kBytes);
  for (const std::ptrdiff_t inside : {std::ptrdiff_t{0}, bytes - 1})
    if (const std::string came = read(device, block + inside); came != "cudaSuccess")
      return "inside: " + came;
  return read(device, block + offset);
}

std::string read_past_end(Device& device, Guard& guard) {
  return read_at(device, guard, static_cast<std::ptrdiff_t>(kBytes));
}

std::string read_before_start(Device& device, Guard& guard) {
  // A neighbour below, so that a mapping without a fence would be met.
  (void)lend(guard, victim());
  return read_at(device, guard, -1);
}

std::string read_after_free(Device& device, Guard& guard) {
  std::byte* const block = lend(guard, victim());
  if (const std::string came = read(device, block); came != "cudaSuccess") return "inside: " + came;
  guard.deallocate(block, victim());
  // The next owner of as much memory must not be where the stale pointer points.
  (void)lend(guard, victim());
  return read(device, block);
}

std::string write_then_free(Device& device, Guard& guard, const Request& request, std::ptrdiff_t offset) {
  std::byte* const block = lend(guard, request);
  if (const std::string came = write(device, block + offset); came != "cudaSuccess") return came;
  guard.deallocate(block, request);
  return guard.damaged_blocks() == 1 ? guard.last_damage() : "nothing was noticed";
}

std::string write_into_the_gap(Device& device, Guard& guard) {
  return write_then_free(device, guard, victim(1000), 1000);
}

std::string write_before_start(Device& device, Guard& guard) {
  return write_then_free(device, guard, victim(), -1);
}

std::string write_past_end_of_the_fence_before(Device& device, Guard& guard) {
  return write_then_free(device, guard, victim(), static_cast<std::ptrdiff_t>(kBytes));
}

std::string write_inside(Device& device, Guard& guard) {
  std::byte* const block = lend(guard, victim(1000));
  for (const std::size_t at : {std::size_t{0}, std::size_t{999}})
    if (const std::string came = write(device, block + at); came != "cudaSuccess") return came;
  guard.deallocate(block, victim(1000));
  guard.deallocate(block, victim(1000));
  return "damaged " + std::to_string(guard.damaged_blocks()) + ", refused " +
         std::to_string(guard.refused_frees());
}

Guard::Options with(const char* fence, std::size_t canary_bytes = 4_KiB, std::size_t blocks = 4096) {
  return {.fence = fence, .canary_bytes = canary_bytes, .quarantine_blocks = blocks};
}

}  // namespace

std::span<const GuardCase> guard_cases() {
  constexpr std::string_view illegal = "cudaErrorIllegalAddress";
  static const GuardCase kCases[] = {
      {"ReadPastTheEnd", read_past_end, illegal, with("after"), with("none")},
      {"ReadBeforeTheStart", read_before_start, illegal, with("before"), with("none")},
      {"ReadAfterFree", read_after_free, illegal, with("after"), with("after", 4_KiB, 0)},
      {"WriteIntoTheGapBehind", write_into_the_gap, "bytes 1000 to 1000 from its start", with("after"),
       with("after", 0)},
      {"WriteBeforeTheStart", write_before_start, "bytes -1 to -1 from its start", with("after"),
       with("after", 0)},
      {"WritePastTheEndWithTheFenceBefore", write_past_end_of_the_fence_before,
       "bytes 4096 to 4096 from its start", with("before"), with("before", 0)},
  };
  return kCases;
}

std::string write_inside_and_free_twice(Device& device, Guard& guard) { return write_inside(device, guard); }

int run_guard_case(std::istream& input, std::ostream& record) {
  std::string lane, wanted, why_not;
  input >> lane >> wanted;
  const Profile& profile = profile_named("h200");
  const auto device = lane == "cuda" ? make_cuda_device(profile, {}, why_not) : make_host_device(profile, {});
  if (!device) return 77;
  for (const GuardCase& one : guard_cases()) {
    if (one.name != wanted) continue;
    Guard guard(*device, one.sound);
    record << one.run(*device, guard);
    return 0;
  }
  return 2;
}

}  // namespace drought
