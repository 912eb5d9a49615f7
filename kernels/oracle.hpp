// What attention kernels are judged by: a float64 oracle that takes rows, not layouts, with the error that a
// kernel of a given type may make at each element; and the judge of a whole output.
//
// The tolerance. Let u be the unit roundoff of the type (2^-8 for bf16, 2^-11 for fp16, 2^-24 for fp32) and e
// = 2^-24 that of the accumulators. A kernel weighs value j by w_j(1 + d_j), where w_j = 2^(s_j - max). |d_j|
// is at most
//   u                          the weight is rounded to the type for the product with V,
//   2^-21                      exp2 within 2 ulp, twice: once for the weight, once while rescaling,
//   (D + 8) e A ln 2           the score is a sum of D products in fp32, scaled; A bounds the sum of the
//                              products' absolute values over the keys, in units of the base-2 exponent.
// Normalized weights then err by at most 2 max|d_j|, each sum over n keys by (n + 8) e, and the result is
// rounded to the type: |error| <= (2 d + 2 (n + 8) e) sum_j w_j |v_j| / sum_j w_j + u |out|.
// A split and its combine add one exp2 and one logarithm, whose absolute error is that of a base-2 exponent
// of size M: 2^-21 + M 2^-22, counted into d always, as it is below u for bf16 and small for fp32.
// A soft cap c turns a score s into c tanh(s / c), which makes no error in s larger; tanh itself, by one exp2
// and one quotient, errs by 2^-20, hence c 2^-20 more in d. A sink is one more score, with no value.
// Of a block of nibbles a kernel may weigh 128 + level and take 136 times the weights off again: 17 m, where
// m is the block's largest value, eight steps. Both sums come to at most 143 / 136 of that, and a tensor core
// cuts off what is below 2 e of each: 4.2 e sum_j w_j 17 m_j / sum_j w_j; about twice as much is allowed.
// fp16 has no small exponents: below 2^-14 a rounding errs by a = 2^-25 absolutely, so a sum_j |v_j| / sum_j
// w_j and once more a for the result are added.
// Bounds do not see errors that are small everywhere, so the whole must also be near in the Euclidean norm:
// 4e-3 for bf16 (two roundings of relative size u / sqrt(3), with a margin), an eighth of it for fp16, 2^-24
// * 2^6 for fp32.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/simt/kernel.hpp"

namespace drought {

/// A part's elements as doubles, and the way back from a multi-index, last index fastest.
class HostTensor {
 public:
  /// `type` is "fp64", "fp32", "bf16", "fp16" or "int32". Throws std::invalid_argument when the bytes do not
  /// match.
  HostTensor(std::span<const std::byte> bytes, std::string_view type, std::vector<std::size_t> extents);

  double at(std::initializer_list<std::size_t> index) const { return values_[place(index)]; }
  /// The elements whose leading indices are `index`, in order.
  std::span<const double> row(std::initializer_list<std::size_t> index) const;

 private:
  std::size_t place(std::initializer_list<std::size_t> index) const;

  std::vector<std::size_t> extents_;
  std::vector<double> values_;
};

/// One list of keys and values, to which queries may be put.
class AttentionOracle {
 public:
  /// Elements of a key, which are a query's too, and of a value.
  struct Dims {
    std::size_t key, value;
  };
  AttentionOracle(std::size_t head_dim, double unit_roundoff)
      : dims_{head_dim, head_dim}, roundoff_(unit_roundoff) {}
  AttentionOracle(Dims dims, std::string_view type);

  /// Values come in blocks of `elements`, to which a kernel may add `times` the largest and take it off
  /// again.
  struct Excess {
    std::size_t elements;
    double times;
  };
  void allow(const Excess& excess) { excess_ = excess; }

  /// The next key with its value, which outlive this.
  void push(std::span<const double> key, std::span<const double> value);

  struct Answer {
    std::vector<double> out, tolerance;
  };
  /// What a query sees.
  struct Sight {
    std::size_t begin = 0, end = 0;  ///< The keys [begin, end).
    double softcap = 0;              ///< Scores are squeezed between it and its negative; 0: they are not.
    double sink = -INFINITY;         ///< A score that takes weight and gives no value.
  };
  /// Scores are scaled by 1 / sqrt(elements of a key). Zeros when the query sees no key; one whose score is
  /// -infinity is none, as a mask's is. NaN wherever a NaN is among the query, the keys and values that it
  /// sees, or infinities make one.
  Answer ask(std::span<const double> query, const Sight& sight) const;
  /// The first `visible` keys.
  Answer ask(std::span<const double> query, std::size_t visible) const {
    return ask(query, Sight{.end = visible});
  }

 private:
  /// Weighed, of the block that begins at `element`.
  double excess_at(std::size_t element, const Sight& sight, std::span<const double> weights) const;

  Dims dims_;
  double roundoff_, step_ = 0;  // step_: the largest error of rounding a number near 0.
  Excess excess_{1, 0};
  std::vector<std::span<const double>> keys_, values_;
};

/// Takes an output element by element. NaN, in the output or in the oracle, is never within.
class Judge {
 public:
  /// `norm_limit` bounds |error| / |expected| in the Euclidean norm over all elements.
  explicit Judge(double norm_limit) : norm_limit_(norm_limit) {}

  /// `where` is called for the text of the worst element only.
  template <typename Where>
  void take(double got, double expected, double tolerance, Where where) {
    if (add(got, expected, tolerance)) worst_place_ = where();
  }
  Comparison verdict() const;

 private:
  /// Whether this is the worst so far.
  bool add(double got, double expected, double tolerance);

  double norm_limit_;
  bool all_within_ = true;
  std::size_t taken_ = 0;
  double worst_ratio_ = -1, worst_error_ = 0, worst_tolerance_ = 0, worst_got_ = 0, worst_expected_ = 0;
  double error_squares_ = 0, expected_squares_ = 0;
  std::string worst_place_;
};

/// The norm limit for a type, "fp32", "bf16" or "fp16".
double norm_limit(std::string_view type);

/// The unit roundoff of a type, "fp32", "bf16" or "fp16".
double unit_roundoff(std::string_view type);

/// The most by which rounding a number near 0 to the type errs: fp16 has no small exponents, and of the
/// others' it is nothing.
double underflow_error(std::string_view type);

}  // namespace drought
