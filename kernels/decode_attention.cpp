#include "kernels/decode_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/decode_variants.hpp"
#include "kernels/kv_rows.hpp"
#include "kernels/parts.hpp"
#include "kernels/shape.hpp"
#include "kernels/sm90/decode_bodies.hpp"

namespace drought {
namespace {

constexpr std::array<std::string_view, DecodeAttention::part_count> kPartNames{
    "q",         "k_pages",  "v_pages",  "page_table", "seqlens",  "out",     "split_out",
    "split_lse", "k_scales", "v_scales", "sinks",      "schedule", "arrivals"};

constexpr std::size_t kSmCount = 132;  // Of an H200.

/// Rows that do not fill lines of memory share them with other heads', which one block had better read
/// together, as it had short rows, unless too few units were left to fill a chip without cutting each into
/// many pieces.
constexpr std::size_t kLineBytes = 128, kUnitsToFill = 16;

std::vector<std::size_t> known_dims(const DecodeTypes& wanted) {
  std::vector<std::size_t> dims;
  const auto look = [&]<typename... Blocks>(Variants<Blocks...>) {
    const auto add = [&](const DecodeTypes& types) {
      if (types.type == wanted.type && types.cache == wanted.cache && types.key_dim == types.value_dim)
        dims.push_back(types.key_dim);
    };
    (add(Blocks::types), ...);
  };
  look(DecodeVariants{});
  return dims;
}

unsigned blocks_of(const DecodeArguments& given) {
  const int units = given.batch * (given.kv_heads / given.heads_at_once);
  return static_cast<unsigned>(given.splits == 0 ? given.parts : given.splits * units);
}

/// The portable blocks over `arguments`; what is not theirs is as in `outer`.
Launch split_launch(const DecodeArguments& arguments, const DecodeTypes& types, Launch outer) {
  const bool is_known = visit_variant(DecodeVariants{}, types, [&]<typename Block>(Block) {
    outer = launch_of<DecodeVariants, Block>(arguments, outer);
    outer.shared_bytes = Block::Tiles::bytes;
  });
  if (!is_known) throw std::logic_error("a shape that was not checked");
  const int row_tiles = (arguments.heads / arguments.kv_heads + tile_rows - 1) / tile_rows;
  outer.grid = {blocks_of(arguments), static_cast<unsigned>(arguments.heads_at_once),
                static_cast<unsigned>(row_tiles)};
  return outer;
}

Launch combine_launch(const DecodeArguments& arguments, const DecodeTypes& types, Launch outer) {
  const bool is_known = visit_variant(DecodeCombineVariants{}, {types.type, "", 0, types.value_dim},
                                      [&]<typename Combine>(Combine) {
                                        outer = launch_of<DecodeCombineVariants, Combine>(arguments, outer);
                                      });
  if (!is_known) throw std::logic_error("a shape that was not checked");
  outer.grid = {static_cast<unsigned>(arguments.heads), static_cast<unsigned>(arguments.batch)};
  outer.shared_bytes = 0;
  return outer;
}

/// Hopper's launch as simulated threads run it: the portable blocks over the same operands.
Status run_portable(const Launch& hopper) {
  sm90::DecodeArguments given;
  std::memcpy(&given, hopper.arguments, sizeof given);
  const auto run = [&](const DecodeTypes& types) {
    const Launch split = split_launch(given.of, types, hopper);
    const Status status = split.host(split);
    if (status != Status::success || given.of.splits != 0) return status;
    const Launch combine = combine_launch(given.of, types, hopper);
    return combine.host(combine);
  };
  Status status = Status::invalid_value;
  const auto run_if = [&](const DecodeTypes& types) {
    if (types.key_dim == types.value_dim &&
        sm90::decode_variant(types.type, types.cache, types.key_dim) == given.variant)
      status = run(types);
  };
  const auto run_one_of = [&]<typename... Blocks>(Variants<Blocks...>) { (run_if(Blocks::types), ...); };
  run_one_of(DecodeVariants{});
  return status;
}

/// Hopper's blocks, of which the last combine by themselves where the schedule counts the pieces.
Launch hopper_launch(const sm90::DecodeArguments& arguments, Launch outer) {
  outer.grid = {blocks_of(arguments.of)};
  outer.block = {sm90::decode_threads_max};
  outer.shared_bytes = sm90::decode_shared_bytes_max;
  outer.arguments = &arguments;
  outer.arguments_bytes = sizeof arguments;
  outer.host = run_portable;
  outer.cuda = sm90::decode_body;
  return outer;
}

}  // namespace

DecodeAttention::DecodeAttention(const Shape& shape) : shape_(shape) {
  check_shape();
  count_pages();
  choose_cut();
  count_bytes();
}

void DecodeAttention::check_shape() {
  Shape& s = shape_;
  static_cast<void>(element_bytes(s.type));
  if (s.cache.empty()) s.cache = s.type;
  cache_ = kv_type_named(s.cache);
  if (s.value_dim == 0) s.value_dim = s.head_dim;
  const std::vector<std::size_t> dims = known_dims({s.type, s.cache, 0, 0});
  require(!dims.empty(), "queries of " + s.type + " do not go with a cache of " + s.cache);
  const DecodeTypes types{s.type, s.cache, s.head_dim, s.value_dim};
  const bool is_known = visit_variant(DecodeVariants{}, types, [](auto) {});
  if (!is_known && s.value_dim != s.head_dim)
    require(false, "head_dim " + std::to_string(s.head_dim) + " with value_dim " +
                       std::to_string(s.value_dim) + " is not compiled in for a cache of " + s.cache);
  if (!is_known) require_heads(s.type, s.head_dim, dims, s.heads, s.kv_heads);
  require_heads(s.type, s.head_dim, std::array{s.head_dim}, s.heads, s.kv_heads);
  require(s.latent == (s.head_dim == MlaTiles<float>::key_dim),
          "a latent cache has head_dim 576 and value_dim 512, and no other has");
  require(!s.latent || s.kv_heads == 1, "a latent cache has one KV head");
  require(s.scale >= 0 && s.scale <= 1e6, "scale must be between 0 and a million");
  require(!s.seqlens.empty() && s.seqlens.size() <= grid_rows_max,
          "seqlens must name between 1 and " + std::to_string(grid_rows_max) + " sequences");
  require(s.page_size > 0 && s.page_size <= tokens_max, "page_size must be between 1 and 2^30");
  require(s.splits <= 1024, "splits must be at most 1024");
  require(s.parts <= grid_rows_max, "parts must be at most " + std::to_string(grid_rows_max));
  require(s.window <= tokens_max, "window is more than 2^30 tokens");
  require(s.softcap >= 0 && s.softcap <= 1e6, "softcap must be between 0 and a million");
  for (const double scale : {s.k_scale, s.v_scale}) {
    require(scale > 0 && scale <= 1e6, "k_scale and v_scale must be above 0 and at most a million");
    require(scale == 1 || s.cache == Fp8Rows::type.name, "k_scale and v_scale are for a cache of fp8_e4m3");
  }
  require(s.body == "best" || s.body == "hopper" || s.body == "portable",
          "unknown body '" + s.body + "'; known: best, hopper, portable");
  const bool fits = s.value_dim == s.head_dim && s.softcap == 0 &&
                    s.heads_at_once <= sm90::decode_warps(cache_.row_bytes(s.head_dim)) &&
                    sm90::decode_is_aligned(s.kv_heads, cache_.row_bytes(s.head_dim));
  if (fits && s.body != "portable") hopper_ = sm90::decode_variant(s.type, s.cache, s.head_dim);
  require(
      hopper_ != 0 || s.body != "hopper",
      "the hopper body takes 16-bit queries with head_dim 64 or 128, equal value_dim, no softcap, at most "
      "eight heads_at_once, and rows of a token that fill whole 16 bytes");
}

void DecodeAttention::count_pages() {
  for (const std::size_t length : shape_.seqlens) {
    require(length <= tokens_max, "a sequence is longer than 2^30 tokens");
    const std::size_t pages = (length + shape_.page_size - 1) / shape_.page_size;
    table_width_ = std::max(table_width_, pages);
    pages_used_ += pages;
  }
  pages_ = shape_.pages == 0 ? pages_used_ : shape_.pages;
  require(pages_ >= pages_used_, std::to_string(pages_) + " pages do not hold the sequences, which fill " +
                                     std::to_string(pages_used_));
  require(pages_ <= tokens_max, "pages are more than 2^30");
  if (pages_ * shape_.page_size <= sm90::decode_pool_tokens_max) return;
  require(shape_.body != "hopper", "the hopper body takes a pool of less than 2^31 tokens");
  hopper_ = 0;
}

void DecodeAttention::choose_cut() {
  Shape& s = shape_;
  const std::size_t row_bytes = cache_.row_bytes(s.head_dim);
  std::size_t at_most = 1;
  if (hopper_ != 0 && (!cache_.is_plain || row_bytes % kLineBytes != 0))
    at_most = sm90::decode_warps(row_bytes);
  for (std::size_t heads = std::min(at_most, s.kv_heads); s.heads_at_once == 0; --heads)
    if (heads == 1 || (s.kv_heads % heads == 0 && s.seqlens.size() * s.kv_heads / heads >= kUnitsToFill))
      s.heads_at_once = heads;
  require(s.kv_heads % s.heads_at_once == 0, "kv_heads " + std::to_string(s.kv_heads) +
                                                 " is not a multiple of heads_at_once " +
                                                 std::to_string(s.heads_at_once));
  require(s.heads_at_once <= 1024, "heads_at_once must be at most 1024");
  if (s.parts == 0)
    s.parts = decode_parts(units(), kSmCount * (hopper_ == 0 ? 1 : sm90::decode_blocks_per_sm));
  if (s.splits == 0) slots_ = s.parts + units();
  if (s.splits > 1) slots_ = checked_product("split_out", {s.splits, units()});
  require(slots_ < std::size_t{1} << 31, "the sequences are cut into more than 2^31 pieces");
}

void DecodeAttention::count_bytes() {
  const Shape& s = shape_;
  const std::size_t element = element_bytes(s.type), batch = s.seqlens.size();
  const std::size_t rows = checked_product("k_pages", {pages_, s.page_size, s.kv_heads});
  bytes_[q] = checked_product("q", {batch, s.heads, s.head_dim, element});
  bytes_[out] = checked_product("out", {batch, s.heads, s.value_dim, element});
  bytes_[k_pages] = checked_product("k_pages", {rows, cache_.row_bytes(s.head_dim)});
  if (!s.latent) bytes_[v_pages] = checked_product("v_pages", {rows, cache_.row_bytes(s.value_dim)});
  bytes_[page_table] = checked_product("page_table", {batch, table_width_, sizeof(std::int32_t)});
  bytes_[seqlens] = checked_product("seqlens", {batch, sizeof(std::int32_t)});
  const std::size_t unit_heads = s.heads / groups();
  bytes_[split_lse] = checked_product("split_lse", {slots_, unit_heads, sizeof(float)});
  bytes_[split_out] = checked_product("split_out", {bytes_[split_lse], s.value_dim});
  if (cache_.row_scales)
    bytes_[k_scales] = bytes_[v_scales] = checked_product("k_scales", {rows, sizeof(float)});
  if (s.sinks) bytes_[sinks] = checked_product("sinks", {s.heads, sizeof(float)});
  if (hopper_ != 0 && s.splits == 0)
    bytes_[arrivals] = checked_product("arrivals", {batch, s.heads, sizeof(unsigned)});
  if (s.splits == 0)
    bytes_[schedule] = checked_product("schedule", {2 * (s.parts + 1 + units()), sizeof(std::int32_t)});
}

std::vector<Part> DecodeAttention::plan() const {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < part_count; ++i) {
    Part part{.name = kPartNames[i], .bytes = bytes_[i]};
    if (i == out) part.role = Part::Role::output;
    if (i == split_out || i == split_lse || i == arrivals) part.role = Part::Role::workspace;
    part.zeroed = i == arrivals;
    part.payload = i != page_table && i != seqlens && i != schedule && i != arrivals;
    parts.push_back(part);
  }
  return parts;
}

DecodeArguments DecodeAttention::arguments_for(std::span<void* const> parts) const {
  const Shape& s = shape_;
  const auto scale_of = [&](double scale) { return static_cast<float>(scale); };
  return {.q = parts[q],
          .k = parts[k_pages],
          .v = parts[v_pages],
          .k_scales = static_cast<const float*>(parts[k_scales]),
          .v_scales = static_cast<const float*>(parts[v_scales]),
          .sinks = static_cast<const float*>(parts[sinks]),
          .page_table = static_cast<const std::int32_t*>(parts[page_table]),
          .seqlens = static_cast<const std::int32_t*>(parts[seqlens]),
          .schedule = static_cast<const std::int32_t*>(parts[schedule]),
          .out = parts[out],
          .split_out = static_cast<float*>(parts[split_out]),
          .split_lse = static_cast<float*>(parts[split_lse]),
          .arrivals = static_cast<unsigned*>(parts[arrivals]),
          .batch = static_cast<int>(s.seqlens.size()),
          .heads = static_cast<int>(s.heads),
          .kv_heads = static_cast<int>(s.kv_heads),
          .page_size = static_cast<int>(s.page_size),
          .table_width = static_cast<int>(table_width_),
          .splits = static_cast<int>(s.splits),
          .parts = static_cast<int>(s.parts),
          .heads_at_once = static_cast<int>(s.heads_at_once),
          .window = static_cast<int>(s.window),
          .scale_log2 = s.scale == 0 ? scale_log2_of(s.head_dim) : scale_of(s.scale * std::numbers::log2e),
          .softcap_log2 = scale_of(s.softcap * std::numbers::log2e),
          .k_scale = scale_of(s.k_scale),
          .v_scale = scale_of(s.v_scale)};
}

std::vector<Operand> DecodeAttention::operands_of(std::span<void* const> parts, Pass pass) const {
  std::vector<Operand> operands;
  const auto add = [&](PartIndex part, Access access) {
    if (bytes_[part] != 0) operands.push_back({kPartNames[part], parts[part], bytes_[part], access});
  };
  if (pass != Pass::combine)
    for (const PartIndex part : {q, k_pages, v_pages, page_table, seqlens, k_scales, v_scales})
      add(part, Access::read);
  add(sinks, Access::read);
  add(schedule, Access::read);
  const Access pieces = pass == Pass::split     ? Access::write
                        : pass == Pass::combine ? Access::read
                                                : Access::read_write;
  add(split_out, pieces);
  add(split_lse, pieces);
  if (pass == Pass::both) add(arrivals, Access::read_write);
  // With a fixed number of splits above one, the first of two launches has no part in the output.
  if (pass != Pass::split || shape_.splits <= 1) add(out, Access::write);
  return operands;
}

Status DecodeAttention::launch(Device& device, Stream stream, std::span<void* const> parts) const {
  if (const Status wrong = check_parts(plan(), parts); wrong != Status::success) return wrong;
  const bool has_hopper = device.profile().shared_bytes_max >= sm90::decode_shared_bytes_max;
  const bool is_hopper = hopper_ != 0 && (has_hopper || shape_.body == "hopper");
  const bool combines = is_hopper && shape_.splits == 0;
  const sm90::DecodeArguments arguments{arguments_for(parts), hopper_,
                                        static_cast<int>(pages_ * shape_.page_size)};
  const DecodeTypes types{shape_.type, shape_.cache, shape_.head_dim, shape_.value_dim};
  const std::vector<Operand> operands = operands_of(parts, combines ? Pass::both : Pass::split);
  Launch first{.kernel = kernel_name, .stream = stream, .operands = operands};
  first = is_hopper ? hopper_launch(arguments, first) : split_launch(arguments.of, types, first);
  const Status status = device.launch(first);
  if (status != Status::success || combines || slots_ == 0) return status;
  const std::vector<Operand> combined = operands_of(parts, Pass::combine);
  return device.launch(combine_launch(
      arguments.of, types, {.kernel = "decode_attention_combine", .stream = stream, .operands = combined}));
}

}  // namespace drought
