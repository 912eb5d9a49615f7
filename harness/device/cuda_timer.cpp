#include "harness/device/cuda_timer.hpp"

#include <cuda_runtime_api.h>

namespace drought {
namespace {

struct TimingEvent {
  TimingEvent() : made(cudaEventCreate(&event) == cudaSuccess) {}
  ~TimingEvent() {
    if (made) (void)cudaEventDestroy(event);
  }
  TimingEvent(const TimingEvent&) = delete;
  TimingEvent& operator=(const TimingEvent&) = delete;
  bool record() { return made && cudaEventRecord(event, nullptr) == cudaSuccess; }

  cudaEvent_t event{};
  const bool made;
};

}  // namespace

std::optional<double> cuda_milliseconds(const std::function<void()>& work) {
  TimingEvent start, stop;
  float milliseconds = 0;
  if (!start.record()) return {};
  work();
  const bool measured = stop.record() && cudaEventSynchronize(stop.event) == cudaSuccess &&
                        cudaEventElapsedTime(&milliseconds, start.event, stop.event) == cudaSuccess;
  if (!measured) return {};
  return milliseconds;
}

}  // namespace drought
