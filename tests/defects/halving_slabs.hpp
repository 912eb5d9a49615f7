// Borrows slabs and lends them front to back. A refused slab is asked for again at half its size, down to a
// least one, which is a promise of so many tries and no more.
#pragma once

#include <algorithm>
#include <vector>

#include "harness/memory/bytes.hpp"
#include "harness/memory/interfaces.hpp"
#include "tests/defects/planted.hpp"

namespace drought {

class HalvingSlabs final : public Resource, public Retries, public LendsUpTo {
 public:
  using Options = Planted::Options;
  static constexpr Defect defects[] = {
      {"stops_one_step_late", "halves once more, below the least slab", "failed"},
      {"stops_one_step_early", "gives up before the least slab was asked for", "failed"},
      {"retries_without_cap", "asks for the least slab again and again", "hung"},
      {"retries_in_two_layers", "asks twice for each size, and so for all of them twice", "failed"},
      {"doubles_instead", "asks for more after a refusal", "failed"},
      {"refused_slab_listed", "lists the slab before it has one", "leaked"},
      {"reserve_counted_though_refused", "counts a refused slab as reserved", "failed"},
      {"gives_back_live_slabs", "makes room with slabs that are in use", "leaked"},
  };

  HalvingSlabs(Resource& upstream, Options options) : upstream_(upstream), planted_(std::move(options)) {}
  ~HalvingSlabs() override {
    for (const Slab& slab : slabs_) upstream_.deallocate(slab.data, slab.request);
  }

  std::size_t attempts_max() const override { return kTries; }
  std::size_t request_bytes_max() const override { return kLeastBytes; }

  void* allocate(Request request) override {
    if (request.bytes > kLeastBytes) throw OutOfMemory(request, "above a slab");
    auto slab = std::find_if(slabs_.begin(), slabs_.end(), [&](const Slab& each) {
      return each.request.stream == request.stream &&
             round_up(each.used_bytes, request.alignment) + request.bytes <= each.request.bytes;
    });
    if (slab == slabs_.end()) {
      grow(request);
      slab = std::prev(slabs_.end());
    }
    const std::size_t start = round_up(slab->used_bytes, request.alignment);
    slab->used_bytes = start + request.bytes;
    ++slab->live;
    return slab->data + start;
  }

  void deallocate(void* block, Request) noexcept override {
    for (Slab& slab : slabs_) {
      const auto* const at = static_cast<std::byte*>(block);
      if (at < slab.data || at >= slab.data + slab.request.bytes) continue;
      if (--slab.live == 0) slab.used_bytes = 0;
    }
  }

 private:
  struct Slab {
    std::byte* data = nullptr;
    Request request;
    std::size_t used_bytes = 0, live = 0;
  };
  static constexpr std::size_t kFirstBytes = 512_KiB, kLeastBytes = 128_KiB, kTries = 3;
  static constexpr std::size_t kReservedMax = 1_MiB + 512_KiB;

  void grow(const Request& request) {
    const std::size_t least = planted_("stops_one_step_late")    ? kLeastBytes / 2
                              : planted_("stops_one_step_early") ? kLeastBytes * 2
                                                                 : kLeastBytes;
    if (reserved_bytes_ > kReservedMax - kFirstBytes) give_back_idle();
    if (reserved_bytes_ > kReservedMax - kFirstBytes) throw OutOfMemory(request, "above the reserve");
    Request wanted = request;
    wanted.bytes = kFirstBytes;
    for (;;) {
      try {
        return borrow(wanted);
      } catch (const OutOfMemory& refusal) {
        give_back_idle();
        if (wanted.bytes == least && !planted_("retries_without_cap"))
          throw OutOfMemory(request, refusal.what());
      }
      wanted.bytes = planted_("doubles_instead") ? wanted.bytes * 2 : std::max(wanted.bytes / 2, least);
      if (planted_("doubles_instead") && wanted.bytes > 4 * kFirstBytes) throw OutOfMemory(request);
    }
  }

  void borrow(const Request& wanted) {
    const bool listed = planted_("refused_slab_listed");
    if (planted_("reserve_counted_though_refused")) reserved_bytes_ += wanted.bytes;
    if (listed) slabs_.push_back({nullptr, wanted});
    auto* const data = static_cast<std::byte*>(ask(wanted));
    if (!planted_("reserve_counted_though_refused")) reserved_bytes_ += wanted.bytes;
    if (listed)
      slabs_.back().data = data;
    else
      slabs_.push_back({data, wanted});
  }

  void* ask(const Request& wanted) {
    if (planted_("retries_in_two_layers")) {
      try {
        return upstream_.allocate(wanted);
      } catch (const OutOfMemory&) {
      }
    }
    return upstream_.allocate(wanted);
  }

  void give_back_idle() noexcept {
    std::erase_if(slabs_, [&](const Slab& slab) {
      if (!slab.data || (slab.live != 0 && !planted_("gives_back_live_slabs"))) return false;
      reserved_bytes_ -= slab.request.bytes;
      upstream_.deallocate(slab.data, slab.request);
      return true;
    });
  }

  Resource& upstream_;
  const Planted planted_;
  std::size_t reserved_bytes_ = 0;
  std::vector<Slab> slabs_;
};

}  // namespace drought
