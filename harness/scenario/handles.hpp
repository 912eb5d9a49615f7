// What a program makes of a device beside memory, and has to end itself: a stream, an event, a range of
// addresses, a graph and its instance, pinned host memory. None of it shows in the bytes that a device lends,
// so it is counted by kind, at the calls that make and end it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "harness/device/call.hpp"

namespace drought {

class Handles {
 public:
  /// After a call; `status` is what its caller got. A call that ends something and answers a fault's error
  /// was made all the same.
  void note(const Call& call, Status status) {
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      if (call.site == kKinds[i].made_by && status == Status::success) ++alive_[i];
      if (call.site == kKinds[i].ended_by && (status == Status::success || call.answer)) --alive_[i];
    }
  }

  /// "2 events, 1 stream"; empty when everything was ended.
  std::string alive() const {
    std::string text;
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      if (alive_[i] <= 0) continue;
      text += (text.empty() ? "" : ", ") + std::to_string(alive_[i]) + " " + kKinds[i].name;
      if (alive_[i] > 1) text += "s";
    }
    return text;
  }

 private:
  struct Kind {
    const char* name;
    Site made_by, ended_by;
  };
  static constexpr std::array<Kind, 6> kKinds{{
      {"stream", Site::cudaStreamCreate, Site::cudaStreamDestroy},
      {"event", Site::cudaEventCreate, Site::cudaEventDestroy},
      {"address range", Site::cuMemAddressReserve, Site::cuMemAddressFree},
      {"graph", Site::cudaStreamEndCapture, Site::cudaGraphDestroy},
      {"graph instance", Site::cudaGraphInstantiate, Site::cudaGraphExecDestroy},
      {"pinned block", Site::cudaMallocHost, Site::cudaFreeHost},
  }};
  std::array<std::int64_t, kKinds.size()> alive_{};
};

}  // namespace drought
