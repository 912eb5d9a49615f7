#include "tests/semantics.hpp"

#include <vector>

#include "tests/probe.hpp"

namespace drought {

std::string word(Status status) {
  const std::string full = name(status);
  for (const std::string_view prefix : {"cudaError", "cuda"})
    if (full.rfind(prefix, 0) == 0) return full.substr(prefix.size());
  return full;
}

Observed& Observed::cost(std::size_t free_before, std::size_t free_after) {
  if (free_after > free_before) return *this << "-" + format_bytes(free_after - free_before);
  return *this << format_bytes(free_before - free_after);
}

std::size_t free_bytes(Device& device) {
  MemInfo info;
  return device.mem_info(info) == Status::success ? info.free_bytes : 0;
}

void* malloc_or_null(Device& device, std::size_t bytes) {
  void* out = nullptr;
  return device.malloc(out, bytes) == Status::success ? out : nullptr;
}

void warm_up(Device& device) {
  void* const block = malloc_or_null(device, 1);
  const bool warm = block && probe_read(device, block) == Status::success &&
                    device.synchronize() == Status::success && device.free(block) == Status::success;
  if (!warm) throw DeviceError(device.peek_last_error(), "the first launch");
}

namespace {

std::vector<std::span<const SemanticsRow>> tables() {
  return {malloc_rows(), vmm_rows(), other_rows(), pool_rows(), graph_rows()};
}

}  // namespace

std::size_t semantics_row_count() {
  std::size_t count = 0;
  for (const auto rows : tables()) count += rows.size();
  return count;
}

const SemanticsRow* semantics_row(std::size_t index) {
  for (const auto rows : tables()) {
    if (index < rows.size()) return &rows[index];
    index -= rows.size();
  }
  return nullptr;
}

std::string run_row(const SemanticsRow& row, Device& device) {
  const std::string observed = row.observe(device);
  if (observed == row.expected) return "";
  return std::string(row.name) + ": expected \"" + std::string(row.expected) + "\", observed \"" + observed +
         "\"";
}

}  // namespace drought
