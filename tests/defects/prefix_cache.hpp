// Prefixes by name, shared while they are used and kept while there is room: a refusal evicts what nobody
// uses and asks once more. The table, the references and the count of bytes have to agree after each error.
#pragma once

#include <array>
#include <map>
#include <string>

#include "harness/scenario/rig.hpp"
#include "harness/scenario/workload.hpp"
#include "scenarios/device_calls.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class PrefixCache final : public Workload {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"entry_before_its_block", "enters a prefix whose block was refused, and finds it the next time",
       "failed"},
      {"reference_kept_on_error", "counts a user who never got the prefix", "leaked"},
      {"evicts_what_is_used", "makes room with a prefix in use", "failed"},
      {"evicted_and_still_listed", "frees a prefix and leaves it in the table", "failed"},
      {"asks_past_its_retry", "asks a third time", "failed"},
  };
  explicit PrefixCache(Options options) : planted_(std::move(options)) {}

  void run(Rig& rig) override {
    try {
      for (const char* const name : {"a", "b", "c", "a", "d", "b", "e", "a"}) use(rig, name);
    } catch (...) {
      end(rig);
      throw;
    }
    end(rig);
    rig.ledger().mark_teardown({"prefix"});
  }

 private:
  struct Entry {
    std::byte* data = nullptr;
    int users = 0;
    bool evicted = false;  ///< By a mistake alone.
  };
  static constexpr std::size_t kBytes = 64 << 10, kEntriesMax = 4;
  static Request prefix() { return {.bytes = kBytes, .tag = "prefix"}; }

  /// Holds a prefix for as long as it lives.
  class User {
   public:
    User(PrefixCache& cache, std::string name) : cache_(cache), name_(std::move(name)) {
      ++cache_.entries_.at(name_).users;
    }
    ~User() {
      const auto found = cache_.entries_.find(name_);
      if (!forgotten_ && found != cache_.entries_.end()) --found->second.users;
    }
    User(const User&) = delete;
    void forget() { forgotten_ = true; }

   private:
    PrefixCache& cache_;
    const std::string name_;
    bool forgotten_ = false;
  };

  /// Computes `name` from "a", which is in use meanwhile, unless it is there.
  void use(Rig& rig, const std::string& name) {
    std::byte* const base = get(rig, "a");
    const User of_base(*this, "a");
    std::byte* const data = get(rig, name);
    User of_entry(*this, name);
    Device& device = rig.device();
    const Status status = device.memcpy(data, base, kBytes / 2);
    if (status != Status::success && planted_("reference_kept_on_error")) of_entry.forget();
    must(status, "cudaMemcpy");
    std::array<std::uint8_t, 2> seen{};
    must(device.memcpy(&seen[0], data, 1), "cudaMemcpy");
    must(device.memcpy(&seen[1], data + kBytes - 1, 1), "cudaMemcpy");
    must(device.stream_synchronize({}), "cudaStreamSynchronize");
    rig.record().output_digests.push_back(256u * seen[0] + seen[1]);
  }

  std::byte* get(Rig& rig, const std::string& name) {
    const auto found = entries_.find(name);
    if (found != entries_.end()) return found->second.data;
    while (entries_.size() >= kEntriesMax)
      if (!evict(rig, false)) throw OutOfMemory(prefix(), "every prefix is in use");
    std::byte* const data = lend(rig, name);
    entries_[name].data = data;
    const Status status = rig.device().memset(data, static_cast<std::uint8_t>(name.front()), kBytes);
    if (status != Status::success) {
      drop(rig, name);
      throw DeviceError(status, "cudaMemset");
    }
    return data;
  }

  std::byte* lend(Rig& rig, const std::string& name) {
    for (std::size_t number = 1;; ++number) {
      AttemptScope attempt(rig, {.what = "prefix", .number = number, .cap = 2, .size = kBytes});
      try {
        if (planted_("entry_before_its_block")) (void)entries_[name];
        auto* const data = static_cast<std::byte*>(rig.memory().allocate(prefix()));
        attempt.succeeded();
        return data;
      } catch (const OutOfMemory&) {
        if (number == 2 && !planted_("asks_past_its_retry")) throw;
        if (number == 3) throw;
      }
      if (planted_("entry_before_its_block")) return entries_[name].data;
      while (evict(rig, true)) {
      }
    }
  }

  /// Whether there was one to evict.
  bool evict(Rig& rig, bool after_refusal) {
    for (auto& [name, entry] : entries_) {
      const bool takes_any = after_refusal && planted_("evicts_what_is_used");
      if (!entry.data || entry.evicted || (entry.users != 0 && !takes_any)) continue;
      if (after_refusal && planted_("evicted_and_still_listed")) {
        rig.memory().deallocate(entry.data, prefix());
        entry.evicted = true;
      } else {
        drop(rig, name);
      }
      return true;
    }
    return false;
  }

  void drop(Rig& rig, const std::string& name) {
    const auto found = entries_.find(name);
    if (found->second.data) rig.memory().deallocate(found->second.data, prefix());
    entries_.erase(found);
  }

  /// Whatever has users left is somebody else's to end.
  void end(Rig& rig) noexcept {
    for (const auto& [name, entry] : entries_)
      if (entry.data && entry.users == 0 && !entry.evicted) rig.memory().deallocate(entry.data, prefix());
    entries_.clear();
  }

  const Planted planted_;
  std::map<std::string, Entry> entries_;
};

}  // namespace drought
