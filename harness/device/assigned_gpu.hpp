// The GPU that CTest has assigned to a test. A test with the property RESOURCE_GROUPS "gpus:1" is told one in
// its environment where ctest was given a resource specification file; what is not told which has all of
// them.
#pragma once

namespace drought {

/// Keeps this process and its children to that GPU: the ids of the specification are those of
/// CUDA_VISIBLE_DEVICES, which it sets. Does nothing where none was assigned. Before the first CUDA call.
void keep_to_assigned_gpu();

}  // namespace drought
