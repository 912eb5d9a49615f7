// Holds a freed block back until the work that used it has ended, which an event says, and only then gives
// it to its upstream. Freeing cannot fail, so what it meets on the way it has to make good itself.
#pragma once

#include <vector>

#include "harness/device/device.hpp"
#include "harness/memory/interfaces.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class Fenced final : public Resource, public FallsBack {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"event_leaked_when_record_fails", "forgets the event that could not be recorded", "leaked"},
      {"record_error_ignored", "takes an event that was never recorded for one that has passed", "swallowed"},
      {"block_lost_when_event_refused", "forgets the block for which there is no event", "leaked"},
      {"failed_destroy_believed", "holds a block on whose event is said not to be destroyed", "leaked"},
  };

  Fenced(Resource& upstream, Device& device, Options options)
      : upstream_(upstream), device_(device), planted_(std::move(options)) {}
  ~Fenced() override {
    for (const Held& held : held_) {
      (void)device_.event_synchronize(held.event);
      (void)device_.event_destroy(held.event);
      upstream_.deallocate(held.block, held.request);
    }
  }

  void* allocate(Request request) override {
    reap();
    return upstream_.allocate(request);
  }

  void deallocate(void* block, Request request) noexcept override {
    Event event;
    if (device_.event_create(event) != Status::success) {
      if (!planted_("block_lost_when_event_refused")) wait_instead(block, request);
      return;
    }
    const Status status = device_.event_record(event, request.stream);
    if (status == Status::success || planted_("record_error_ignored")) {
      held_.push_back({event, block, request});
      return;
    }
    if (!planted_("event_leaked_when_record_fails")) (void)device_.event_destroy(event);
    wait_instead(block, request);
  }

  std::string_view take_fallback() noexcept override { return std::exchange(fallback_, {}); }

 private:
  struct Held {
    Event event;
    void* block;
    Request request;
  };

  void reap() {
    for (std::size_t i = 0; i < held_.size();) {
      const Held held = held_[i];
      const Status status = device_.event_query(held.event);
      if (status != Status::success && status != Status::not_ready)
        throw DeviceError(status, "cudaEventQuery");
      if (status == Status::not_ready) {
        ++i;
        continue;
      }
      const bool destroyed = device_.event_destroy(held.event) == Status::success;
      if (destroyed || !planted_("failed_destroy_believed"))
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
      else
        ++i;
      upstream_.deallocate(held.block, held.request);
    }
  }

  void wait_instead(void* block, const Request& request) noexcept {
    fallback_ = "waited for the device instead of an event";
    (void)device_.take_last_error();
    // Where even that fails nothing says when the work ends; it is the device's last word, which others hear.
    (void)device_.synchronize();
    upstream_.deallocate(block, request);
  }

  Resource& upstream_;
  Device& device_;
  const Planted planted_;
  std::string_view fallback_;
  std::vector<Held> held_;
};

}  // namespace drought
