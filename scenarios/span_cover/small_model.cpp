#include "scenarios/span_cover/small_model.hpp"

#include <stdexcept>

namespace drought {

std::unique_ptr<Kernel> kernel_named(Rig& rig, const std::string& kernel, const Table& shape) {
  const KernelEntry* const entry = find_entry(rig.catalogues().kernels, kernel);
  if (!entry) shape.fail_unknown(shape.at(), "kernel", kernel, names_of(rig.catalogues().kernels));
  try {
    return entry->make(shape);
  } catch (const std::invalid_argument& mistake) {
    shape.fail(shape.at(), kernel + ": " + mistake.what());
  }
}

std::string small_tensor(unsigned layer, std::string_view part) {
  return "blk." + std::to_string(layer) + "." + std::string(part);
}

ModelLayout small_layout(const Kernel& kernel, unsigned layers, const LayoutOptions& options) {
  using Group = ModelTensor::Group;
  std::vector<ModelTensor> tensors;
  for (unsigned layer = 0; layer < layers; ++layer) {
    for (const Part& part : kernel.plan())
      if (part.role == Part::Role::input && part.bytes != 0)
        tensors.push_back({small_tensor(layer, part.name), Group::layer, layer, part.bytes, 0});
    tensors.push_back({small_tensor(layer, "scale"), Group::layer, layer, 12, 0});
    tensors.push_back({small_tensor(layer, "bias"), Group::layer, layer, 20'000, 0});
  }
  tensors.push_back({"token_embd", Group::embedding, 0, 50'000, 0});
  tensors.push_back({"output_base", Group::head, 0, 16, 0});
  tensors.push_back({"output", Group::head, 0, 30'004, 0});
  return place_tensors("small", layers, std::move(tensors), options);
}

void fill_small_file(ModelFile& file, const ModelLayout& layout, const Kernel& kernel, std::uint64_t seed) {
  const std::vector<Part> plan = kernel.plan();
  for (const ModelTensor& tensor : layout.tensors) {
    std::vector<std::byte> content(tensor.bytes);
    Random random = Random(seed).split(tensor.offset);
    for (std::byte& byte : content) byte = static_cast<std::byte>(random());
    for (std::size_t i = 0; i < plan.size(); ++i)
      if (tensor.group == ModelTensor::Group::layer &&
          tensor.name == small_tensor(tensor.layer, plan[i].name))
        kernel.fill(i, seed + tensor.layer, content);
    file.write(tensor.offset, content);
  }
}

}  // namespace drought
