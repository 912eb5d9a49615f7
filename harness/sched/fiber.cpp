#include "harness/sched/fiber.hpp"

#include <cxxabi.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>
#include <utility>
#include <vector>

#include "harness/memory/bytes.hpp"
#include "harness/sched/sanitizers.hpp"

// The switch itself is hidden from ThreadSanitizer: between its notice of a switch and the jump, a call
// recorded on one fiber would be left on the other.
#define DROUGHT_NOT_TRACKED __attribute__((no_sanitize("thread"), noinline))

namespace drought {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

thread_local Fiber* running = nullptr;

std::size_t page_bytes() {
  static const std::size_t bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

/// Stacks of ended fibers, to be used again: mapping one costs more than most kernel threads run.
class Fiber::StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool() {
    for (const Stack& stack : idle_) unmap(stack);
  }

  std::byte* take(std::size_t bytes) {
    for (std::size_t i = idle_.size(); i-- > 0;) {
      if (idle_[i].bytes != bytes) continue;
      std::byte* const begin = idle_[i].begin;
      idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
      return begin;
    }
    idle_.reserve(++mapped_);  // So that give() never allocates.
    void* const mapping = mmap(nullptr, bytes + page_bytes(), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    if (mprotect(mapping, page_bytes(), PROT_NONE) != 0) {
      munmap(mapping, bytes + page_bytes());
      throw std::bad_alloc();
    }
    return static_cast<std::byte*>(mapping) + page_bytes();
  }

  void give(std::byte* begin, std::size_t bytes) noexcept {
    const Stack stack{begin, bytes};
    // ThreadSanitizer would take the next owner's first writes for races with the last owner's.
    if (sanitizers::thread) {
      unmap(stack);
      return;
    }
#if defined(DROUGHT_ASAN)
    __asan_unpoison_memory_region(begin, bytes);  // An abandoned frame leaves its red zones behind.
#endif
    idle_.push_back(stack);
  }

 private:
  struct Stack {
    std::byte* begin;
    std::size_t bytes;
  };
  static void unmap(const Stack& stack) noexcept {
    munmap(stack.begin - page_bytes(), stack.bytes + page_bytes());
  }

  std::vector<Stack> idle_;
  std::size_t mapped_ = 0;
};

const std::shared_ptr<Fiber::StackPool>& Fiber::stack_pool() {
  thread_local const std::shared_ptr<StackPool> pool = std::make_shared<StackPool>();
  return pool;
}

struct Fiber::Entry {
  DROUGHT_NOT_TRACKED static void enter(transfer_t from) {
    Fiber& self = *running;
    self.resumer_context_ = from.fctx;
    self.arrive();
    run(self);
    self.state_ = State::ended;
    self.leave(/*for_good=*/true);
    jump_fcontext(self.resumer_context_, nullptr);
    __builtin_unreachable();
  }

  static void run(Fiber& self) {
    try {
      self.body_();
    } catch (...) {
      self.escaped_ = std::current_exception();
    }
  }
};

Fiber::Fiber(const FiberOptions& options, std::function<void()> body)
    : body_(std::move(body)),
      ordered_(options.ordered),
      pool_(stack_pool()),
      stack_bytes_(round_up(options.stack_bytes, page_bytes()) *
                   (sanitizers::address || sanitizers::thread ? 4 : 1)) {
  stack_ = pool_->take(stack_bytes_);
  context_ = make_fcontext(stack_ + stack_bytes_, stack_bytes_, &Entry::enter);
#if defined(DROUGHT_TSAN)
  tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (!finished()) abandon();
}

Fiber* Fiber::current() { return running; }

void Fiber::abandon() {
  state_ = State::abandoned;
  release_stack();
}

DROUGHT_NOT_TRACKED void Fiber::release_stack() {
  if (!stack_) return;
  sanitizers::acquire(&state_);
#if defined(DROUGHT_TSAN)
  if (state_ == State::abandoned) {
    // What it did is over, and before whatever its owner does next.
    void* const owner = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
    for (; untracked_depth_ > 0; --untracked_depth_) sanitizers::end_untracked();
    __tsan_switch_to_fiber(owner, 0);
  }
  __tsan_destroy_fiber(tsan_);
  tsan_ = nullptr;
#endif
  pool_->give(std::exchange(stack_, nullptr), stack_bytes_);
}

/// By hand, because std::swap would be tracked.
DROUGHT_NOT_TRACKED void Fiber::swap_globals() {
  auto* const globals = reinterpret_cast<Exceptions*>(abi::__cxa_get_globals());
  const Exceptions of_thread = *globals;
  *globals = exceptions_;
  exceptions_ = of_thread;
  const int depth = sanitizers::untracked_depth;
  sanitizers::untracked_depth = untracked_depth_;
  untracked_depth_ = depth;
}

/// Tells the sanitizers that this fiber is about to be left, and puts what belongs to it aside.
DROUGHT_NOT_TRACKED void Fiber::leave([[maybe_unused]] bool for_good) {
  swap_globals();
#if defined(DROUGHT_ASAN)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &asan_fake_stack_, asan_resumer_stack_,
                                 asan_resumer_stack_bytes_);
#endif
#if defined(DROUGHT_TSAN)
  if (!ordered_) sanitizers::release(&state_);  // The destructor's deletes come after, and nothing else.
  __tsan_switch_to_fiber(tsan_resumer_, ordered_ ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
}

/// The other half, on this fiber's stack.
DROUGHT_NOT_TRACKED void Fiber::arrive() {
#if defined(DROUGHT_ASAN)
  __sanitizer_finish_switch_fiber(asan_fake_stack_, &asan_resumer_stack_, &asan_resumer_stack_bytes_);
#endif
  swap_globals();
}

namespace {

/// A resume as the resumer's side sees it.
struct Jump {
  DROUGHT_NOT_TRACKED static transfer_t to(void* context, [[maybe_unused]] const std::byte* stack,
                                           [[maybe_unused]] std::size_t stack_bytes,
                                           [[maybe_unused]] void* tsan, [[maybe_unused]] bool ordered) {
#if defined(DROUGHT_ASAN)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack, stack_bytes);
#endif
#if defined(DROUGHT_TSAN)
    __tsan_switch_to_fiber(tsan, ordered ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
    const transfer_t from = jump_fcontext(context, nullptr);
#if defined(DROUGHT_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    return from;
  }
};

}  // namespace

DROUGHT_NOT_TRACKED void Fiber::resume() {
  resumer_ = running;
#if defined(DROUGHT_TSAN)
  tsan_resumer_ = __tsan_get_current_fiber();
#endif
  running = this;
  state_ = State::running;
  const transfer_t from = Jump::to(context_, stack_, stack_bytes_, tsan_, ordered_);
  running = resumer_;
  context_ = from.fctx;
  if (state_ != State::ended && state_ != State::abandoned) return;
  release_stack();
  if (escaped_) std::rethrow_exception(std::exchange(escaped_, nullptr));
}

DROUGHT_NOT_TRACKED void Fiber::suspend() {
  Fiber& self = *running;
  self.state_ = State::suspended;
  self.leave(/*for_good=*/false);
  self.resumer_context_ = jump_fcontext(self.resumer_context_, nullptr).fctx;
  self.arrive();
}

DROUGHT_NOT_TRACKED void Fiber::abandon_current() {
  Fiber& self = *running;
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGSEGV);
  sigaddset(&faults, SIGBUS);
  pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  self.state_ = State::abandoned;
  self.leave(/*for_good=*/true);
  jump_fcontext(self.resumer_context_, nullptr);
  __builtin_unreachable();
}

}  // namespace drought
