// A parsed scenario file as a tree that remembers where each key and value stands, so that every
// mistake is answered with file, line, column, the wrong word and the known words.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "harness/memory/one_line.hpp"
#include "harness/scenario/key.hpp"

namespace drought {

/// The user's mistake: one line, whatever it quotes, and exit status 2.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::string_view what) : std::runtime_error(one_line(what)) {}
};

class Table;

struct Value {
  using Items = std::vector<Value>;
  std::variant<bool, std::int64_t, double, std::string, Items, std::vector<Table>> data;  ///< One Table.
  Position at;

  std::string_view kind() const;  ///< "a string", "an integer": for messages.
  const Table* table() const;     ///< Null unless this is a table.
};

class Table {
 public:
  struct Entry {
    std::string key;
    Position at;
    Value value;
  };

  Table() = default;
  Table(std::string file, Position at) : file_(std::move(file)), at_(at) {}

  const std::vector<Entry>& entries() const { return entries_; }
  const Entry* find(std::string_view key) const;
  void add(Entry entry) { entries_.push_back(std::move(entry)); }
  Position at() const { return at_; }
  const std::string& file() const { return file_; }
  bool empty() const { return entries_.empty(); }

  /// Throws UserError "file:line:column: what".
  [[noreturn]] void fail(Position at, std::string_view what) const;
  /// Fails with the word and the known words.
  [[noreturn]] void fail_unknown(Position at, std::string_view what, std::string_view word,
                                 const std::vector<std::string>& known) const;

  /// The string under `key`, or `otherwise`; fails when it is not a string.
  std::string text_or(std::string_view key, std::string_view otherwise) const;
  /// The table under `key`, or an empty one at this table's place.
  Table table_or_empty(std::string_view key) const;
  /// Every table of the array under `key`; a single table counts as one.
  std::vector<Table> tables(std::string_view key) const;
  /// Fails at the first key that `known` does not name.
  void allow_only(const std::vector<std::string>& known) const;
  /// The same table less these keys.
  Table without(std::initializer_list<std::string_view> keys) const;

 private:
  std::string file_;
  Position at_;
  std::vector<Entry> entries_;
};

/// Parses TOML. Throws UserError with the position of the first mistake.
Table parse_toml(std::string_view text, const std::string& file);
/// The whole file. UserError when it cannot be read or is over 16 MiB, which no scenario is.
std::string read_text_file(const std::string& path);

/// "60 GiB", "512 B" to bytes. Throws std::invalid_argument with one clear line.
std::size_t parse_size(std::string_view text);

namespace reading {

void read(const Table& table, const Table::Entry& entry, bool& out);
void read(const Table& table, const Table::Entry& entry, double& out);
void read(const Table& table, const Table::Entry& entry, std::string& out);
void read(const Table& table, const Table::Entry& entry, std::vector<std::size_t>& out);
void read(const Table& table, const Table::Entry& entry, std::vector<std::string>& out);
void read(const Table& table, const Table::Entry& entry, Table& out);
void read(const Table& table, const Table::Entry& entry, std::vector<Table>& out);
/// Fails outside [low, high].
std::int64_t read_integer(const Table& table, const Table::Entry& entry, std::int64_t low,
                          std::uint64_t high);

template <std::integral Integer>
void read(const Table& table, const Table::Entry& entry, Integer& out) {
  out = static_cast<Integer>(read_integer(table, entry, std::numeric_limits<Integer>::min(),
                                          static_cast<std::uint64_t>(std::numeric_limits<Integer>::max())));
}

/// One Options from each table; a single table counts as one.
template <typename Options>
requires requires { Options::keys(); }
void read(const Table& table, const Table::Entry& entry, std::vector<Options>& out);

}  // namespace reading

template <typename Options>
std::vector<std::string> known_keys() {
  std::vector<std::string> known;
  std::apply([&](const auto&... keys) { (known.emplace_back(keys.name), ...); }, Options::keys());
  return known;
}

/// An Options from the table's keys; its defaults for those that are absent. Unknown keys fail.
template <typename Options>
Options read_options(const Table& table) {
  Options options;
  if constexpr (requires { options.at = table.at(); }) options.at = table.at();
  for (const Table::Entry& entry : table.entries()) {
    bool found = false;
    std::apply(
        [&](const auto&... keys) {
          ((entry.key == keys.name ? (found = true, reading::read(table, entry, options.*keys.member))
                                   : void()),
           ...);
        },
        Options::keys());
    if (!found) table.fail_unknown(entry.at, "key", entry.key, known_keys<Options>());
  }
  return options;
}

template <typename Options>
requires requires { Options::keys(); }
void reading::read(const Table& table, const Table::Entry& entry, std::vector<Options>& out) {
  out.clear();
  for (const Table& one : table.tables(entry.key)) out.push_back(read_options<Options>(one));
}

}  // namespace drought
