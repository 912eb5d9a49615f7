// What tests of work on the simulated device share: a device by its seed, and a kernel that writes a
// letter into a log when it runs.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "harness/device/device.hpp"

namespace drought {

inline std::unique_ptr<Device> h200(std::uint64_t seed = 1, Device::Work work = Device::Work::full) {
  return make_host_device(profile_named("h200"), {.work = work, .seed = seed});
}

struct Note {
  std::string* log;
  char letter;
};

inline Status write_note(const Launch& launch) {
  const Note& note = *static_cast<const Note*>(launch.arguments);
  note.log->push_back(note.letter);
  return Status::success;
}

/// A kernel that writes `letter` into `log` when it runs.
inline Status note(Device& device, std::string& log, char letter, Stream stream) {
  const Note arguments{&log, letter};
  return device.launch({.kernel = "note",
                        .grid = {1, 1, 1},
                        .block = {1, 1, 1},
                        .stream = stream,
                        .arguments = &arguments,
                        .arguments_bytes = sizeof arguments,
                        .host = write_note});
}

inline Stream stream_of(Device& device) {
  Stream stream;
  EXPECT_EQ(device.stream_create(stream), Status::success);
  return stream;
}

inline Event event_of(Device& device) {
  Event event;
  EXPECT_EQ(device.event_create(event), Status::success);
  return event;
}

}  // namespace drought
