// A model of a few hundred kilobytes whose layers are the inputs of a kernel, for runs that compute: it has
// the odd-sized tensors of the large ones, so that its spans begin and end inside pages.
#pragma once

#include <memory>

#include "harness/scenario/rig.hpp"
#include "harness/simt/kernel.hpp"
#include "scenarios/span_cover/model_file.hpp"
#include "scenarios/span_cover/model_layout.hpp"

namespace drought {

/// The catalogue's kernel under `kernel` at `shape`. Throws UserError.
std::unique_ptr<Kernel> kernel_named(Rig& rig, const std::string& kernel, const Table& shape);

/// One tensor for each input of `kernel` in each layer, under the input's name.
ModelLayout small_layout(const Kernel& kernel, unsigned layers, const LayoutOptions& options);

/// The name of an input's tensor.
std::string small_tensor(unsigned layer, std::string_view part);

/// Writes every tensor: what `kernel` fills its inputs with from `seed` + layer, random bytes elsewhere.
void fill_small_file(ModelFile& file, const ModelLayout& layout, const Kernel& kernel, std::uint64_t seed);

}  // namespace drought
