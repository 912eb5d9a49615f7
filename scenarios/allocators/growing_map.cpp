#include "scenarios/allocators/growing_map.hpp"

#include <stdexcept>

#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

/// The range, its pages and the event of its last fill. Whatever became of it, its end gives all back.
class Growing {
 public:
  Growing(Rig& rig, const GrowingMap::Options& options)
      : rig_(rig), device_(rig.device()), options_(options), range_bytes_(options.steps * step_bytes()) {
    if (options_.page_bytes % device_.profile().granularity_bytes != 0)
      throw UserError("page_bytes must be a multiple of the device's granularity");
    must(device_.address_reserve(begin_, range_bytes_), "cuMemAddressReserve");
  }
  ~Growing() {
    drop_from(0);
    if (filled_.id != 0) (void)device_.event_destroy(filled_);
    rig_.ledger().forget_range(begin_);
    (void)device_.address_free(begin_, range_bytes_);
  }
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;

  std::size_t pages() const { return handles_.size(); }

  /// One step. What cudaErrorMemoryAllocation ended is false, with the buffer as it was.
  bool grow(std::uint8_t pattern) {
    const std::size_t before = pages();
    const Status status = options_.bug == "trusts_free_bytes" ? take_for_granted(pattern) : map_step(pattern);
    if (status == Status::success) return true;
    (void)device_.synchronize();  // A fill may still be on its way to the pages.
    drop_from(before);
    (void)device_.take_last_error();
    if (status != Status::memory_allocation) throw DeviceError(status, "growing the map");
    return false;
  }

  /// Reads the first byte of each page.
  void verify(std::size_t page, std::uint8_t pattern) {
    std::uint8_t seen = 0;
    const Status status = device_.memcpy(&seen, at(page), 1);
    if (options_.bug != "trusts_free_bytes") must(status, "cudaMemcpy");
    const bool same = !rig_.full() || seen == pattern;
    rig_.record().comparisons.push_back({"a page of the map", status == Status::success && same,
                                         "page " + std::to_string(page) + " answered " + name(status) +
                                             ", wrote " + std::to_string(pattern) + ", read " +
                                             std::to_string(seen)});
  }

 private:
  std::size_t step_bytes() const { return options_.pages * options_.page_bytes; }
  std::byte* at(std::size_t page) const {
    return static_cast<std::byte*>(begin_) + page * options_.page_bytes;
  }

  Status map_step(std::uint8_t pattern) {
    MemInfo info;
    if (const Status status = device_.mem_info(info); status != Status::success) return status;
    if (info.free_bytes < step_bytes()) return Status::memory_allocation;
    const std::size_t first = pages();
    for (std::size_t i = 0; i < options_.pages; ++i)
      if (const Status status = map_page(); status != Status::success) return status;
    Status status = device_.mem_set_access(at(first), step_bytes(), Protection::read_write);
    if (status == Status::success) status = fill(first, pattern);
    return status;
  }

  Status map_page() {
    MemoryHandle handle;
    if (const Status status = device_.mem_create(handle, options_.page_bytes); status != Status::success)
      return status;
    const std::size_t page = pages();
    handles_.push_back(handle);
    const Status status = device_.mem_map(at(page), options_.page_bytes, 0, handle);
    if (status != Status::success && options_.bug == "keeps_handle") handles_.pop_back();
    return status;
  }

  Status fill(std::size_t first, std::uint8_t pattern) {
    rig_.ledger().declare_range("growing map", begin_, pages() * options_.page_bytes);
    if (filled_.id == 0)
      if (const Status status = device_.event_create(filled_); status != Status::success) return status;
    Status status = device_.memset(at(first), pattern, step_bytes());
    if (status == Status::success) status = device_.event_record(filled_, {});
    return status == Status::success ? device_.event_synchronize(filled_) : status;
  }

  /// Asks what is free, and nothing after that.
  Status take_for_granted(std::uint8_t pattern) {
    MemInfo info;
    (void)device_.mem_info(info);
    if (info.free_bytes < step_bytes()) return Status::memory_allocation;
    const std::size_t first = pages();
    for (std::size_t i = 0; i < options_.pages; ++i) {
      const std::size_t page = pages();
      (void)device_.mem_create(handles_.emplace_back(), options_.page_bytes);
      (void)device_.mem_map(at(page), options_.page_bytes, 0, handles_.back());
    }
    (void)device_.mem_set_access(at(first), step_bytes(), Protection::read_write);
    (void)fill(first, pattern);
    return Status::success;
  }

  /// Takes back every page from this one on: a page whose mapping failed may be mapped all the same.
  void drop_from(std::size_t first) noexcept {
    while (pages() > first) {
      (void)device_.mem_unmap(at(pages() - 1), options_.page_bytes);
      if (handles_.back().id != 0) (void)device_.mem_release(handles_.back());
      handles_.pop_back();
    }
    rig_.ledger().forget_range(begin_);
    if (first != 0) rig_.ledger().declare_range("growing map", begin_, first * options_.page_bytes);
  }

  Rig& rig_;
  Device& device_;
  const GrowingMap::Options& options_;
  const std::size_t range_bytes_;
  void* begin_ = nullptr;
  std::vector<MemoryHandle> handles_;
  Event filled_;
};

}  // namespace

GrowingMap::GrowingMap(Options options) : options_(std::move(options)) {
  if (options_.steps == 0 || options_.pages == 0 || options_.page_bytes == 0)
    throw std::invalid_argument("steps, pages and page_bytes must be above 0");
  if (options_.bug != "none" && options_.bug != "keeps_handle" && options_.bug != "trusts_free_bytes")
    throw std::invalid_argument("unknown bug '" + options_.bug +
                                "'; known: none, keeps_handle, trusts_free_bytes");
}

void GrowingMap::run(Rig& rig) {
  Growing map(rig, options_);
  for (std::size_t step = 0; step < options_.steps; ++step) {
    if (map.grow(static_cast<std::uint8_t>(step + 1))) continue;
    rig.record().fallbacks.push_back("serves with what it has");
    break;
  }
  rig.decide("pages", map.pages());
  for (std::size_t page = 0; page < map.pages(); ++page)
    map.verify(page, static_cast<std::uint8_t>(page / options_.pages + 1));
  rig.record().output_digests.push_back(Random(map.pages())());
}

}  // namespace drought
