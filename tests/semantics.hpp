// What a CUDA driver answers, as a table that runs on both lanes: each row makes its calls on a fresh
// device and says what it observed, and the expected text beside it was measured on an H200 (driver
// 580.159, CUDA 13.0). A row is a plain function, so that a test and a child process can run any.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "harness/device/device.hpp"

namespace drought {

struct SemanticsRow {
  std::string_view name;      ///< Unique: "free of an interior pointer".
  std::string_view expected;  ///< Words for statuses, joined by ", ": "Success, InvalidValue".
  std::string (*observe)(Device& device);
  bool kills_context = false;  ///< Every later call on the device fails.
  bool reads_payload = false;  ///< Has no meaning on a device that does not compute.
};

/// cudaMalloc and cudaFree · VMM · launches, pinned and registered host memory · the stream-ordered pool
/// and managed memory · capture and graphs.
std::span<const SemanticsRow> malloc_rows();
std::span<const SemanticsRow> vmm_rows();
std::span<const SemanticsRow> other_rows();
std::span<const SemanticsRow> pool_rows();
std::span<const SemanticsRow> graph_rows();

/// Row `index` of all tables one after the other; null past the last.
const SemanticsRow* semantics_row(std::size_t index);
std::size_t semantics_row_count();

/// "" when the row holds on `device`, which must be fresh and is used up; else what differed.
std::string run_row(const SemanticsRow& row, Device& device);

/// "Success", "InvalidValue": the status without CUDA's prefix.
std::string word(Status status);

/// Collects what a row observed.
class Observed {
 public:
  Observed& operator<<(Status status) { return *this << word(status); }
  Observed& operator<<(std::string_view text) {
    text_ += (text_.empty() ? "" : ", ") + std::string(text);
    return *this;
  }
  /// A difference of free memory, "2.00 MiB"; "-2.00 MiB" when it grew.
  Observed& cost(std::size_t free_before, std::size_t free_after);
  operator std::string() const { return text_; }

 private:
  std::string text_;
};

/// Free memory now; 0 when the call fails.
std::size_t free_bytes(Device& device);
/// Null when refused.
void* malloc_or_null(Device& device, std::size_t bytes);
/// The first launch takes memory of its own, which would blur later differences.
void warm_up(Device& device);

}  // namespace drought
