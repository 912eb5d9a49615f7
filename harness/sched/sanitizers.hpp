// What fibers and simulated threads tell the sanitizers. Every call is empty in a build without the
// sanitizer that it is for, so that callers need no preprocessor of their own.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DROUGHT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define DROUGHT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define DROUGHT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define DROUGHT_TSAN 1
#endif

#if defined(DROUGHT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(DROUGHT_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void __tsan_read_range(void* begin, unsigned long bytes);
void __tsan_write_range(void* begin, unsigned long bytes);
}
#endif

namespace drought::sanitizers {

#if defined(DROUGHT_ASAN)
inline constexpr bool address = true;
#else
inline constexpr bool address = false;
#endif
#if defined(DROUGHT_TSAN)
inline constexpr bool thread = true;
#else
inline constexpr bool thread = false;
#endif

/// Orders what the current fiber did before with whoever acquires `point` later.
inline void release([[maybe_unused]] void* point) {
#if defined(DROUGHT_TSAN)
  __tsan_release(point);
#endif
}

inline void acquire([[maybe_unused]] void* point) {
#if defined(DROUGHT_TSAN)
  __tsan_acquire(point);
#endif
}

/// Makes the current fiber read a range that uninstrumented code will read on its behalf: races and poison
/// are reported as for a plain read.
inline void read([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) {
#if defined(DROUGHT_TSAN)
  __tsan_read_range(const_cast<void*>(begin), bytes);
#endif
#if defined(DROUGHT_ASAN)
  void* const poisoned = __asan_region_is_poisoned(const_cast<void*>(begin), bytes);
  if (poisoned) static_cast<void>(*static_cast<const volatile char*>(poisoned));
#endif
}

/// How many Untracked live on the current fiber. Fibers carry it across switches, and end those that an
/// abandoned one leaves behind, which ThreadSanitizer would otherwise take for a mistake.
inline constinit thread_local int untracked_depth = 0;

#if defined(DROUGHT_TSAN)
inline void begin_untracked() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
inline void end_untracked() {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#endif

/// The same for a write. Needed for memset of a constant size too, which g++ expands without telling.
inline void write([[maybe_unused]] void* begin, [[maybe_unused]] std::size_t bytes) {
#if defined(DROUGHT_TSAN)
  __tsan_write_range(begin, bytes);
#endif
#if defined(DROUGHT_ASAN)
  void* const poisoned = __asan_region_is_poisoned(begin, bytes);
  if (poisoned) *static_cast<volatile char*>(poisoned) = 0;
#endif
}

/// While one lives, the current fiber's accesses are no business of ThreadSanitizer's: the bookkeeping of
/// simulated threads, which only the order of switches protects, and rightly.
class Untracked {
 public:
#if defined(DROUGHT_TSAN)
  Untracked() {
    begin_untracked();
    ++untracked_depth;
  }
  ~Untracked() {
    --untracked_depth;
    end_untracked();
  }
#else
  Untracked() {}
  ~Untracked() {}
#endif
  Untracked(const Untracked&) = delete;
  Untracked& operator=(const Untracked&) = delete;
};

}  // namespace drought::sanitizers
