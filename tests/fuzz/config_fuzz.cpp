// A model's config.json: a model whose matrices add up to its parameters, or a mistake told in one line.
#include "scenarios/models/config.hpp"

#include <stdexcept>

#include "tests/fuzz/reading.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace drought;
  try {
    const Model model = read_config(fuzz::text_of(data, size), "config.json");
    std::size_t elements = 0;
    for (const WeightMatrix& matrix : weight_matrices(model)) elements += matrix.elements();
    fuzz::require(elements == model.parameters(), "as many parameters by matrix as by formula");
    std::size_t seen = 0;
    for (const WeightMatrix& matrix : weight_matrices(model.vision)) seen += matrix.elements();
    fuzz::require(seen == model.vision.parameters(), "the same of the tower");
    fuzz::require(model.weight_bytes() >= elements, "a byte a parameter at least");
  } catch (const std::invalid_argument& mistake) {
    fuzz::require_one_line(mistake.what());
  }
  return 0;
}
