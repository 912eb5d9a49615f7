// The stack, the memo and the containers of a pickle being read. Every byte is charged, as it is
// taken, against a budget that follows from the file's size. Dicts that were written with the same
// keys share one key list, since a trace is a hundred thousand of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "harness/trace/pickle.hpp"
#include "harness/trace/pickle_opcode.hpp"

namespace drought::pickle {

/// Why a pickle is refused; the parser adds where.
struct Refusal {
  std::string what;
};

constexpr Word make_word(WordTag tag, std::uint64_t payload = 0) {
  return payload << 4 | static_cast<Word>(tag);
}

inline Word word_of(WordTag tag, const void* place) {
  return make_word(tag, reinterpret_cast<std::uintptr_t>(place));
}

class Builder {
 public:
  using Arena = std::vector<ArenaBlock>;

  Builder(Arena& arena, std::size_t file_bytes);

  void push(Word word) { grow(stack_, word); }
  void push_node(WordTag tag) { push(word_of(tag, new (take(sizeof(Node))) Node)); }
  void put_mark();
  /// Closes the newest mark.
  std::size_t count_since_mark();
  /// The one value that is left at the end.
  Word finish() const;

  void append(std::size_t count);
  void make_tuple(std::size_t count);
  void set_items(std::size_t count);

  void memoize() { memoize(memo_size_); }
  void memoize(std::uint64_t index);
  void recall(std::uint64_t index);

  /// Taken for nodes so far.
  std::size_t tree_bytes() const { return tree_bytes_; }
  /// Whether back references reach so much that all of the tree must stay.
  bool keeps_all() const { return keeps_all_; }

 private:
  void charge(std::size_t bytes);
  void* take(std::size_t bytes);
  void grow(std::vector<Word>& entries, Word word);
  void keep(Node& node);
  void keep_place(const void* place);
  const Word* top(std::size_t count) const;
  void drop(std::size_t count) { stack_.resize(stack_.size() - count); }
  Node& open_container(std::size_t count, WordTag tag, const char* what) const;
  static void put_inside(Node& parent, Word child);
  void append_chunk(Node& node, const Word* items, std::size_t count);
  const KeyList* keys_of(const Word* items, std::size_t count);

  Arena& arena_;
  std::size_t budget_;
  std::size_t tree_bytes_ = 0;
  Word* free_ = nullptr;
  std::size_t free_words_ = 0;
  std::vector<Word> stack_;
  std::vector<std::unique_ptr<Word[]>> memo_;  ///< In pieces, since it grows as long as the file is read.
  std::size_t memo_size_ = 0, kept_ = 0;
  bool keeps_all_ = false;
  std::vector<std::size_t> marks_;
  std::array<const KeyList*, 64> known_keys_{};
};

}  // namespace drought::pickle
