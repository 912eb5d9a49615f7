// What a resolver is asked: the edges of every span and region to the byte and to the page, the gaps and
// holes between them, the neighbours' layers, the ends of the file and of the number range, another map's
// addresses, and chance. Which of them may be granted is not said here: the ledger knows.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "harness/sched/random.hpp"
#include "scenarios/span_cover/model_layout.hpp"
#include "scenarios/span_cover/page_cover.hpp"

namespace drought {

struct MapRequest {
  std::string_view kind;
  std::uint64_t offset = 0, bytes = 0;
  bool foreign = false;  ///< At the other map's base.
};

/// `slice` is what the process may touch; `random_count` requests are drawn from `random` besides. In a fixed
/// order, tensors of the slice first.
std::vector<MapRequest> map_requests(const ModelLayout& layout, const LayerSlice& slice,
                                     std::size_t page_bytes, Random random, std::size_t random_count);

}  // namespace drought
