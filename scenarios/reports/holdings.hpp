// What the allocators of a rig hold, read off the ledger's accounts: the same way for every allocator,
// whatever it says of itself.
#pragma once

#include <cstddef>
#include <optional>

#include "harness/scenario/rig.hpp"

namespace drought {

struct Holdings {
  std::size_t live_bytes = 0;        ///< Lent to the workload.
  std::size_t reserved_bytes = 0;    ///< Borrowed from the device.
  std::size_t hole_bytes = 0;        ///< The largest idle piece of what is borrowed.
  std::size_t releasable_bytes = 0;  ///< Borrowed blocks in which nothing is lent, of allocators that trim.
};
Holdings holdings(Rig& rig);

}  // namespace drought
