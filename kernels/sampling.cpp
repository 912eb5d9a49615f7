#include "kernels/sampling.hpp"

#include <cmath>
#include <numeric>

namespace drought {

Comparison Sampling::compare(std::span<const std::span<const std::byte>> parts) const {
  const HostTensor given(parts[logits], "fp32", {shape_.rows, shape_.vocab});
  const HostTensor got(parts[probabilities], "fp32", {shape_.rows, shape_.vocab});
  const HostTensor drawn(parts[uniforms], "fp32", {shape_.rows}), tokens(parts[out], "int32", {shape_.rows});
  Judge judge(norm_limit("fp32"));
  for (std::size_t r = 0; r < shape_.rows; ++r) judge_softmax(given.row({r}), got.row({r}), r, judge);
  Comparison said = judge.verdict();
  for (std::size_t r = 0; said.within && r < shape_.rows; ++r) {
    const std::string wrong = wrong_draw(got.row({r}), drawn.at({r}), tokens.at({r}));
    if (wrong.empty()) continue;
    said.within = false;
    said.text = "out[" + std::to_string(r) + "] " + wrong;
  }
  return said;
}

// An exponent t errs by 3 e |t|, its power of two by ln 2 of that and 2^-21 relatively; the sum by the mean
// of that and k e, where k = vocab / 128 + 12 terms meet; two more roundings. Below 2^-126 it is 0.
void Sampling::judge_softmax(std::span<const double> given, std::span<const double> got, std::size_t r,
                             Judge& judge) const {
  const double largest = *std::ranges::max_element(given), scale = std::numbers::log2e / shape_.temperature;
  const auto error_of = [](double exponent) { return 0x1p-21 + 3 * std::numbers::ln2 * 0x1p-24 * exponent; };
  double sum = 0, sum_error = 0;
  for (const double logit : given) {
    const double exponent = (largest - logit) * scale, weight = std::exp2(-exponent);
    sum += weight;
    sum_error += weight * error_of(exponent);
  }
  const double terms = (static_cast<double>(given.size()) / row_threads + 12) * 0x1p-24;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const double exponent = (largest - given[i]) * scale, expected = std::exp2(-exponent) / sum;
    const double relative = error_of(exponent) + sum_error / sum + terms + 2 * 0x1p-24;
    judge.take(got[i], expected, relative * expected + 0x1p-125,
               [&] { return place_text("probabilities", r, i); });
  }
}

// The sums of up to vocab floats miss the true ones by no more than as many roundings.
std::string Sampling::wrong_draw(std::span<const double> got, double drawn, double token) const {
  if (!(token >= 0 && token < static_cast<double>(got.size())))
    return "is " + std::to_string(static_cast<long>(token)) + ", which is no token";
  std::vector<std::size_t> order(got.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return got[a] > got[b]; });
  order.resize(shape_.top_k);
  std::ranges::sort(order);
  double total = 0, before = -1, after = -1;
  for (const std::size_t place : order) {
    if (static_cast<double>(place) == token) before = total, after = total + got[place];
    total += got[place];
  }
  if (before < 0)
    return "is " + std::to_string(static_cast<long>(token)) + ", which is none of the top " +
           std::to_string(shape_.top_k);
  const double target = drawn * total;
  const double tolerance = (static_cast<double>(got.size()) + 4) * 0x1p-24 * total;
  if (target >= before - tolerance && target <= after + tolerance) return {};
  return "is " + std::to_string(static_cast<long>(token)) + ", whose span is " + std::to_string(before) +
         " to " + std::to_string(after) + ", and the draw is " + std::to_string(target);
}

}  // namespace drought
