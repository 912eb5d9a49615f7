#include "scenarios/allocators/passes.hpp"

#include <stdexcept>
#include <vector>

#include "scenarios/device_calls.hpp"

namespace drought {

Passes::Passes(Options options) : options_(options) {
  if (options_.layers == 0 || options_.layer_bytes == 0 || options_.passes == 0)
    throw std::invalid_argument("layers, layer_bytes and passes must be above 0");
}

void Passes::run(Rig& rig) {
  {
    std::vector<Buffer> layers;
    for (std::size_t i = 0; i < options_.layers; ++i)
      layers.emplace_back(rig.memory(), Request{.bytes = options_.layer_bytes, .tag = "layer"});
    for (std::size_t pass = 0; pass < options_.passes; ++pass) {
      for (const Buffer& layer : layers)
        must(rig.device().memset(layer.data(), static_cast<std::uint8_t>(pass), layer.bytes()), "cudaMemset");
      must(rig.device().synchronize(), "cudaDeviceSynchronize");
    }
  }
  if (const auto traffic = rig.device().managed_traffic()) {
    rig.decide("faulted_mib", traffic->faulted_bytes / 1_MiB);
    rig.decide("evicted_mib", traffic->evicted_bytes / 1_MiB);
    rig.decide("remote_mib", traffic->remote_bytes / 1_MiB);
  }
  rig.ledger().mark_teardown({"layer"});
}

}  // namespace drought
