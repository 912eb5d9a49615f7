#include "kernels/catalogue.hpp"

#include "harness/simt/host_launch.hpp"
#include "kernels/prefill_attention.hpp"

namespace drought {

template struct HostBodies<PrefillVariants>;

}  // namespace drought
