#include "harness/device/profile.hpp"

#include <array>
#include <stdexcept>
#include <string>

namespace drought {
namespace {

constexpr std::string_view kMeasured = "measured: driver 580.159, CUDA 13.0";
constexpr std::string_view kH200s = "total and SM count: NVIDIA datasheet; the rest is the H200's";

constexpr std::array<Profile, 6> kProfiles{{
    {.name = "h200", .source = kMeasured},
    {.name = "h100-80g", .source = kH200s, .total_bytes = 81559_MiB},
    {.name = "a100-40g",
     .source = kH200s,
     .total_bytes = 40960_MiB,
     .shared_bytes_max = 163_KiB,
     .sm_count = 108},
    {.name = "rtx4090-24g",
     .source = kH200s,
     .total_bytes = 24564_MiB,
     .shared_bytes_max = 99_KiB,
     .sm_count = 128},
    {.name = "rx9070-16g",
     .source = "total as ROCm reports a 16 GB RDNA4 card (lemonade-sdk/lemonade 79); no VMM is HIP's default "
               "(GGML_HIP_NO_VMM); the rest is the H200's",
     .total_bytes = 16304_MiB,
     .shared_bytes_max = 64_KiB,
     .sm_count = 56,
     .has_vmm = false},
    {.name = "dgx-spark-128g",
     .source =
         "visible memory from antirez/ds4 293 (121.6 to 121.7 GiB); one memory for both; the rest is the "
         "H200's",
     .total_bytes = 124'600_MiB,
     .shared_bytes_max = 99_KiB,
     .sm_count = 48,
     .unified_memory = true},
}};

}  // namespace

std::span<const Profile> profiles() { return kProfiles; }

const Profile& profile_named(std::string_view name) {
  std::string known;
  for (const Profile& profile : kProfiles) {
    if (profile.name == name) return profile;
    known += (known.empty() ? "" : ", ") + std::string(profile.name);
  }
  throw std::invalid_argument("unknown device profile '" + std::string(name) + "'; known: " + known);
}

}  // namespace drought
