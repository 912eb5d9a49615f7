// Reads a Python pickle as a tree of plain values: numbers, strings, lists, tuples, dicts. Both
// writers of PyTorch snapshots are understood, Python's own (protocols 2 to 5) and TorchScript's.
//
// A pickle is a program that may call anything. This reader knows a closed list of opcodes that can
// only build data; GLOBAL, REDUCE and all others are refused at their byte offset. A hostile file
// costs no more memory than a fixed multiple of its size: no length is believed before it is
// compared with the bytes that are left, and a container that was put into another is closed, so
// that back references share nodes, never form a cycle, and nest no deeper than a limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/trace/trace_file.hpp"

namespace drought {

namespace pickle {

enum class Kind : std::uint8_t { missing, none, boolean, integer, real, string, list, dict };

/// "a list", "an integer": for messages.
std::string_view article_and_name(Kind kind);

/// A value is a tag in the low four bits and, above it, a small integer, a node in the document's
/// arena, or the place in the file where the value is written.
using Word = std::uint64_t;

struct ListChunk {
  ListChunk* next;  ///< Round: the last chunk points to the first.
  std::size_t size;
  Word* items() { return reinterpret_cast<Word*>(this + 1); }
};

/// The keys of one dict, or of thousands that were written with the same keys.
struct KeyList {
  std::size_t size;
  const Word* keys() const { return reinterpret_cast<const Word*>(this + 1); }
};

struct DictChunk {
  DictChunk* next;  ///< Round, as in lists.
  const KeyList* keys;
  Word* values() { return reinterpret_cast<Word*>(this + 1); }
};

struct Node {
  void* last_chunk = nullptr;
  std::uint32_t size = 0;
  std::uint16_t depth = 1;
  bool closed = false;
  bool is_kept = false;  ///< Its memory outlasts Document::release_between.
};

/// A piece of the memory that a document's nodes lie in, in the order in which they were made.
struct ArenaBlock {
  std::unique_ptr<Word[]> words;
  std::size_t count = 0;
  bool is_kept = false;
  bool holds(const void* place) const {
    return words && std::less_equal<const void*>()(words.get(), place) &&
           std::less<const void*>()(place, words.get() + count);
  }
};

/// One value, as cheap to copy as a pointer. Valid while its Document lives.
class Value {
 public:
  Value() = default;
  explicit Value(Word word) : word_(word) {}

  Kind kind() const;
  bool exists() const { return kind() != Kind::missing; }
  bool is_tuple() const;

  /// Of a boolean.
  bool boolean() const { return word_ >> 4 != 0; }
  /// Of an integer: its 64 bits in two's complement. Integers from -2^63 to 2^64 - 1 can be read.
  std::uint64_t integer_bits() const;
  double real() const;
  std::string_view string() const;

  /// Of a list, tuple or dict: how many entries.
  std::size_t size() const { return node()->size; }

  /// Calls visit(Value) for each item of a list or tuple, in order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    auto* last = static_cast<ListChunk*>(node()->last_chunk);
    for (ListChunk* chunk = last ? last->next : nullptr; chunk; chunk = chunk == last ? nullptr : chunk->next)
      for (std::size_t i = 0; i < chunk->size; ++i) visit(Value(chunk->items()[i]));
  }

  /// Calls visit(key, Value) for each entry of a dict, in order.
  template <typename Visit>
  void for_each_entry(Visit&& visit) const {
    auto* last = static_cast<DictChunk*>(node()->last_chunk);
    for (DictChunk* chunk = last ? last->next : nullptr; chunk; chunk = chunk == last ? nullptr : chunk->next)
      for (std::size_t i = 0; i < chunk->keys->size; ++i)
        visit(Value(chunk->keys->keys()[i]).string(), Value(chunk->values()[i]));
  }

  /// The entry of a dict; of equal keys the last, as in Python. Kind::missing when there is none.
  Value find(std::string_view key) const;

  /// Of a dict that was written in one batch, its keys, which dicts of one shape share; else null.
  const KeyList* shared_keys() const {
    const auto* last = static_cast<DictChunk*>(node()->last_chunk);
    return last && last->next == last ? last->keys : nullptr;
  }
  /// The value beside the ith of shared_keys().
  Value at(std::size_t i) const { return Value(static_cast<DictChunk*>(node()->last_chunk)->values()[i]); }

 private:
  friend class Document;
  const Node* node() const { return reinterpret_cast<const Node*>(word_ >> 4); }
  const unsigned char* written() const { return reinterpret_cast<const unsigned char*>(word_ >> 4); }

  Word word_ = 0;
};

/// A parsed pickle. Owns the file's bytes and the nodes that values point to.
class Document {
 public:
  /// Reads and parses a regular file; throws TraceError.
  static Document read(const std::string& path);
  /// Parses bytes; `name` stands in messages for the file. Throws TraceError.
  static Document parse(std::string name, std::string_view bytes);
  static Document parse(std::string name, FileBytes bytes);

  Document(Document&&) = default;
  Document& operator=(Document&&) = default;

  Value root() const { return root_; }
  const std::string& name() const { return name_; }
  std::size_t file_bytes() const { return file_.size; }
  /// Lets go of what was written between two containers of the tree, which a reader that goes through a
  /// long list has done with; root() is missing then. What back references reach is kept.
  void release_between(Value first, Value last);
  std::size_t released_bytes() const { return released_bytes_; }
  /// What the tree takes, the file's own bytes aside.
  std::size_t tree_bytes() const { return tree_bytes_; }

 private:
  Document() = default;
  void parse();

  std::string name_;
  FileBytes file_;
  std::vector<ArenaBlock> arena_;
  std::size_t tree_bytes_ = 0;
  std::size_t released_bytes_ = 0;
  bool keeps_all_ = false;
  Value root_;
};

}  // namespace pickle
}  // namespace drought
