// Another process that holds memory of GPU 0, as a training job or a display server on the same card
// would. It is told line by line: "hold N" makes it hold N bytes in all (0 keeps its context alone)
// and it answers "ok", or "oom" when they do not fit and it holds what it held. It ends at the end of
// its input, and its memory comes back with it.
#pragma once

#include <istream>
#include <ostream>

namespace drought {

/// The child job "peer", which the cuda lane's Device::set_peer starts in this executable. Exit 77 where
/// this build or machine has no GPU.
int run_cuda_peer(std::istream& input, std::ostream& record);

}  // namespace drought
