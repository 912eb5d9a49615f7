// A scenario as it is written: sections that fill line by line, and the text they make.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace drought {

class ScenarioDraft {
 public:
  /// What cudaMalloc rounds to, and what the device takes for this process and for each other one.
  static constexpr std::int64_t kGranularity = 2 << 20;
  static std::int64_t context_bytes();
  static std::int64_t peer_context_bytes();
  static std::int64_t down_to_granule(std::int64_t bytes) {
    return bytes < 0 ? 0 : bytes / kGranularity * kGranularity;
  }

  /// A device of this size, or of the least that holds a context.
  void device_of(std::int64_t total_bytes);
  void device(const std::string& line) { device_ += line + "\n"; }
  void resource(const std::string& kind, const std::string& lines = "");
  /// A resource that lends `bytes` at most.
  void limit(std::int64_t bytes);
  /// What the script says that the topmost allocator may hold.
  void limit_told(std::int64_t bytes) { workload_ += "limit_bytes = " + std::to_string(bytes) + "\n"; }
  /// The pool begins with its initial block, as it was made.
  void keep_initial_block() { workload_ += "trim_first = false\n"; }
  /// `bytes` and `name` are left out where they are 0 and empty; `more` is ", key = value"...
  void step(std::string_view verb, std::string_view name = "", std::int64_t bytes = 0,
            std::string_view more = "");
  /// An allocation, where there is something to hold.
  void hold(std::string_view name, std::int64_t bytes);
  void expect(const std::string& line) { expect_ += line + "\n"; }

  std::string text(std::string_view title, std::string_view guards) const;

 private:
  std::string device_, resources_, workload_, steps_, expect_;
};

}  // namespace drought
