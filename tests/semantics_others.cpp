// The rows on launches, pinned memory and registered host memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "tests/probe.hpp"
#include "tests/semantics.hpp"

namespace drought {
namespace {

constexpr std::size_t page_bytes = 4_KiB;

/// A mapping of a file of `file_bytes`, or of no file when that is 0; gone with this.
class HostPages {
 public:
  HostPages(std::size_t bytes, int protection, std::size_t file_bytes = 0) : bytes_(bytes) {
    const int file = file_bytes > 0 ? ::memfd_create("model", MFD_CLOEXEC) : -1;
    if (file >= 0 && ::ftruncate(file, static_cast<off_t>(file_bytes)) != 0) fail("ftruncate");
    const int flags = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void* const mapped = ::mmap(nullptr, bytes, protection, flags, file, 0);
    if (file >= 0) ::close(file);
    if (mapped == MAP_FAILED) fail("mmap");
    begin_ = static_cast<std::uint8_t*>(mapped);
  }
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;
  ~HostPages() { ::munmap(begin_, bytes_); }
  std::uint8_t* at(std::size_t offset) const { return begin_ + offset; }

 private:
  [[noreturn]] static void fail(const char* call) {
    throw std::system_error(errno, std::generic_category(), call);
  }
  std::size_t bytes_;
  std::uint8_t* begin_ = nullptr;
};

/// Launches a probe of the given shape, then one that must still work.
std::string launch_of(Device& device, const ProbeShape& shape) {
  void* const block = malloc_or_null(device, 1_KiB);
  Observed observed;
  observed << probe_touch(device, {.address = reinterpret_cast<std::uintptr_t>(block)}, {}, shape);
  return observed << probe_read(device, block) << device.synchronize();
}

std::string too_many_threads(Device& device) { return launch_of(device, {.block = {2048, 1, 1}}); }
std::string empty_grid(Device& device) { return launch_of(device, {.grid = {0, 1, 1}}); }
std::string too_much_shared(Device& device) { return launch_of(device, {.shared_bytes = 300_KiB}); }

std::string write_through_null(Device& device) {
  warm_up(device);
  Observed observed;
  observed << probe_write(device, nullptr, 1) << device.synchronize();
  MemInfo info;
  void* out = nullptr;
  return observed << device.mem_info(info) << device.malloc(out, 1) << device.synchronize();
}

std::string pinned_too_much(Device& device) {
  void* out = nullptr;
  return Observed() << device.malloc_host(out, std::size_t{1} << 45);
}

std::string free_of_pinned(Device& device) {
  void* block = nullptr;
  Observed observed;
  observed << device.malloc_host(block, 1_MiB) << device.free(block) << device.free_host(block);
  return observed << device.free_host(block);
}

std::string register_read_only_file(Device& device) {
  const HostPages pages(4 * page_bytes, PROT_READ, 4 * page_bytes);
  Observed observed;
  observed << device.host_register(pages.at(0), 4 * page_bytes, {.read_only = false});
  observed << device.host_register(pages.at(0), 4 * page_bytes, {.read_only = true});
  observed << probe_read(device, pages.at(page_bytes)) << device.synchronize();
  return observed << device.host_unregister(pages.at(0));
}

std::string register_overlapping(Device& device) {
  const HostPages pages(8 * page_bytes, PROT_READ | PROT_WRITE);
  Observed observed;
  observed << device.host_register(pages.at(0), 4 * page_bytes, {});
  observed << device.host_register(pages.at(0), 4 * page_bytes, {});
  observed << device.host_register(pages.at(2 * page_bytes), 4 * page_bytes, {});
  observed << device.host_register(pages.at(4 * page_bytes), page_bytes, {});
  observed << device.host_unregister(pages.at(4 * page_bytes));
  return observed << device.host_unregister(pages.at(0));
}

std::string register_unaligned(Device& device) {
  const HostPages pages(page_bytes, PROT_READ | PROT_WRITE);
  Observed observed;
  observed << device.host_register(pages.at(33), 100, {});
  return observed << device.host_unregister(pages.at(33));
}

std::string register_past_the_file(Device& device) {
  const HostPages pages(8 * page_bytes, PROT_READ | PROT_WRITE, 4 * page_bytes);
  Observed observed;
  observed << device.host_register(pages.at(0), 8 * page_bytes, {});
  return observed << device.host_unregister(pages.at(0));
}

std::string unregister_from_the_middle(Device& device) {
  const HostPages pages(4 * page_bytes, PROT_READ | PROT_WRITE);
  Observed observed;
  observed << device.host_register(pages.at(0), 4 * page_bytes, {});
  observed << device.host_unregister(pages.at(page_bytes));
  return observed << device.host_unregister(pages.at(0));
}

std::string read_of_unregistered(Device& device) {
  const HostPages pages(4 * page_bytes, PROT_READ | PROT_WRITE);
  Observed observed;
  observed << device.host_register(pages.at(0), page_bytes, {}) << probe_read(device, pages.at(0));
  observed << device.synchronize() << probe_read(device, pages.at(2 * page_bytes)) << device.synchronize();
  return observed;
}

constexpr std::string_view refused_but_healthy = "InvalidValue, Success, Success";

constexpr SemanticsRow rows[] = {
    {"a launch with 2,048 threads", refused_but_healthy, too_many_threads},
    {"a launch with an empty grid", refused_but_healthy, empty_grid},
    {"a launch with 300 KiB of dynamic shared memory", refused_but_healthy, too_much_shared},
    {"a write through a null pointer",
     "Success, IllegalAddress, IllegalAddress, IllegalAddress, IllegalAddress", write_through_null, true},
    {"2^45 bytes of pinned memory", "MemoryAllocation", pinned_too_much},
    {"cudaFree of pinned memory, cudaFreeHost twice", "Success, InvalidValue, Success, InvalidValue",
     free_of_pinned},
    {"registering a PROT_READ file mapping", "InvalidValue, Success, Success, Success, Success",
     register_read_only_file},
    {"registering again, over a part, and next to a registration",
     "Success, HostMemoryAlreadyRegistered, HostMemoryAlreadyRegistered, Success, Success, Success",
     register_overlapping},
    {"registering 100 unaligned bytes", "Success, Success", register_unaligned},
    {"registering past the end of a file", "InvalidValue, HostMemoryNotRegistered", register_past_the_file},
    {"unregistering from the middle", "Success, InvalidValue, Success", unregister_from_the_middle},
    {"a kernel's read of host memory outside every registration",
     "Success, Success, Success, Success, IllegalAddress", read_of_unregistered, true},
};

}  // namespace

std::span<const SemanticsRow> other_rows() { return rows; }

}  // namespace drought
