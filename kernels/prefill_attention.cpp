#include "kernels/prefill_attention.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <type_traits>

#include "kernels/parts.hpp"

namespace drought {
namespace {

/// The sum of i + start, kept between 0 and most, over all i from 0 to count - 1.
double sum_of_clamped(double count, double start, double most) {
  const double first = std::clamp(-start, 0.0, count), last = std::clamp(most - start, first, count);
  return (last - first) * (start + (first + last - 1) / 2) + (count - last) * most;
}

}  // namespace

PrefillAttention::PrefillAttention(const Shape& shape) : shape_(shape) {
  constexpr std::array<std::size_t, 7> head_dims{64, 72, 80, 96, 128, 192, 256};
  require_heads(shape.type, shape.head_dim, head_dims, shape.heads, shape.kv_heads);
  const bool compiled = PrefillVariantList::visit(shape.type, shape.head_dim, value_dim(), [](auto) {});
  require(compiled, "no body takes " + shape.type + " with head_dim " + std::to_string(shape.head_dim) +
                        " and value_dim " + std::to_string(value_dim()) +
                        "; value_dim is head_dim, and 128 for a head_dim of 192");
  require_sequences();
  require(shape.window_left <= tokens_max && shape.window_right <= tokens_max,
          "window_left and window_right must be 2^30 or below");
  require(shape.softcap >= 0 && shape.softcap <= 1e6, "softcap must be between 0 and 1e6");
  require(shape.body == "best" || shape.body == "hopper" || shape.body == "portable",
          "unknown body '" + shape.body + "'; known: best, hopper, portable");
  const std::size_t tiles = checked_product("the tiles of prefill_attention",
                                            {longest_queries_ / 64 + 1, shape.heads, sequences()});
  hopper_ = shape.body != "portable" && shape.type == "bf16" && total_keys() > 0 && tiles <= tokens_max &&
            sm90::has_prefill(static_cast<int>(shape.head_dim), static_cast<int>(value_dim()));
  require(hopper_ || shape.body != "hopper",
          "the hopper body takes bf16, at least one key and no more than 2^30 tiles");
  const std::size_t element = element_bytes(shape.type);
  bytes_[q] =
      checked_product("q of prefill_attention", {total_queries(), shape.heads, shape.head_dim, element});
  bytes_[k] =
      checked_product("k of prefill_attention", {total_keys(), shape.kv_heads, shape.head_dim, element});
  bytes_[v] = bytes_[k] / shape.head_dim * value_dim();
  bytes_[out] = bytes_[q] / shape.head_dim * value_dim();
  bytes_[next_tile] = hopper_ ? sizeof(unsigned) : 0;
  bytes_[cu_seqlens_q] = shape.cu_seqlens_q.size() * sizeof(std::int32_t);
  bytes_[cu_seqlens_k] = shape.cu_seqlens_k.size() * sizeof(std::int32_t);
  bytes_[sinks] = shape.sinks ? shape.heads * sizeof(float) : 0;
}

void PrefillAttention::require_sequences() {
  const Shape& s = shape_;
  require(s.cu_seqlens_q.size() == s.cu_seqlens_k.size(),
          "cu_seqlens_q and cu_seqlens_k must name as many sequences");
  if (packed()) {
    longest_queries_ = longest_sequence("cu_seqlens_q", s.cu_seqlens_q);
    longest_keys_ = longest_sequence("cu_seqlens_k", s.cu_seqlens_k);
    require(longest_queries_ > 0, "cu_seqlens_q must end above 0");
    return;
  }
  require(s.batch > 0 && s.queries > 0, "batch and queries must not be 0");
  require(s.batch <= grid_rows_max, "batch is more than a grid's 65535");
  require(s.queries <= tokens_max && s.prefix <= tokens_max - s.queries,
          "prefix and queries are more than 2^30 tokens");
  longest_queries_ = s.queries;
  longest_keys_ = s.prefix + s.queries;
}

PrefillSequence PrefillAttention::sequence(std::size_t at) const {
  const auto number = [](std::size_t n) { return static_cast<int>(n); };
  if (!packed()) {
    const std::size_t queries = shape_.queries, keys = shape_.prefix + queries;
    return {number(at * queries), number(queries), number(at * keys), number(keys)};
  }
  const auto &of_q = shape_.cu_seqlens_q, &of_k = shape_.cu_seqlens_k;
  return {number(of_q[at]), number(of_q[at + 1] - of_q[at]), number(of_k[at]),
          number(of_k[at + 1] - of_k[at])};
}

std::vector<Part> PrefillAttention::plan() const {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < part_count; ++i) {
    const auto role = i == out         ? Part::Role::output
                      : i == next_tile ? Part::Role::workspace
                                       : Part::Role::input;
    const bool payload = i <= out || i == sinks;
    parts.push_back({.name = part_names[i],
                     .bytes = bytes_[i],
                     .role = role,
                     .zeroed = i == next_tile,
                     .payload = payload});
  }
  return parts;
}

void PrefillAttention::fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const {
  const auto starts = [&](const std::vector<std::size_t>& of) {
    fill_integers(std::vector<std::int32_t>(of.begin(), of.end()), to);
  };
  if (index == cu_seqlens_q) return starts(shape_.cu_seqlens_q);
  if (index == cu_seqlens_k) return starts(shape_.cu_seqlens_k);
  fill_normal(index == sinks ? "fp32" : std::string_view(shape_.type), seed, index, to);
}

std::string PrefillAttention::wrong_inputs(std::span<const std::span<const std::byte>> parts) const {
  const auto differs = [](std::string_view name, std::span<const std::byte> part,
                          const std::vector<std::size_t>& wanted) {
    const auto starts = integers(part);
    for (std::size_t i = 0; i < starts.size(); ++i)
      if (starts[i] < 0 || static_cast<std::size_t>(starts[i]) != wanted[i])
        return std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(starts[i]) +
               ", the shape says " + std::to_string(wanted[i]);
    return std::string();
  };
  const std::string wrong = differs("cu_seqlens_q", parts[cu_seqlens_q], shape_.cu_seqlens_q);
  return wrong.empty() ? differs("cu_seqlens_k", parts[cu_seqlens_k], shape_.cu_seqlens_k) : wrong;
}

Status PrefillAttention::launch_as(std::string_view name, Device& device, Stream stream,
                                   std::span<void* const> parts) const {
  const std::vector<Part> plan = this->plan();
  if (const Status wrong = check_parts(plan, parts); wrong != Status::success) return wrong;
  const std::vector<Operand> operands = operands_of(plan, parts);
  const Launch outer{.kernel = name, .stream = stream, .operands = operands};
  const bool is_hopper = device.profile().shared_bytes_max >= sm90::prefill_shared_bytes;
  const bool hopper = hopper_ && (is_hopper || shape_.body == "hopper");
  Status status = Status::invalid_value;
  PrefillVariantList::visit(shape_.type, shape_.head_dim, value_dim(), [&](auto variant) {
    using Variant = decltype(variant);
    if constexpr (std::is_same_v<typename Variant::Number, bf16>) {
      if (hopper) {
        status = launch_hopper<Variant>(device, outer, parts);
        return;
      }
    }
    const auto arguments = arguments_of<typename Variant::Number>(parts);
    status = device.launch(portable<Variant>(arguments, outer));
  });
  return status;
}

void PrefillAttention::answers(std::span<const std::span<const std::byte>> parts,
                               const AnswerTaker& take) const {
  const Shape& s = shape_;
  const HostTensor queries(parts[q], s.type, {total_queries(), s.heads, s.head_dim});
  const HostTensor keys(parts[k], s.type, {total_keys(), s.kv_heads, s.head_dim});
  const HostTensor values(parts[v], s.type, {total_keys(), s.kv_heads, value_dim()});
  const HostTensor sink(parts[sinks], "fp32", {bytes_[sinks] / sizeof(float)});
  std::size_t query = 0, key = 0;
  for (std::size_t b = 0; b < sequences(); ++b) {
    const std::size_t queries_here = packed() ? s.cu_seqlens_q[b + 1] - s.cu_seqlens_q[b] : s.queries;
    const std::size_t keys_here = packed() ? s.cu_seqlens_k[b + 1] - s.cu_seqlens_k[b] : s.prefix + s.queries;
    for (std::size_t h = 0; h < s.heads; ++h) {
      AttentionOracle oracle({s.head_dim, value_dim()}, s.type);
      const std::size_t group = h / (s.heads / s.kv_heads);
      for (std::size_t j = 0; j < keys_here; ++j)
        oracle.push(keys.row({key + j, group}), values.row({key + j, group}));
      for (std::size_t i = 0; i < queries_here; ++i) {
        AttentionOracle::Sight sight{.begin = keys_here, .softcap = s.softcap};
        if (s.sinks) sight.sink = sink.at({h});
        for (std::size_t j = 0; j < keys_here; ++j) {
          // How far key j stands behind the query's own.
          const auto behind =
              static_cast<std::ptrdiff_t>(j + queries_here) - static_cast<std::ptrdiff_t>(i + keys_here);
          const auto reach = static_cast<std::ptrdiff_t>(behind < 0 ? s.window_left : s.window_right);
          if (std::abs(behind) > reach || (s.causal && behind > 0)) continue;
          sight.begin = std::min(sight.begin, j);
          sight.end = j + 1;
        }
        take(query + i, h, oracle.ask(queries.row({query + i, h}), sight));
      }
    }
    query += queries_here;
    key += keys_here;
  }
}

Comparison PrefillAttention::compare(std::span<const std::span<const std::byte>> parts) const {
  const HostTensor got(parts[out], shape_.type, {total_queries(), shape_.heads, value_dim()});
  Judge judge(norm_limit(shape_.type));
  answers(parts, [&](std::size_t query, std::size_t head, const AttentionOracle::Answer& answer) {
    for (std::size_t d = 0; d < value_dim(); ++d)
      judge.take(got.at({query, head, d}), answer.out[d], answer.tolerance[d], [&] {
        return "out[" + std::to_string(query) + "][" + std::to_string(head) + "][" + std::to_string(d) + "]";
      });
  });
  return judge.verdict();
}

double PrefillAttention::flops() const {
  double pairs = 0;
  for (std::size_t b = 0; b < sequences(); ++b) {
    const PrefillSequence s = sequence(b);
    const double own = s.keys - s.queries;
    pairs += sum_of_clamped(s.queries, own + 1 + right(), s.keys) -
             sum_of_clamped(s.queries, own - left(), s.keys);
  }
  return 2 * pairs * static_cast<double>(shape_.heads * (shape_.head_dim + value_dim()));
}

std::size_t PrefillAttention::rows() const { return total_queries() * shape_.heads; }

template <typename T>
PrefillArguments<T> PrefillAttention::arguments_of(std::span<void* const> parts) const {
  return {.q = static_cast<const T*>(parts[q]),
          .k = static_cast<const T*>(parts[k]),
          .v = static_cast<const T*>(parts[v]),
          .out = static_cast<T*>(parts[out]),
          .sinks = static_cast<const float*>(parts[sinks]),
          .cu_seqlens_q = static_cast<const std::int32_t*>(parts[cu_seqlens_q]),
          .cu_seqlens_k = static_cast<const std::int32_t*>(parts[cu_seqlens_k]),
          .queries = static_cast<int>(longest_queries_),
          .keys = static_cast<int>(longest_keys_),
          .sequences = static_cast<int>(sequences()),
          .heads = static_cast<int>(shape_.heads),
          .kv_heads = static_cast<int>(shape_.kv_heads),
          .left = left(),
          .right = right(),
          .scale_log2 = scale_log2_of(shape_.head_dim),
          .softcap_log2 = static_cast<float>(shape_.softcap * std::numbers::log2e)};
}

/// The portable blocks over `arguments`; the rest of the launch is as in `outer`.
template <typename Variant>
Launch PrefillAttention::portable(const PrefillArguments<typename Variant::Number>& arguments,
                                  const Launch& outer) {
  using Block = typename Variant::Block;
  const int blocks = (arguments.queries + Block::Tiles::rows - 1) / Block::Tiles::rows;
  Launch launch = launch_of<PrefillVariants, Block>(arguments, outer);
  launch.grid = {static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.heads),
                 static_cast<unsigned>(arguments.sequences)};
  launch.shared_bytes = Block::Tiles::bytes;
  return launch;
}

template <typename Variant>
Status PrefillAttention::launch_hopper(Device& device, const Launch& outer,
                                       std::span<void* const> parts) const {
  const sm90::PrefillArguments arguments{.of = arguments_of<bf16>(parts),
                                         .total_queries = static_cast<int>(total_queries()),
                                         .total_keys = static_cast<int>(total_keys()),
                                         .head_dim = static_cast<int>(Variant::head_dim),
                                         .value_dim = static_cast<int>(Variant::value_dim),
                                         .next_tile = static_cast<unsigned*>(parts[next_tile])};
  Launch launch = outer;
  launch.grid = {static_cast<unsigned>(device.profile().sm_count)};
  launch.block = {sm90::prefill_threads};
  launch.shared_bytes = sm90::prefill_shared_bytes;
  launch.arguments = &arguments;
  launch.arguments_bytes = sizeof arguments;
  launch.host = run_portable<Variant>;
  launch.cuda = sm90::prefill_body;
  return device.launch(launch);
}

/// The hopper launch as simulated threads run it: the portable blocks over the same operands.
template <typename Variant>
Status PrefillAttention::run_portable(const Launch& hopper) {
  sm90::PrefillArguments given;
  std::memcpy(&given, hopper.arguments, sizeof given);
  const Launch launch = portable<Variant>(given.of, hopper);
  return launch.host(launch);
}

template PrefillArguments<float> PrefillAttention::arguments_of(std::span<void* const>) const;
template PrefillArguments<bf16> PrefillAttention::arguments_of(std::span<void* const>) const;
template PrefillArguments<fp16> PrefillAttention::arguments_of(std::span<void* const>) const;

}  // namespace drought
