// A fiber: a body with a stack of its own that the owner resumes and that suspends itself. Simulated
// processes, streams and the threads of a kernel are fibers, so that one OS thread runs them in an order
// that replays from a seed. Built on Boost.Context's fcontext (14 ns a switch; ucontext takes 550), and
// told to AddressSanitizer and ThreadSanitizer, whose pictures of the stack a switch would otherwise break.
//
// A fiber never leaves the OS thread that made it. Fibers nest: a fiber may own and resume others.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>

namespace drought {

struct FiberOptions {
  /// Usable bytes, rounded up to pages; a guard page lies below. Sanitized builds need four times as much
  /// for the same code and get it.
  std::size_t stack_bytes = 64 << 10;
  /// false: to ThreadSanitizer the body runs concurrently with its owner and with other such fibers, so
  /// that accesses which only the order of switches keeps apart are reported as races.
  bool ordered = true;
};

class Fiber {
 public:
  /// Nothing runs until resume(). Throws std::bad_alloc when no stack can be mapped.
  Fiber(const FiberOptions& options, std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  /// A fiber that has not finished is abandoned.
  ~Fiber();

  /// Runs the body until it suspends, ends or is abandoned, and rethrows what it let escape. Not to be
  /// called on a fiber that is finished or running.
  void resume();

  /// Goes back to whoever resumed the current fiber. Exceptions in flight or being handled stay with the
  /// fiber, so a catch block and a destructor may suspend.
  static void suspend();

  /// The innermost fiber that runs on this OS thread, or null.
  static Fiber* current();

  /// The body returned, threw, or was abandoned.
  bool finished() const { return state_ == State::ended || state_ == State::abandoned; }
  bool abandoned() const { return state_ == State::abandoned; }

  /// Gives the stack up where it stands: nothing on it is unwound, so only a body that owns nothing there
  /// may be treated so. Not to be called on the running fiber.
  void abandon();

  /// The same for the current fiber, which resume() then reports by returning. Allowed in a handler of
  /// SIGSEGV or SIGBUS that runs on an alternate stack; the two signals are unblocked.
  [[noreturn]] static void abandon_current();

 private:
  enum class State : unsigned char { fresh, suspended, running, ended, abandoned };

  /// __cxa_eh_globals of the Itanium C++ ABI, which is per OS thread and so must be switched by hand.
  struct Exceptions {
    void* caught = nullptr;
    unsigned int uncaught = 0;
  };

  class StackPool;  // One for each OS thread, as long as a fiber of that thread is alive.
  struct Entry;     // The first function on the new stack, whose signature is Boost's.

  void release_stack();
  void swap_globals();
  void leave(bool for_good);
  void arrive();

  std::function<void()> body_;
  std::exception_ptr escaped_;
  State state_ = State::fresh;
  bool ordered_;

  static const std::shared_ptr<StackPool>& stack_pool();

  const std::shared_ptr<StackPool> pool_;
  std::byte* stack_ = nullptr;  // Lowest usable byte.
  std::size_t stack_bytes_;
  void* context_ = nullptr;          // Where to go on resume.
  Fiber* resumer_ = nullptr;         // Null: the OS thread's own stack.
  void* resumer_context_ = nullptr;  // Where to go on suspend.
  Exceptions exceptions_;
  int untracked_depth_ = 0;

  void* asan_fake_stack_ = nullptr;
  const void* asan_resumer_stack_ = nullptr;
  std::size_t asan_resumer_stack_bytes_ = 0;
  void* tsan_ = nullptr;
  void* tsan_resumer_ = nullptr;
};

}  // namespace drought
