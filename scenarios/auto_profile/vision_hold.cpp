#include "scenarios/auto_profile/vision_hold.hpp"

#include <string_view>

#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::string_view kProcess = "visual server";

}  // namespace

VisionHold::VisionHold(Device& device, std::size_t bytes) : device_(device) {
  must(device_.set_peer(kProcess, bytes), "the visual server's hold");
}

VisionHold::~VisionHold() { (void)device_.set_peer(kProcess, 0); }

}  // namespace drought
