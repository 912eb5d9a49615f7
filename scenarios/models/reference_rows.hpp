// Rows of doubles, and what a layer of a transformer does with them, written from the definitions and without
// a line of what kernels or their oracles use.
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>
#include <numeric>
#include <span>
#include <vector>

namespace drought {

struct Rows {
  std::size_t width = 0;
  std::vector<double> values = {};

  std::size_t count() const { return values.size() / width; }
  std::span<double> row(std::size_t i) { return std::span(values).subspan(i * width, width); }
  std::span<const double> row(std::size_t i) const { return std::span(values).subspan(i * width, width); }
};

inline void add(std::span<double> to, std::span<const double> what) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += what[i];
}

/// x times the transpose of `matrix`, whose rows are as wide as x's; `bias` may be empty.
inline Rows product(const Rows& x, const std::vector<double>& matrix, const std::vector<double>& bias = {}) {
  Rows made{matrix.size() / x.width};
  for (std::size_t r = 0; r < x.count(); ++r)
    for (std::size_t c = 0; c < made.width; ++c)
      made.values.push_back(std::inner_product(x.row(r).begin(), x.row(r).end(), &matrix[c * x.width],
                                               bias.empty() ? 0.0 : bias[c]));
  return made;
}

/// RMSNorm of pieces as wide as `weight`; LayerNorm where there is a `shift`.
inline Rows normed(Rows x, const std::vector<double>& weight, const std::vector<double>& shift,
                   double epsilon) {
  const std::size_t width = weight.size();
  for (std::size_t start = 0; start < x.values.size(); start += width) {
    const std::span<double> piece = std::span(x.values).subspan(start, width);
    const auto n = static_cast<double>(width);
    const double mean = shift.empty() ? 0 : std::reduce(piece.begin(), piece.end()) / n;
    double squares = 0;
    for (const double value : piece) squares += (value - mean) * (value - mean);
    const double scale = 1 / std::sqrt(squares / n + epsilon);
    for (std::size_t i = 0; i < width; ++i)
      piece[i] = (piece[i] - mean) * scale * weight[i] + (shift.empty() ? 0 : shift[i]);
  }
  return x;
}

/// Turns the first 2 x `angles` elements of a head, each with that half of them further on.
inline void turn(std::span<double> head, std::span<const double> angles) {
  for (std::size_t i = 0; i < angles.size(); ++i) {
    const double left = head[i], right = head[angles.size() + i];
    head[i] = left * std::cos(angles[i]) - right * std::sin(angles[i]);
    head[angles.size() + i] = right * std::cos(angles[i]) + left * std::sin(angles[i]);
  }
}

/// Every head of every row of x, `angles(row)` for a row.
template <typename Angles>
void turn_heads(Rows& x, std::size_t head_dim, Angles angles) {
  for (std::size_t r = 0; r < x.count(); ++r) {
    const std::vector<double> of_row = angles(r);
    for (std::size_t start = 0; start < x.width; start += head_dim)
      turn(x.row(r).subspan(start, head_dim), of_row);
  }
}

/// Softmax attention of each query over the keys that it sees, `sees(query, key)`, heads in groups that share
/// keys and values.
template <typename Sees>
Rows attended(const Rows& q, const Rows& k, const Rows& v, std::size_t head_dim, Sees sees) {
  Rows made{q.width, std::vector<double>(q.values.size())};
  const std::size_t group = q.width / k.width;
  for (std::size_t r = 0; r < q.count(); ++r)
    for (std::size_t head = 0; head < q.width / head_dim; ++head) {
      const auto query = q.row(r).subspan(head * head_dim, head_dim);
      const auto out = made.row(r).subspan(head * head_dim, head_dim);
      std::vector<double> weights(k.count());
      double total = 0;
      for (std::size_t key = 0; key < k.count(); ++key) {
        if (!sees(r, key)) continue;
        const auto of = k.row(key).subspan(head / group * head_dim, head_dim);
        const double score = std::inner_product(query.begin(), query.end(), of.begin(), 0.0);
        total += weights[key] = std::exp(score / std::sqrt(static_cast<double>(head_dim)));
      }
      for (std::size_t key = 0; key < k.count(); ++key) {
        const auto value = v.row(key).subspan(head / group * head_dim, head_dim);
        for (std::size_t i = 0; i < head_dim; ++i) out[i] += weights[key] / total * value[i];
      }
    }
  return made;
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }
inline double gelu_tanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace drought
