#include "allocators/catalogue.hpp"

#include <type_traits>

#include "allocators/arena.hpp"
#include "allocators/binning.hpp"
#include "allocators/bump.hpp"
#include "allocators/caching.hpp"
#include "allocators/direct.hpp"
#include "allocators/fixed_size.hpp"
#include "allocators/gallocr.hpp"
#include "allocators/guard.hpp"
#include "allocators/kv_slots.hpp"
#include "allocators/legacy_pool.hpp"
#include "allocators/limit.hpp"
#include "allocators/managed.hpp"
#include "allocators/paged_kv.hpp"
#include "allocators/pool.hpp"
#include "allocators/shared_object.hpp"
#include "allocators/stream_ordered.hpp"
#include "allocators/vmm_pool.hpp"

namespace drought {
namespace {

/// An entry for whichever of the three constructors the allocator has.
template <typename Made>
constexpr AllocatorEntry allocator(std::string_view name, std::string_view summary) {
  using Options = typename Made::Options;
  constexpr bool from_device = std::is_constructible_v<Made, Device&, Options>;
  AllocatorEntry entry{
      name, summary,
      [](const Table& table, Resource* upstream, Device& device) -> std::unique_ptr<Resource> {
        auto options = read_options<Options>(table);
        if constexpr (from_device) {
          (void)upstream;
          return std::make_unique<Made>(device, std::move(options));
        } else if constexpr (std::is_constructible_v<Made, Resource&, Device&, Options>) {
          return std::make_unique<Made>(*upstream, device, std::move(options));
        } else {
          (void)device;
          return std::make_unique<Made>(*upstream, std::move(options));
        }
      },
      !from_device};
  if constexpr (requires { Made::drawn; }) entry.drawn = Made::drawn;
  return entry;
}

constexpr AllocatorEntry kAllocators[] = {
    allocator<Direct>("direct", "each allocation is one cudaMalloc, each free one cudaFree"),
    allocator<Bump>("bump", "one slab front to back, reclaimed at the end"),
    allocator<Arena>("arena", "RMM's superblocks, shared out between a global arena and one a stream"),
    allocator<Binning>("binning", "RMM's bins of fixed-size blocks, a power of two each"),
    allocator<FixedSize>("fixed_size", "RMM's blocks of one size, borrowed by the chunk"),
    allocator<Caching>("caching", "PyTorch's caching allocator, with all of its settings and private pools"),
    allocator<Guard>("guard",
                     "each block alone in a mapping with unmapped space around it and after its life"),
    allocator<KvSlots>("kv_slots", "LightLLM's KV cache by the token, with its hold row"),
    allocator<LegacyPool>("legacy_pool", "llama.cpp's pool of 256 idle blocks, with its flush and retry"),
    allocator<Limit>("limit", "refuses what would take its upstream's live bytes above a cap"),
    allocator<PagedKv>("paged_kv", "vLLM's KV cache blocks: shared, cached by prefix, evicted when unused"),
    allocator<Pool>("pool", "RMM's coalescing best-fit pool, with its growth and its streams"),
    allocator<Gallocr>("gallocr", "ggml's graph allocator call by call: best fit in up to 16 chunks"),
    allocator<SharedObject>("shared_object",
                            "a user's shared library, as PyTorch's pluggable allocator takes it"),
    allocator<VmmPool>("vmm_pool",
                       "llama.cpp's stack over one reservation of addresses, which never shrinks"),
    allocator<Managed>("managed",
                       "each allocation is one cudaMallocManaged, paged to the device when touched"),
    allocator<StreamOrdered>("stream_ordered", "cudaMallocAsync's default pool with its release threshold"),
};

}  // namespace

std::span<const AllocatorEntry> allocator_catalogue() { return kAllocators; }

}  // namespace drought
