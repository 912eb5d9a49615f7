#include "scenarios/allocators/paged_cache.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "scenarios/device_calls.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.
constexpr std::string_view kKernel = "decode_attention";

std::string pool_bug(const std::string& bug) { return bug == "no_copy_on_write" ? "none" : bug; }

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

PagedCache::PagedCache(Rig& rig, const Options& options)
    : rig_(rig),
      options_(options),
      pool_(rig.memory(), {.blocks = options.blocks,
                           .block_bytes = block_bytes(),
                           .caching = options.caching,
                           .bug = pool_bug(options.bug)}),
      values_(rig.memory(), Request{.bytes = options.blocks * block_bytes(), .tag = "v_pages"}),
      sequences_(pool_, options.block_tokens, options.bug != "no_copy_on_write") {
  for (std::byte* const pages : {pool_.address_of(0), values_.data()})
    must(rig.device().memset(pages, kPoison, values_.bytes()), "cudaMemset");
}

KvSequences::Started PagedCache::start(const std::vector<KvSequences::Token>& prompt) {
  const KvSequences::Started started = sequences_.start(prompt);
  write(started.id, started.cached_tokens);
  return started;
}

void PagedCache::append(KvSequences::Id id, KvSequences::Token token) {
  const std::vector<KvSequences::Copy> copies = sequences_.append(id, std::span(&token, 1));
  copies_ += copies.size();
  for (const auto& [from, to] : copies) {
    must(rig_.device().memcpy(pool_.address_of(to), pool_.address_of(from), block_bytes()), "cudaMemcpy");
    must(rig_.device().memcpy(values_.data() + to * block_bytes(), values_.data() + from * block_bytes(),
                              block_bytes()),
         "cudaMemcpy");
  }
  write(id, sequences_.tokens(id).size() - 1);
}

PagedCache::Rows PagedCache::rows(KvSequences::Id id, std::size_t first, int part) const {
  const std::vector<KvSequences::Token>& tokens = sequences_.tokens(id);
  Rows made;
  std::uint64_t history = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    history = Random(history ^ tokens[i])();
    if (i < first) continue;
    Random random = Random(history).split(static_cast<std::uint64_t>(part));
    for (std::size_t d = 0; d < options_.head_dim; ++d)
      made.push_back(static_cast<float>(2 * random.unit() - 1));
  }
  return made;
}

void PagedCache::write(KvSequences::Id id, std::size_t first) {
  if (!rig_.full()) return;
  const std::vector<KvSequences::BlockId>& table = sequences_.table(id);
  for (const int part : {0, 1}) {
    std::byte* const pages = part == 0 ? pool_.address_of(0) : values_.data();
    const Rows made = rows(id, first, part);
    for (std::size_t i = 0; i * options_.head_dim < made.size(); ++i) {
      const std::size_t at = first + i;
      const std::size_t slot =
          table[at / options_.block_tokens] * options_.block_tokens + at % options_.block_tokens;
      must(rig_.device().memcpy(pages + slot * row_bytes(), &made[i * options_.head_dim], row_bytes()),
           "cudaMemcpy");
    }
  }
}

std::unique_ptr<Kernel> PagedCache::kernel_for(const std::vector<KvSequences::Id>& ids,
                                               std::size_t pages) const {
  std::string seqlens;
  for (const KvSequences::Id id : ids) seqlens += std::to_string(sequences_.tokens(id).size()) + ",";
  const Table shape = parse_toml("type = 'fp32'\nkv_heads = 1\nheads = " + std::to_string(options_.heads) +
                                     "\nhead_dim = " + std::to_string(options_.head_dim) +
                                     "\npage_size = " + std::to_string(options_.block_tokens) +
                                     "\npages = " + std::to_string(pages) + "\nseqlens = [" + seqlens + "]",
                                 "paged_serving");
  return find_entry(rig_.catalogues().kernels, kKernel)->make(shape);
}

void PagedCache::verify(const std::vector<KvSequences::Id>& ids) {
  std::vector<KvSequences::Id> batch;
  std::size_t named = 0;
  for (const KvSequences::Id id : ids) {
    const std::size_t blocks = sequences_.table(id).size();
    if (named + blocks > options_.blocks) {
      verify_batch(std::exchange(batch, {}));
      named = 0;
    }
    batch.push_back(id);
    named += blocks;
  }
  if (!batch.empty()) verify_batch(batch);
}

void PagedCache::verify_batch(const std::vector<KvSequences::Id>& ids) {
  const std::unique_ptr<Kernel> kernel = kernel_for(ids, options_.blocks);
  std::size_t width = 0;
  for (const KvSequences::Id id : ids) width = std::max(width, sequences_.table(id).size());
  std::vector<std::int32_t> table(ids.size() * width, -1), lengths;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    lengths.push_back(static_cast<std::int32_t>(sequences_.tokens(ids[i]).size()));
    std::copy(sequences_.table(ids[i]).begin(), sequences_.table(ids[i]).end(),
              table.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  Device& device = rig_.device();
  std::vector<std::byte> q, out;
  std::vector<Buffer> buffers;
  std::vector<void*> parts;
  const std::vector<Part> plan = kernel->plan();
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const bool is_keys = plan[i].name == "k_pages", is_values = plan[i].name == "v_pages";
    if (is_keys || is_values || plan[i].bytes == 0) {
      parts.push_back(is_keys ? pool_.address_of(0) : is_values ? values_.data() : nullptr);
      continue;
    }
    buffers.emplace_back(rig_.memory(), Request{.bytes = plan[i].bytes, .tag = plan[i].name});
    parts.push_back(buffers.back().data());
    if (plan[i].role != Part::Role::input) {
      must(device.memset(parts.back(), kPoison, plan[i].bytes), "cudaMemset");
      if (plan[i].name == "out") out.resize(plan[i].bytes);
      continue;
    }
    std::vector<std::byte> host = plan[i].name == "page_table" ? bytes_of(table) : bytes_of(lengths);
    if (plan[i].name == "q") {
      q.resize(plan[i].bytes);
      kernel->fill(i, rig_.seed(), q);
      host = q;
    }
    must(device.memcpy(parts.back(), host.data(), host.size()), "cudaMemcpy");
  }
  must(kernel->launch(device, {}, parts), kKernel);
  for (std::size_t i = 0; rig_.full() && i < plan.size(); ++i)
    if (plan[i].name == "out") must(device.memcpy(out.data(), parts[i], out.size()), "cudaMemcpy");
  must(device.stream_synchronize({}), "cudaStreamSynchronize");
  if (rig_.full()) compare(ids, q, out);
}

void PagedCache::compare(const std::vector<KvSequences::Id>& ids, const std::vector<std::byte>& q,
                         const std::vector<std::byte>& out) {
  const std::unique_ptr<Kernel> oracle = kernel_for(ids, 0);
  std::size_t width = 0, pages = 0;
  for (const KvSequences::Id id : ids) width = std::max(width, sequences_.table(id).size());
  std::vector<std::int32_t> table(ids.size() * width, -1), lengths;
  Rows cache[2];
  for (std::size_t i = 0; i < ids.size(); ++i) {
    lengths.push_back(static_cast<std::int32_t>(sequences_.tokens(ids[i]).size()));
    for (std::size_t p = 0; p < sequences_.table(ids[i]).size(); ++p)
      table[i * width + p] = static_cast<std::int32_t>(pages++);
    for (const int part : {0, 1}) {
      const Rows own = rows(ids[i], 0, part);
      cache[part].insert(cache[part].end(), own.begin(), own.end());
      cache[part].resize(pages * options_.block_tokens * options_.head_dim);
    }
  }
  const std::vector<std::byte> keys = bytes_of(cache[0]), values = bytes_of(cache[1]),
                               entries = bytes_of(table), seqlens = bytes_of(lengths);
  const std::span<const std::byte> views[] = {q, keys, values, entries, seqlens, out, {}, {}};
  const Comparison found = oracle->compare(views);
  rig_.record().comparisons.push_back({std::string(kKernel), found.within, found.text});
  std::uint64_t digest = 0;
  for (const std::byte byte : out) digest = Random(digest ^ static_cast<std::uint8_t>(byte))();
  rig_.record().output_digests.push_back(digest);
}

}  // namespace drought
