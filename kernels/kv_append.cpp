#include "kernels/kv_append.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/kv_rows.hpp"
#include "kernels/oracle.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"

namespace drought {
namespace {

/// Wider than any model's hidden state.
constexpr std::size_t head_dim_max = std::size_t{1} << 20;

constexpr std::array<std::string_view, KvAppend::part_count> kPartNames{
    "k", "v", "slots", "k_pages", "v_pages", "k_scales", "v_scales"};

template <typename... Blocks, typename Visit>
bool visit_types(Variants<Blocks...>, const KvAppendTypes& types, Visit visit) {
  return ((Blocks::types == types && (visit(Blocks{}), true)) || ...);
}

}  // namespace

KvAppend::KvAppend(const Shape& shape) : shape_(shape) {
  Shape& s = shape_;
  static_cast<void>(element_bytes(s.type));
  if (s.cache.empty()) s.cache = s.type;
  cache_ = kv_type_named(s.cache);
  require(visit_types(KvAppendVariants{}, {s.type, s.cache}, [](auto) {}),
          "rows of " + s.type + " do not go into a cache of " + s.cache);
  require(s.head_dim > 0 && s.head_dim <= head_dim_max, "head_dim must be between 1 and 2^20");
  require_rows(cache_, s.head_dim);
  require(s.kv_heads > 0 && s.kv_heads <= grid_rows_max, "kv_heads must be between 1 and 65535");
  require(s.tokens > 0 && s.tokens <= tokens_max, "tokens must be between 1 and 2^30");
  require(s.page_size > 0 && s.pages > 0, "page_size and pages must not be 0");
  const std::size_t pool = checked_product("k_pages", {s.pages, s.page_size});
  require(pool <= tokens_max, "the pool has more than 2^30 slots");
  require(s.padded <= s.tokens, "padded tokens are more than all");
  require(s.tokens - s.padded <= pool,
          std::to_string(s.tokens - s.padded) + " tokens do not fit " + std::to_string(pool) + " slots");
  for (const double scale : {s.k_scale, s.v_scale}) {
    require(scale > 0 && scale <= 1e6, "k_scale and v_scale must be above 0 and at most a million");
    require(scale == 1 || s.cache == Fp8Rows::type.name, "k_scale and v_scale are for a cache of fp8_e4m3");
  }
  row_bytes_ = cache_.row_bytes(s.head_dim);
  bytes_[k] = bytes_[v] = checked_product("k", {s.tokens, s.kv_heads, s.head_dim, element_bytes(s.type)});
  bytes_[slots] = checked_product("slots", {s.tokens, sizeof(std::int32_t)});
  bytes_[k_pages] = bytes_[v_pages] = checked_product("k_pages", {pool, s.kv_heads, row_bytes_});
  if (cache_.row_scales)
    bytes_[k_scales] = bytes_[v_scales] = checked_product("k_scales", {pool, s.kv_heads, sizeof(float)});
  if (!s.values) bytes_[v] = bytes_[v_pages] = bytes_[v_scales] = 0;
}

std::vector<Part> KvAppend::plan() const {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < part_count; ++i)
    parts.push_back({.name = kPartNames[i],
                     .bytes = bytes_[i],
                     .role = i < k_pages ? Part::Role::input : Part::Role::output,
                     .payload = i != slots});
  return parts;
}

/// Slots in a random order; the last tokens are the padded ones.
void KvAppend::fill(std::size_t index, std::uint64_t seed, std::span<std::byte> to) const {
  if (index != slots) return fill_normal(shape_.type, seed, index, to);
  std::vector<std::int32_t> order = permutation(shape_.pages * shape_.page_size, seed);
  order.resize(shape_.tokens, -1);
  std::fill(order.end() - static_cast<std::ptrdiff_t>(shape_.padded), order.end(), -1);
  fill_integers(order, to);
}

std::string KvAppend::wrong_inputs(std::span<const std::span<const std::byte>> parts) const {
  const std::vector<std::int32_t> given = integers(parts[slots]);
  const auto pool = static_cast<std::int32_t>(shape_.pages * shape_.page_size);
  std::vector<std::int32_t> owner(static_cast<std::size_t>(pool), -1);
  for (std::size_t t = 0; t < given.size(); ++t) {
    const std::string slot = "slots[" + std::to_string(t) + "] is " + std::to_string(given[t]);
    if (given[t] < -1 || given[t] >= pool) return slot + ", the pool has " + std::to_string(pool);
    if (given[t] == -1) continue;
    std::int32_t& had = owner[static_cast<std::size_t>(given[t])];
    if (had != -1) return slot + ", as slots[" + std::to_string(had) + "] is";
    had = static_cast<std::int32_t>(t);
  }
  return {};
}

Status KvAppend::launch(Device& device, Stream stream, std::span<void* const> parts) const {
  if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
  const Shape& s = shape_;
  const KvAppendArguments arguments{.k = parts[k],
                                    .v = s.values ? parts[v] : nullptr,
                                    .slots = static_cast<const std::int32_t*>(parts[slots]),
                                    .k_pages = parts[k_pages],
                                    .v_pages = parts[v_pages],
                                    .k_scales = static_cast<float*>(parts[k_scales]),
                                    .v_scales = static_cast<float*>(parts[v_scales]),
                                    .kv_heads = static_cast<int>(s.kv_heads),
                                    .head_dim = static_cast<int>(s.head_dim),
                                    .k_scale = static_cast<float>(s.k_scale),
                                    .v_scale = static_cast<float>(s.v_scale)};
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < part_count; ++i)
    if (bytes_[i] != 0)
      operands.push_back({kPartNames[i], parts[i], bytes_[i], i < k_pages ? Access::read : Access::write});
  Launch launch{.kernel = kernel_name,
                .grid = {static_cast<unsigned>(s.tokens), static_cast<unsigned>(s.kv_heads)},
                .block = {warp_lanes},
                .stream = stream,
                .operands = operands,
                .arguments = &arguments,
                .arguments_bytes = sizeof arguments};
  visit_types(KvAppendVariants{}, {s.type, s.cache}, [&]<typename Block>(Block) {
    const Bodies bodies = bodies_of<KvAppendVariants, Block>();
    launch.host = bodies.host, launch.cuda = bodies.cuda;
  });
  return device.launch(launch);
}

KvAppend::Pool KvAppend::expected(bool is_keys, std::span<const std::span<const std::byte>> parts) const {
  const Shape& s = shape_;
  const auto before = [&](PartIndex part) {
    if (s.in_use) return std::vector<std::byte>(parts[part].begin(), parts[part].end());
    return std::vector<std::byte>(bytes_[part], std::byte{0xff});
  };
  Pool pool{before(is_keys ? k_pages : v_pages), before(is_keys ? k_scales : v_scales)};
  const HostTensor rows(parts[is_keys ? k : v], s.type, {s.tokens, s.kv_heads, s.head_dim});
  const std::vector<std::int32_t> given = integers(parts[slots]);
  const auto tensor_scale = static_cast<float>(is_keys ? s.k_scale : s.v_scale);
  for (std::size_t t = 0; t < s.tokens; ++t)
    for (std::size_t h = 0; h < s.kv_heads && given[t] >= 0; ++h) {
      const std::span<const double> row = rows.row({t, h});
      const std::vector<float> values(row.begin(), row.end());
      const std::size_t place = static_cast<std::size_t>(given[t]) * s.kv_heads + h;
      const float scale = store_row(cache_, values, tensor_scale,
                                    std::span(pool.rows).subspan(place * row_bytes_, row_bytes_));
      if (cache_.row_scales) std::memcpy(&pool.scales[place * sizeof scale], &scale, sizeof scale);
    }
  return pool;
}

Comparison KvAppend::compare(std::span<const std::span<const std::byte>> parts) const {
  for (const bool is_keys : {true, false}) {
    if (!is_keys && !shape_.values) continue;
    const Pool pool = expected(is_keys, parts);
    for (const auto& [index, wanted] : {std::pair{is_keys ? k_pages : v_pages, &pool.rows},
                                        std::pair{is_keys ? k_scales : v_scales, &pool.scales}}) {
      const auto differs = std::mismatch(wanted->begin(), wanted->end(), parts[index].begin()).first;
      if (differs == wanted->end()) continue;
      const auto at = static_cast<std::size_t>(differs - wanted->begin());
      return {false, 1, 0,
              std::string(kPartNames[index]) + " byte " + std::to_string(at) + " is " +
                  std::to_string(std::to_integer<int>(parts[index][at])) + ", the oracle says " +
                  std::to_string(std::to_integer<int>(*differs))};
    }
  }
  return {true, 0, 0, "every byte is the oracle's"};
}

/// Pools with but a few slots free, so that the byte in the middle is a token's.
std::vector<KvAppend::Shape> KvAppend::cases() {
  std::vector<Shape> made;
  const auto add = [&](const KvAppendTypes& types) {
    for (const std::size_t head_dim : {64, 128}) {
      const std::size_t page_size = std::array<std::size_t, 3>{16, 1, 3}[made.size() % 3];
      const std::size_t pages = 33 / page_size + 1, padded = made.size() % 3;
      const bool is_fp8 = types.cache == Fp8Rows::type.name;
      made.push_back({.type = std::string(types.type),
                      .cache = std::string(types.cache),
                      .tokens = pages * page_size + padded,
                      .page_size = page_size,
                      .pages = pages,
                      .padded = padded,
                      .kv_heads = 1 + made.size() % 4,
                      .head_dim = head_dim,
                      .k_scale = is_fp8 ? 0.01 : 1,
                      .v_scale = is_fp8 ? 0.37 : 1});
    }
  };
  const auto add_all = [&]<typename... Blocks>(Variants<Blocks...>) { (add(Blocks::types), ...); };
  add_all(KvAppendVariants{});
  for (const std::size_t width : {1, 127, 515, 576}) {
    Shape rows{
        .type = width % 2 == 0 ? "bf16" : "fp32", .tokens = 3, .page_size = 1, .pages = 3, .padded = 0};
    rows.kv_heads = 1;
    rows.head_dim = width;
    rows.values = false;
    made.push_back(rows);
  }
  return made;
}

}  // namespace drought
