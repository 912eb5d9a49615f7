// It happened, and the error says that it did not: the call is made, and answers an error of its own.
// Imitates a shim that changes the answer of a call that has run (NVIDIA's faultinj acts at the exit of the
// driver call), and a call that reports an earlier launch's failure. What such a call has made nobody else
// can give back, so it is the fault's until the end; a mapping or registration is it until its caller
// undoes it. Survivable: whoever was told of a failure may neither use what it asked for nor rely on its
// not being there (a registration may be there already).
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "faults/error_code.hpp"
#include "harness/device/device.hpp"

namespace drought {

class LateError final : public Fault {
 public:
  struct Options {
    std::string error;  ///< The CUDA name; empty: the first error that the call documents.
    static constexpr auto keys() { return std::tuple{key("error", &Options::error)}; }
  };
  /// Throws std::invalid_argument for an error that is not known, or ends the context.
  explicit LateError(Options options) : error_(error_called(options.error)) {}

  bool can_strike(Site site) const override {
    return site != Site::allocate && !gives_back(site) && !cannot_be_undone(site) &&
           documented(site, error_) != Status::success;
  }
  void strike(Call& call, Scene& scene) override {
    const Status error = documented(call.site, error_);
    (makes_something(call, scene.device) ? call.refused : call.answer) = error;
  }

  bool watches() const override { return true; }
  void answered(Call& call, Status, bool struck, Scene& scene) override {
    const bool maps = call.site == Site::cuMemMap, registers = call.site == Site::cudaHostRegister;
    if (struck && (maps || registers)) done_.push_back({&scene.device, call.site, call.data, call.bytes});
    if (call.site != Site::cuMemUnmap && call.site != Site::cudaHostUnregister) return;
    std::erase_if(done_, [&](const Done& done) {
      const auto* const begin = static_cast<const char*>(call.data);
      const auto* const at = static_cast<const char*>(done.data);
      const bool unmapped = call.site == Site::cuMemUnmap && begin <= at && at < begin + call.bytes;
      return done.device == &scene.device && (done.site == Site::cuMemMap ? unmapped : call.data == at);
    });
  }

  void release(Scene&) noexcept override {
    for (const Made& made : made_) made.give_back();
    for (const Done& done : done_)
      if (done.site == Site::cuMemMap)
        (void)done.device->mem_unmap(const_cast<void*>(done.data), done.bytes);
      else
        (void)done.device->host_unregister(done.data);
    made_.clear();
    done_.clear();
  }

 private:
  // What is being recorded is its caller's alone, and what a pool has grown by stays with the pool: nobody
  // else can undo either.
  static bool cannot_be_undone(Site site) {
    return site == Site::cudaStreamBeginCapture || site == Site::cudaStreamEndCapture ||
           site == Site::cudaGraphInstantiate || site == Site::cudaMallocAsync;
  }

  /// Something that the fault's own call has made in place of the struck one.
  struct Made {
    Device* device;
    Site site;
    void* data = nullptr;
    std::size_t bytes = 0;
    std::uint64_t id = 0;
    void give_back() const {
      Status ignored = Status::success;  // The context may be lost by then.
      const bool freed = site == Site::cudaMalloc || site == Site::cudaMallocManaged;
      if (freed) ignored = device->free(data);
      if (site == Site::cudaMallocHost) ignored = device->free_host(data);
      if (site == Site::cuMemCreate) ignored = device->mem_release({id});
      if (site == Site::cuMemAddressReserve) ignored = device->address_free(data, bytes);
      if (site == Site::cudaStreamCreate) ignored = device->stream_destroy({id});
      if (site == Site::cudaEventCreate) ignored = device->event_destroy({id});
      (void)ignored;
    }
  };
  /// A struck call that changed something of its caller's.
  struct Done {
    Device* device;
    Site site;
    const void* data;
    std::size_t bytes;
  };

  /// Does what the call would have done, where it makes something; the caller never sees it.
  bool makes_something(const Call& call, Device& device) {
    Made made{&device, call.site, nullptr, call.bytes};
    Status status = Status::success;
    MemoryHandle handle;
    Stream stream;
    Event event;
    switch (call.site) {
      case Site::cudaMalloc:
        status = device.malloc(made.data, call.bytes);
        break;
      case Site::cudaMallocManaged:
        status = device.malloc_managed(made.data, call.bytes);
        break;
      case Site::cudaMallocHost:
        status = device.malloc_host(made.data, call.bytes);
        break;
      case Site::cuMemAddressReserve:
        status = device.address_reserve(made.data, call.bytes);
        break;
      case Site::cuMemCreate:
        status = device.mem_create(handle, call.bytes);
        made.id = handle.id;
        break;
      case Site::cudaStreamCreate:
        status = device.stream_create(stream);
        made.id = stream.id;
        break;
      case Site::cudaEventCreate:
        status = device.event_create(event);
        made.id = event.id;
        break;
      default:
        return false;
    }
    if (status == Status::success) made_.push_back(made);
    return true;
  }

  const Status error_;
  std::vector<Made> made_;
  std::vector<Done> done_;
};

}  // namespace drought
