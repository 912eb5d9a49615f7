// How long the GPU was busy with some work, by its own clock: two events around it on the legacy stream, so
// that neither the host's clock nor what it does meanwhile is part of the figure.
#pragma once

#include <functional>
#include <optional>

namespace drought {

/// Milliseconds that GPU 0 took for what `work` enqueues on the legacy stream; nothing when an event call
/// failed or this build has no cuda lane.
std::optional<double> cuda_milliseconds(const std::function<void()>& work);

}  // namespace drought
