#include "harness/device/host_fault.hpp"

#include <signal.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <system_error>

#include "harness/sched/fiber.hpp"
#include "harness/simt/host_block.hpp"

namespace drought {
namespace {

/// What the innermost survive_fault of this thread runs on.
constinit thread_local Fiber* guarded = nullptr;

struct sigaction segv_before, bus_before;

void pass_on(int signal, siginfo_t* info, void* context) {
  const struct sigaction& before = signal == SIGSEGV ? segv_before : bus_before;
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != nullptr) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    // The instruction runs again and meets the default action, so the crash shows where it happened.
    ::signal(signal, SIG_DFL);
  }
}

void on_fault(int signal, siginfo_t* info, void* context) {
  if (on_kernel_thread()) end_kernel_thread_at(info->si_addr);
  if (guarded && Fiber::current() == guarded) Fiber::abandon_current();
  pass_on(signal, info, context);
}

void require(bool done, const char* call) {
  if (!done) throw std::system_error(errno, std::generic_category(), call);
}

bool install_handlers() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  require(::sigaction(SIGSEGV, &action, &segv_before) == 0, "sigaction");
  require(::sigaction(SIGBUS, &action, &bus_before) == 0, "sigaction");
  return true;
}

// A thread's signal stack, unless somebody (a sanitizer) gave the thread one already.
class SignalStack {
 public:
  SignalStack() {
    stack_t present{};
    require(::sigaltstack(nullptr, &present) == 0, "sigaltstack");
    if ((present.ss_flags & SS_DISABLE) == 0) return;
    memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory_ != MAP_FAILED, "mmap");
    stack_t ours{};
    ours.ss_sp = memory_;
    ours.ss_size = bytes_;
    require(::sigaltstack(&ours, nullptr) == 0, "sigaltstack");
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;
  ~SignalStack() {
    if (!memory_) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
    ::munmap(memory_, bytes_);
  }

 private:
  static constexpr std::size_t bytes_ = 64 << 10;
  void* memory_ = nullptr;
};

}  // namespace

Status survive_fault(Status (*work)(void*), void* context) {
  static const bool installed = install_handlers();
  static thread_local SignalStack stack;
  static_cast<void>(installed);
  static_cast<void>(stack);

  Status answer = Status::illegal_address;
  Fiber fiber({.stack_bytes = 256 << 10}, [&] { answer = work(context); });
  struct Entered {
    Fiber* outer;
    explicit Entered(Fiber* inner) : outer(guarded) { guarded = inner; }
    ~Entered() { guarded = outer; }
  } entered(&fiber);
  fiber.resume();
  return answer;
}

}  // namespace drought
