#include "allocators/legacy_pool.hpp"

#include <algorithm>
#include <stdexcept>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

constexpr double kLookAhead = 1.05;
constexpr std::size_t kGranularity = 256;
constexpr std::size_t kSlackEnd = 64_GiB;  // ggml starts its search for the best fit at 1 << 36.

}  // namespace

LegacyPool::LegacyPool(Resource& upstream, Device& device, Options options)
    : upstream_(upstream),
      device_(device),
      flush_and_retry_(options.flush_and_retry),
      bug_(bug_named(options.bug)) {}

LegacyPool::~LegacyPool() { release_idle(); }

LegacyPool::Bug LegacyPool::bug_named(const std::string& word) {
  if (word == "none") return Bug::none;
  if (word == "no_flush") return Bug::no_flush;
  if (word == "drop_live") return Bug::drop_live;
  if (word == "second_retry") return Bug::second_retry;
  if (word == "double_free") return Bug::double_free;
  throw std::invalid_argument("legacy_pool: unknown bug '" + word +
                              "'; known: none, no_flush, drop_live, second_retry, double_free");
}

LegacyPool::Borrowed* LegacyPool::best_fit(const Request& request) {
  Borrowed* best = nullptr;
  std::size_t least_slack = kSlackEnd;
  for (Borrowed& block : idle_) {
    if (!block.data || block.request.bytes < request.bytes) continue;
    if (reinterpret_cast<std::uintptr_t>(block.data) % request.alignment != 0) continue;
    const std::size_t slack = block.request.bytes - request.bytes;
    if (slack >= least_slack) continue;
    least_slack = slack;
    best = &block;
    if (slack == 0) break;
  }
  return best;
}

void* LegacyPool::allocate(Request request) {
  if (request.bytes == 0) throw std::invalid_argument("legacy_pool: a request of no bytes");
  lent_.reserve_one();
  Borrowed block;
  if (Borrowed* found = best_fit(request)) {
    block = *found;
    *found = {};
  } else {
    block = borrow(request);
  }
  block.serial = ++serial_;
  lent_.insert(reinterpret_cast<std::uintptr_t>(block.data), block);
  return block.data;
}

LegacyPool::Borrowed LegacyPool::borrow(const Request& request) {
  // Beyond 2^53 the product is no longer exact, in llama.cpp too; no device is near.
  if (request.bytes >> 53 != 0) throw OutOfMemory(request, "more than a pool can ask for");
  Request wanted = request;
  wanted.bytes =
      round_up(static_cast<std::size_t>(kLookAhead * static_cast<double>(request.bytes)), kGranularity);
  wanted.alignment = std::max(request.alignment, kGranularity);

  const bool may_flush = flush_and_retry_ && bug_ != Bug::no_flush;
  int retries_left = may_flush ? (bug_ == Bug::second_retry ? 2 : 1) : 0;
  for (;; --retries_left) {
    try {
      const Borrowed block{upstream_.allocate(wanted), wanted};
      reserved_bytes_ += wanted.bytes;
      return block;
    } catch (const OutOfMemory& refusal) {
      if (retries_left == 0) throw OutOfMemory(request, refusal.what());
    }
    trim();
    ++flushes_;
    if (bug_ == Bug::drop_live) release_oldest_lent();
  }
}

void LegacyPool::deallocate(void* block, Request) noexcept {
  Borrowed* const lent = lent_.find(reinterpret_cast<std::uintptr_t>(block));
  if (!lent) {
    ++refused_frees_;
    const auto idle = std::find_if(idle_.begin(), idle_.end(),
                                   [&](const Borrowed& kept) { return block && kept.data == block; });
    if (bug_ == Bug::double_free && idle != idle_.end()) keep_idle(Borrowed(*idle));
    return;
  }
  const Borrowed freed = *lent;
  lent_.erase(lent);
  keep_idle(freed);
}

void LegacyPool::keep_idle(const Borrowed& block) noexcept {
  const auto slot = std::find_if(idle_.begin(), idle_.end(), [](const Borrowed& idle) { return !idle.data; });
  if (slot == idle_.end()) return give_back(block);
  *slot = block;
}

std::size_t LegacyPool::trim() {
  // Freed here means only that the host is done: kernels that use the block may still be queued.
  const Status status = device_.synchronize();
  if (status != Status::success) throw DeviceError(status, "cudaDeviceSynchronize");
  return release_idle();
}

std::size_t LegacyPool::release_idle() noexcept {
  std::size_t released_bytes = 0;
  for (Borrowed& block : idle_) {
    if (!block.data) continue;
    released_bytes += block.request.bytes;
    give_back(block);
    block = {};
  }
  return released_bytes;
}

void LegacyPool::give_back(const Borrowed& block) noexcept {
  reserved_bytes_ -= block.request.bytes;
  upstream_.deallocate(block.data, block.request);
}

void LegacyPool::release_oldest_lent() noexcept {
  Borrowed oldest;
  lent_.for_each([&](std::uintptr_t, const Borrowed& block) {
    if (!oldest.data || block.serial < oldest.serial) oldest = block;
  });
  if (oldest.data) upstream_.deallocate(oldest.data, oldest.request);
}

std::size_t LegacyPool::idle_blocks() const {
  return static_cast<std::size_t>(
      std::count_if(idle_.begin(), idle_.end(), [](const Borrowed& block) { return block.data != nullptr; }));
}

}  // namespace drought
