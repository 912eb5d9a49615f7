#include "harness/trace/pickle_builder.hpp"

#include <algorithm>
#include <limits>

namespace drought::pickle {
namespace {

constexpr std::uint16_t kDepthMax = 64;  // A snapshot nests 6 deep.
constexpr std::size_t kMarksMax = 64;    // One per container being written.
// 256 KiB at a time, which goes back to the operating system when it is freed. What is larger gets its own.
constexpr std::size_t kArenaWords = 32768;
constexpr std::size_t kBudgetPerByte = 4;  // A real snapshot takes less than 2.
constexpr std::size_t kBudgetBase = 1 << 20;
constexpr std::size_t kMemoPiece = 4096;
constexpr std::size_t kKeptMax = 4096;  // Each costs a search through the arena.

bool is_container(Word word) { return (word & 15) >= static_cast<Word>(WordTag::list); }

Node* node_of(Word word) { return reinterpret_cast<Node*>(word >> 4); }

template <typename Chunk>
void link(Node& node, Chunk* chunk, std::size_t entries) {
  if (entries > std::numeric_limits<std::uint32_t>::max() - node.size) throw Refusal{"over 2^32 entries"};
  node.size += static_cast<std::uint32_t>(entries);
  auto* last = static_cast<Chunk*>(node.last_chunk);
  chunk->next = last ? last->next : chunk;
  if (last) last->next = chunk;
  node.last_chunk = chunk;
}

}  // namespace

Builder::Builder(Arena& arena, std::size_t file_bytes)
    : arena_(arena), budget_(file_bytes * kBudgetPerByte + kBudgetBase) {}

void Builder::charge(std::size_t bytes) {
  if (bytes > budget_) throw Refusal{"the values take far more memory than the file that describes them"};
  budget_ -= bytes;
}

void* Builder::take(std::size_t bytes) {
  const std::size_t words = (bytes + sizeof(Word) - 1) / sizeof(Word);
  charge(words * sizeof(Word));
  tree_bytes_ += words * sizeof(Word);
  if (words > free_words_) {
    const std::size_t count = std::max(words, kArenaWords);
    arena_.push_back({std::unique_ptr<Word[]>(new Word[count]), count});
    if (words >= kArenaWords) return arena_.back().words.get();
    free_ = arena_.back().words.get();
    free_words_ = kArenaWords;
  }
  Word* taken = free_;
  free_ += words;
  free_words_ -= words;
  return taken;
}

void Builder::grow(std::vector<Word>& entries, Word word) {
  if (entries.size() == entries.capacity()) {
    const std::size_t more = std::max<std::size_t>(entries.capacity(), 64);
    charge(more * sizeof(Word));
    entries.reserve(entries.capacity() + more);
  }
  entries.push_back(word);
}

void Builder::put_mark() {
  if (marks_.size() == kMarksMax) throw Refusal{"more than " + std::to_string(kMarksMax) + " open marks"};
  marks_.push_back(stack_.size());
}

std::size_t Builder::count_since_mark() {
  if (marks_.empty()) throw Refusal{"no mark is open"};
  const std::size_t count = stack_.size() - marks_.back();
  marks_.pop_back();
  return count;
}

Word Builder::finish() const {
  if (stack_.size() != 1 || !marks_.empty()) throw Refusal{"the pickle ends with other than one value"};
  return stack_.back();
}

// The top `count` words, of which none lies below an open mark.
const Word* Builder::top(std::size_t count) const {
  const std::size_t floor = marks_.empty() ? 0 : marks_.back();
  if (stack_.size() - floor < count) throw Refusal{"the stack holds too few values"};
  return stack_.data() + stack_.size() - count;
}

void Builder::put_inside(Node& parent, Word child) {
  if (!is_container(child)) return;
  Node& node = *node_of(child);
  if (&node == &parent) throw Refusal{"a container holds itself"};
  node.closed = true;
  parent.depth = std::max<std::uint16_t>(parent.depth, node.depth + 1);
  if (parent.depth > kDepthMax) throw Refusal{"nested deeper than " + std::to_string(kDepthMax) + " levels"};
}

// The container under the top `count` words. A closed one cannot grow, so no cycle can be made and
// the depth it was counted with stays true.
Node& Builder::open_container(std::size_t count, WordTag tag, const char* what) const {
  const Word word = *top(count + 1);
  if (static_cast<WordTag>(word & 15) != tag)
    throw Refusal{std::string("entries for something that is not ") + what};
  if (node_of(word)->closed) throw Refusal{"a container grows after it was put into another"};
  return *node_of(word);
}

void Builder::append_chunk(Node& node, const Word* items, std::size_t count) {
  if (count == 0) return;
  for (std::size_t i = 0; i < count; ++i) put_inside(node, items[i]);
  auto* chunk = static_cast<ListChunk*>(take(sizeof(ListChunk) + count * sizeof(Word)));
  chunk->size = count;
  std::copy(items, items + count, chunk->items());
  link(node, chunk, count);
}

void Builder::append(std::size_t count) {
  append_chunk(open_container(count, WordTag::list, "a list"), top(count), count);
  drop(count);
}

void Builder::make_tuple(std::size_t count) {
  const Word* items = top(count);
  Node* tuple = new (take(sizeof(Node))) Node;
  append_chunk(*tuple, items, count);
  drop(count);
  push(word_of(WordTag::tuple, tuple));
}

void Builder::set_items(std::size_t count) {
  Node& dict = open_container(count, WordTag::dict, "a dict");
  if (count % 2 != 0) throw Refusal{"a key without a value"};
  if (count == 0) return;
  const Word* items = top(count);
  const KeyList* keys = keys_of(items, count / 2);
  auto* chunk = static_cast<DictChunk*>(take(sizeof(DictChunk) + count / 2 * sizeof(Word)));
  chunk->keys = keys;
  for (std::size_t i = 0; i < count / 2; ++i) {
    put_inside(dict, items[2 * i + 1]);
    chunk->values()[i] = items[2 * i + 1];
  }
  link(dict, chunk, count / 2);
  drop(count);
}

const KeyList* Builder::keys_of(const Word* items, std::size_t count) {
  const std::size_t slot = ((items[0] ^ items[2 * count - 2] * 31) * 0x9E3779B97F4A7C15u + count) >> 58;
  const KeyList*& known = known_keys_[slot];
  bool same = known && known->size == count;
  for (std::size_t i = 0; same && i < count; ++i) same = known->keys()[i] == items[2 * i];
  if (same) return known;
  auto* keys = static_cast<KeyList*>(take(sizeof(KeyList) + count * sizeof(Word)));
  keys->size = count;
  keep_place(keys);  // Dicts share it, wherever they lie.
  for (std::size_t i = 0; i < count; ++i) {
    if (static_cast<WordTag>(items[2 * i] & 15) != WordTag::written_string)
      throw Refusal{"a key that is not a string"};
    reinterpret_cast<Word*>(keys + 1)[i] = items[2 * i];
  }
  return known = keys;
}

void Builder::memoize(std::uint64_t index) {
  const Word word = *top(1);
  if (index > memo_size_)
    throw Refusal{"memo entry " + std::to_string(index) + " after " + std::to_string(memo_size_) + " others"};
  if (index == memo_size_) {
    if (index % kMemoPiece == 0) {
      charge(kMemoPiece * sizeof(Word));
      memo_.emplace_back(new Word[kMemoPiece]);
    }
    ++memo_size_;
  }
  memo_[index / kMemoPiece][index % kMemoPiece] = word;
}

void Builder::recall(std::uint64_t index) {
  if (index >= memo_size_) throw Refusal{"memo entry " + std::to_string(index) + " was never stored"};
  const Word word = memo_[index / kMemoPiece][index % kMemoPiece];
  if (is_container(word)) keep(*node_of(word));
  push(word);
}

// What a back reference reaches outlasts what is written around it. A container of plain values lies in one
// place; of a deeper one, and of one that may still grow, the parts lie anywhere.
void Builder::keep(Node& node) {
  if (node.is_kept || keeps_all_) return;
  node.is_kept = true;
  const auto* chunk = static_cast<const ListChunk*>(node.last_chunk);
  if (node.depth > 1 || !node.closed || (chunk && chunk->next != chunk) || ++kept_ > kKeptMax)
    keeps_all_ = true;
  keep_place(&node);
  if (chunk) keep_place(chunk);
}

void Builder::keep_place(const void* place) {
  if (keeps_all_) return;
  const auto block = std::find_if(arena_.rbegin(), arena_.rend(),
                                  [&](const ArenaBlock& candidate) { return candidate.holds(place); });
  if (block != arena_.rend()) block->is_kept = true;
}

}  // namespace drought::pickle
