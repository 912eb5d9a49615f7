#include "allocators/kv_sequences.hpp"

#include <stdexcept>

#include "harness/sched/random.hpp"

namespace drought {

KvSequences::~KvSequences() {
  while (!sequences_.empty()) finish(sequences_.begin()->first);
}

void KvSequences::hash_full_blocks(Sequence& sequence) const {
  const std::size_t full = sequence.tokens.size() / block_tokens_;
  while (sequence.hashes.size() < full) {
    PagedKv::Hash hash = sequence.hashes.empty() ? 0 : sequence.hashes.back();
    const std::size_t first = sequence.hashes.size() * block_tokens_;
    for (std::size_t i = 0; i < block_tokens_; ++i) hash = Random(hash ^ sequence.tokens[first + i])();
    sequence.hashes.push_back(hash);
  }
}

void KvSequences::cache_full_blocks(const Sequence& sequence, std::size_t from) {
  for (std::size_t i = from; i < sequence.hashes.size(); ++i)
    pool_.cache(sequence.table[i], sequence.hashes[i]);
}

KvSequences::Started KvSequences::start(std::span<const Token> prompt) {
  if (prompt.empty()) throw std::invalid_argument("kv_sequences: a prompt of no tokens");
  Sequence made;
  made.tokens.assign(prompt.begin(), prompt.end());
  hash_full_blocks(made);
  std::size_t idle_hits = 0;
  for (std::size_t i = 0; i < (prompt.size() - 1) / block_tokens_; ++i) {
    const std::optional<BlockId> hit = pool_.cached(made.hashes[i]);
    if (!hit) break;
    made.table.push_back(*hit);
    idle_hits += pool_.ref_count(*hit) == 0;
  }
  const std::size_t hits = made.table.size(), wanted = blocks_for(prompt.size()) - hits;
  // A hit that nobody uses leaves the queue too, so it counts among the blocks that must be free.
  pool_.require_free(wanted + idle_hits);
  pool_.touch(made.table);
  const std::vector<BlockId> fresh = pool_.get_new_blocks(wanted);
  made.table.insert(made.table.end(), fresh.begin(), fresh.end());
  cache_full_blocks(made, hits);
  sequences_.emplace(++last_id_, std::move(made));
  return {last_id_, hits * block_tokens_};
}

std::vector<KvSequences::Copy> KvSequences::append(Id id, std::span<const Token> tokens) {
  Sequence& sequence = sequences_.at(id);
  const std::size_t length = sequence.tokens.size(), full = sequence.hashes.size();
  const bool writes_shared = !tokens.empty() && length % block_tokens_ != 0 && copies_on_write_ &&
                             pool_.ref_count(sequence.table.back()) > 1;
  const std::size_t grown = blocks_for(length + tokens.size()) - sequence.table.size();
  const std::vector<BlockId> fresh = pool_.get_new_blocks(grown + writes_shared);
  std::vector<Copy> copies;
  if (writes_shared) {
    copies.push_back({sequence.table.back(), fresh.front()});
    pool_.free_blocks(std::span(&copies.front().from, 1));
    sequence.table.back() = fresh.front();
  }
  sequence.table.insert(sequence.table.end(), fresh.begin() + writes_shared, fresh.end());
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  hash_full_blocks(sequence);
  cache_full_blocks(sequence, full);
  return copies;
}

KvSequences::Id KvSequences::fork(Id id) {
  Sequence copy = sequences_.at(id);
  pool_.touch(copy.table);
  sequences_.emplace(++last_id_, std::move(copy));
  return last_id_;
}

void KvSequences::finish(Id id) {
  const auto found = sequences_.find(id);
  const std::vector<BlockId>& table = found->second.table;
  pool_.free_blocks(std::vector<BlockId>(table.rbegin(), table.rend()));
  sequences_.erase(found);
}

std::string KvSequences::broken_invariant() const {
  if (std::string wrong = pool_.broken_invariant(); !wrong.empty()) return wrong;
  std::vector<std::size_t> named(pool_.blocks());
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.table.size() != blocks_for(sequence.tokens.size()))
      return "sequence " + std::to_string(id) + " has blocks that do not hold its tokens";
    for (const BlockId block : sequence.table) ++named[block];
  }
  for (BlockId block = 0; block < named.size(); ++block)
    if (named[block] != pool_.ref_count(block))
      return "block " + std::to_string(block) + " is in " + std::to_string(named[block]) +
             " tables and counts " + std::to_string(pool_.ref_count(block)) + " references";
  return {};
}

}  // namespace drought
