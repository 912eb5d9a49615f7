#include "kernels/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <stdexcept>

#include "harness/simt/number.hpp"

namespace drought {
namespace {

template <typename T, typename Convert>
std::vector<double> converted(std::span<const std::byte> bytes, Convert convert) {
  std::vector<double> values(bytes.size() / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T element;
    std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(element);
  }
  return values;
}

}  // namespace

HostTensor::HostTensor(std::span<const std::byte> bytes, std::string_view type,
                       std::vector<std::size_t> extents)
    : extents_(std::move(extents)) {
  if (type == "fp32") {
    values_ = converted<float>(bytes, [](float x) { return static_cast<double>(x); });
  } else if (type == "bf16") {
    values_ = converted<bf16>(bytes, [](bf16 x) { return static_cast<double>(to_float(x)); });
  } else if (type == "fp16") {
    values_ = converted<fp16>(bytes, [](fp16 x) { return static_cast<double>(to_float(x)); });
  } else if (type == "fp64") {
    values_ = converted<double>(bytes, [](double x) { return x; });
  } else if (type == "int32") {
    values_ = converted<std::int32_t>(bytes, [](std::int32_t x) { return static_cast<double>(x); });
  } else {
    throw std::invalid_argument("unknown element type '" + std::string(type) + "'");
  }
  std::size_t count = 1;
  for (const std::size_t extent : extents_) count *= extent;
  if (count != values_.size())
    throw std::invalid_argument("a tensor of " + std::to_string(count) + " elements was given " +
                                std::to_string(values_.size()));
}

std::size_t HostTensor::place(std::initializer_list<std::size_t> index) const {
  std::size_t place = 0, axis = 0;
  for (const std::size_t i : index) {
    if (axis == extents_.size() || i >= extents_[axis]) throw std::out_of_range("tensor index");
    place = place * extents_[axis++] + i;
  }
  while (axis < extents_.size()) place *= extents_[axis++];
  return place;
}

std::span<const double> HostTensor::row(std::initializer_list<std::size_t> index) const {
  std::size_t count = 1;
  for (std::size_t axis = index.size(); axis < extents_.size(); ++axis) count *= extents_[axis];
  return std::span(values_).subspan(place(index), count);
}

void AttentionOracle::push(std::span<const double> key, std::span<const double> value) {
  keys_.push_back(key);
  values_.push_back(value);
}

AttentionOracle::AttentionOracle(Dims dims, std::string_view type)
    : dims_(dims), roundoff_(unit_roundoff(type)), step_(underflow_error(type)) {}

AttentionOracle::Answer AttentionOracle::ask(std::span<const double> query, const Sight& sight) const {
  constexpr double accumulator = 0x1p-24;
  Answer answer{std::vector<double>(dims_.value), std::vector<double>(dims_.value)};
  if (sight.begin >= sight.end) return answer;
  const double scale = 1 / std::sqrt(static_cast<double>(dims_.key));
  std::vector<double> weights(sight.end - sight.begin);
  double largest = sight.sink, products = 0;
  for (std::size_t j = 0; j < weights.size(); ++j) {
    const std::span<const double> key = keys_[sight.begin + j];
    double score = 0, absolute = 0;
    for (std::size_t d = 0; d < dims_.key; ++d) {
      score += query[d] * key[d];
      absolute += std::abs(query[d] * key[d]);
    }
    score *= scale;
    weights[j] = sight.softcap == 0 ? score : sight.softcap * std::tanh(score / sight.softcap);
    largest = std::max(largest, weights[j]);
    products = std::max(products, absolute * scale);
  }
  const auto is_nothing = [](double score) { return score == -INFINITY; };
  if (is_nothing(sight.sink) && std::ranges::all_of(weights, is_nothing)) return answer;
  double sum = std::exp(sight.sink - largest);
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  const double n = static_cast<double>(weights.size());
  const double exponent = std::abs(largest) * std::numbers::log2e + std::log2(n) + 1;
  const double weight_error = roundoff_ + 0x1p-21 +
                              (static_cast<double>(dims_.key) + 8) * accumulator * products + 0x1p-21 +
                              exponent * 0x1p-22 + sight.softcap * 0x1p-20;
  double excess = 0;  // Of the block that d is in.
  for (std::size_t d = 0; d < dims_.value; ++d) {
    if (excess_.times != 0 && d % excess_.elements == 0) excess = excess_at(d, sight, weights);
    double out = 0, weighed = 0, absolute = 0;
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const double value = values_[sight.begin + j][d];
      out += weights[j] * value;
      weighed += weights[j] * std::abs(value);
      absolute += std::abs(value);
    }
    answer.out[d] = out / sum;
    answer.tolerance[d] = (2 * weight_error + 2 * (n + 8) * accumulator) * weighed / sum +
                          roundoff_ * std::abs(answer.out[d]) + step_ * (absolute / sum + 1) +
                          8 * accumulator * excess / sum;
  }
  return answer;
}

double AttentionOracle::excess_at(std::size_t element, const Sight& sight,
                                  std::span<const double> weights) const {
  double excess = 0;
  for (std::size_t j = 0; j < weights.size(); ++j) {
    double largest = 0;
    for (const double value : values_[sight.begin + j].subspan(element, excess_.elements))
      largest = std::max(largest, std::abs(value));
    excess += weights[j] * excess_.times * largest;
  }
  return excess;
}

bool Judge::add(double got, double expected, double tolerance) {
  ++taken_;
  const double error = std::abs(got - expected);
  const bool within = error <= tolerance;
  all_within_ = all_within_ && within;
  error_squares_ += error * error;
  expected_squares_ += expected * expected;
  double ratio = error == 0 ? 0 : error / tolerance;
  if (std::isnan(ratio)) ratio = INFINITY;
  if (!(ratio > worst_ratio_)) return false;
  worst_ratio_ = ratio;
  worst_error_ = error;
  worst_tolerance_ = tolerance;
  worst_got_ = got;
  worst_expected_ = expected;
  return true;
}

Comparison Judge::verdict() const {
  Comparison said;
  const double error_norm = std::sqrt(error_squares_), norm = std::sqrt(expected_squares_);
  const bool near = error_norm <= norm_limit_ * norm;
  said.within = all_within_ && near;
  said.worst_error = worst_error_;
  said.tolerance = worst_tolerance_;
  if (taken_ == 0) {
    said.text = "the output is empty";
    return said;
  }
  said.text = worst_place_ + " is " + std::to_string(worst_got_) + ", the oracle says " +
              std::to_string(worst_expected_) + " (error " + std::to_string(worst_error_) + ", tolerance " +
              std::to_string(worst_tolerance_) + ")";
  if (!near)
    said.text += "; the error's norm is " + std::to_string(error_norm) + " of " + std::to_string(norm) +
                 ", above " + std::to_string(norm_limit_) + " of it";
  return said;
}

double norm_limit(std::string_view type) {
  if (type == NumberTraits<fp16>::name) return 5e-4;
  return type == "bf16" ? 4e-3 : 0x1p-18;
}

double unit_roundoff(std::string_view type) {
  if (type == NumberTraits<fp16>::name) return NumberTraits<fp16>::unit_roundoff;
  return type == "bf16" ? NumberTraits<bf16>::unit_roundoff : NumberTraits<float>::unit_roundoff;
}

double underflow_error(std::string_view type) { return type == NumberTraits<fp16>::name ? 0x1p-25 : 0; }

}  // namespace drought
