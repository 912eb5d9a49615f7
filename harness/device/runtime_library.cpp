#include "harness/device/runtime_library.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <span>
#include <stdexcept>
#include <system_error>

#include "harness/device/embedded.hpp"
#include "harness/device/standin.hpp"
#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constinit thread_local Device* current_device = nullptr;
constinit thread_local Tag current_tag;

/// Calls the current device. The call may let other fibers run, which make other devices current.
template <typename Made>
int on_device(Made&& made) {
  Device* const device = current_device;
  const Tag tag = current_tag;
  if (!device) return static_cast<int>(Status::initialization_error);
  const Status status = made(*device, tag);
  current_device = device;
  current_tag = tag;
  return static_cast<int>(status);
}

// Handles are shifted so that none is null or one of CUDA's constants (cudaStreamLegacy is 1).
constexpr int kHandleShift = 8;
void* handle_of(std::uint64_t id) { return reinterpret_cast<void*>(id << kHandleShift); }
std::uint64_t id_of(const void* handle) { return reinterpret_cast<std::uintptr_t>(handle) >> kHandleShift; }
Stream stream_of(const void* handle) { return {id_of(handle)}; }
Event event_of(const void* handle) { return {id_of(handle)}; }

const char* error_name(int error) {
  static std::map<int, std::string> names;
  return names.try_emplace(error, name(static_cast<Status>(error))).first->second.c_str();
}

constexpr DroughtRuntime kRuntime{
    .malloc =
        [](void** out, std::size_t bytes) {
          return on_device([&](Device& to, Tag tag) { return to.malloc(*out, bytes, tag); });
        },
    .free = [](void* block) { return on_device([&](Device& to, Tag tag) { return to.free(block, tag); }); },
    .malloc_async =
        [](void** out, std::size_t bytes, void* stream) {
          return on_device(
              [&](Device& to, Tag tag) { return to.malloc_async(*out, bytes, stream_of(stream), tag); });
        },
    .free_async =
        [](void* block, void* stream) {
          return on_device([&](Device& to, Tag tag) { return to.free_async(block, stream_of(stream), tag); });
        },
    .malloc_managed =
        [](void** out, std::size_t bytes) {
          return on_device([&](Device& to, Tag tag) { return to.malloc_managed(*out, bytes, tag); });
        },
    .malloc_host =
        [](void** out, std::size_t bytes) {
          return on_device([&](Device& to, Tag tag) { return to.malloc_host(*out, bytes, tag); });
        },
    .free_host = [](void* block) { return on_device([&](Device& to, Tag) { return to.free_host(block); }); },
    .mem_info =
        [](std::size_t* free_bytes, std::size_t* total_bytes) {
          MemInfo info;
          const int status = on_device([&](Device& to, Tag) { return to.mem_info(info); });
          *free_bytes = info.free_bytes;
          *total_bytes = info.total_bytes;
          return status;
        },
    .memset =
        [](void* to, int value, std::size_t bytes, void* stream) {
          return on_device([&](Device& on, Tag) {
            return on.memset(to, static_cast<std::uint8_t>(value), bytes, stream_of(stream), Judged::no);
          });
        },
    .memcpy =
        [](void* to, const void* from, std::size_t bytes, void* stream) {
          return on_device(
              [&](Device& on, Tag) { return on.memcpy(to, from, bytes, stream_of(stream), Judged::no); });
        },
    .stream_create =
        [](void** out) {
          Stream made;
          const int status = on_device([&](Device& to, Tag) { return to.stream_create(made); });
          *out = handle_of(made.id);
          return status;
        },
    .stream_destroy =
        [](void* stream) {
          return on_device([&](Device& to, Tag) { return to.stream_destroy(stream_of(stream)); });
        },
    .stream_synchronize =
        [](void* stream) {
          return on_device([&](Device& to, Tag) { return to.stream_synchronize(stream_of(stream)); });
        },
    .stream_wait_event =
        [](void* stream, void* event) {
          return on_device(
              [&](Device& to, Tag) { return to.stream_wait_event(stream_of(stream), event_of(event)); });
        },
    .event_create =
        [](void** out) {
          Event made;
          const int status = on_device([&](Device& to, Tag) { return to.event_create(made); });
          *out = handle_of(made.id);
          return status;
        },
    .event_destroy =
        [](void* event) {
          return on_device([&](Device& to, Tag) { return to.event_destroy(event_of(event)); });
        },
    .event_record =
        [](void* event, void* stream) {
          return on_device(
              [&](Device& to, Tag) { return to.event_record(event_of(event), stream_of(stream)); });
        },
    .event_query =
        [](void* event) {
          return on_device([&](Device& to, Tag) { return to.event_query(event_of(event)); });
        },
    .event_synchronize =
        [](void* event) {
          return on_device([&](Device& to, Tag) { return to.event_synchronize(event_of(event)); });
        },
    .synchronize = [] { return on_device([](Device& to, Tag) { return to.synchronize(); }); },
    .take_last_error = [] { return on_device([](Device& to, Tag) { return to.take_last_error(); }); },
    .peek_last_error = [] { return on_device([](Device& to, Tag) { return to.peek_last_error(); }); },
    .error_name = error_name,
};

std::string path_of(int file) { return "/proc/self/fd/" + std::to_string(file); }

/// What the loader said last, less the path of the copy, which says nothing to anybody.
std::string loader_said(int file) {
  const char* const said = ::dlerror();
  std::string text = said ? said : "no reason given";
  const std::string prefix = path_of(file) + ": ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

/// Loads the stand-ins for good, each under its own file, before anything that is linked against one.
void load_standins() {
  static const bool loaded = [] {
    for (const std::span<const char> standin : {embedded_cudart_13(), embedded_cudart_12()}) {
      const int file = embedded_file("libcudart", standin);  // Kept open: its number names it for ever.
      void* const handle = ::dlopen(path_of(file).c_str(), RTLD_NOW | RTLD_GLOBAL);
      if (!handle) throw std::runtime_error("the stand-in for libcudart does not load: " + loader_said(file));
      void* const set = ::dlsym(handle, "drought_set_runtime");
      reinterpret_cast<void (*)(const DroughtRuntime*)>(set)(&kRuntime);
    }
    return true;
  }();
  static_cast<void>(loaded);
}

constexpr off_t kLibraryBytesMax = off_t{1}
                                   << 30;  // PyTorch's largest is below; a copy takes as much memory.

int copy_of(const std::string& path) {
  if (path.empty()) return embedded_file("example", embedded_example_allocator());
  const int original = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (original < 0)
    throw std::invalid_argument("cannot open library '" + path +
                                "': " + std::generic_category().message(errno));
  struct stat facts {};
  const bool known = ::fstat(original, &facts) == 0 && S_ISREG(facts.st_mode);
  const auto size = static_cast<std::size_t>(known ? facts.st_size : 0);
  const bool fits = size > 0 && size <= kLibraryBytesMax;
  void* const seen = fits ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, original, 0) : MAP_FAILED;
  ::close(original);
  if (seen == MAP_FAILED)
    throw std::invalid_argument("'" + path + "' is no library: " +
                                (!known      ? "not a file"
                                 : size == 0 ? "empty"
                                 : fits      ? "it cannot be read"
                                             : "over 1 GiB"));
  const std::span<const char> bytes(static_cast<const char*>(seen), size);
  struct Unmap {
    std::span<const char> bytes;
    ~Unmap() { ::munmap(const_cast<char*>(bytes.data()), bytes.size()); }
  } unmap{bytes};
  return embedded_file("library", bytes);
}

}  // namespace

RuntimeScope::RuntimeScope(Device& device, Tag tag)
    : device_before_(current_device), tag_before_(current_tag) {
  current_device = &device;
  current_tag = tag;
}

RuntimeScope::~RuntimeScope() {
  current_device = device_before_;
  current_tag = tag_before_;
}

void* runtime_stream(Stream stream) { return handle_of(stream.id); }

RuntimeLibrary::RuntimeLibrary(const std::string& path, Device& device)
    : device_(device), name_(path.empty() ? "the built-in example" : "library '" + path + "'") {
  load_standins();
  file_ = copy_of(path);
  const RuntimeScope scope(device_);
  // Every symbol is bound now, so that a call that the stand-in lacks is known by name and not met later.
  handle_ = ::dlopen(path_of(file_).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_) return;
  const std::string why = loader_said(file_);
  ::close(file_);
  throw std::invalid_argument("cannot load " + name_ + ": " + why);
}

RuntimeLibrary::~RuntimeLibrary() {
  const RuntimeScope scope(device_);
  ::dlclose(handle_);
  try {
    // What it freed in stream order comes back to the device only when that is waited for.
    (void)device_.synchronize();
  } catch (const std::exception&) {
    // The run is being ended at this very step, and every later one says so too.
  }
  // A copy that the loader would not let go keeps its file, whose number the loader knows it by.
  if (void* const kept = ::dlopen(path_of(file_).c_str(), RTLD_NOW | RTLD_NOLOAD)) {
    ::dlclose(kept);
    return;
  }
  ::close(file_);
}

void* RuntimeLibrary::symbol(const std::string& name) const {
  void* const found = ::dlsym(handle_, name.c_str());
  if (!found) throw std::invalid_argument(name_ + " has no symbol '" + name + "'");
  return found;
}

}  // namespace drought
