#include "harness/scenario/table.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "harness/memory/bytes.hpp"

namespace drought {
namespace {

bool takes_a_size(std::string_view key) { return key.find("bytes") != std::string_view::npos; }

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

}  // namespace

std::string_view Value::kind() const {
  constexpr std::string_view kKinds[] = {"a boolean", "an integer", "a number",
                                         "a string",  "an array",   "a table"};
  return kKinds[data.index()];
}

const Table* Value::table() const {
  const auto* held = std::get_if<std::vector<Table>>(&data);
  return held ? &held->front() : nullptr;
}

const Table::Entry* Table::find(std::string_view key) const {
  for (const Entry& entry : entries_)
    if (entry.key == key) return &entry;
  return nullptr;
}

void Table::fail(Position at, std::string_view what) const {
  throw UserError(file_ + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " +
                  std::string(what));
}

void Table::fail_unknown(Position at, std::string_view what, std::string_view word,
                         const std::vector<std::string>& known) const {
  fail(at, "unknown " + std::string(what) + " '" + std::string(word) + "'; known: " + listed(known));
}

std::string Table::text_or(std::string_view key, std::string_view otherwise) const {
  std::string text(otherwise);
  if (const Entry* entry = find(key)) reading::read(*this, *entry, text);
  return text;
}

Table Table::table_or_empty(std::string_view key) const {
  Table found(file_, at_);
  if (const Entry* entry = find(key)) reading::read(*this, *entry, found);
  return found;
}

std::vector<Table> Table::tables(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return {};
  if (const Table* single = entry->value.table()) return {*single};
  const auto* items = std::get_if<Value::Items>(&entry->value.data);
  if (!items)
    fail(entry->value.at, "'" + entry->key + "' takes tables, not " + std::string(entry->value.kind()));
  std::vector<Table> found;
  for (const Value& item : *items) {
    if (!item.table()) fail(item.at, "'" + entry->key + "' takes tables, not " + std::string(item.kind()));
    found.push_back(*item.table());
  }
  return found;
}

void Table::allow_only(const std::vector<std::string>& known) const {
  for (const Entry& entry : entries_)
    if (std::find(known.begin(), known.end(), entry.key) == known.end())
      fail_unknown(entry.at, "key", entry.key, known);
}

Table Table::without(std::initializer_list<std::string_view> keys) const {
  Table rest(file_, at_);
  for (const Entry& entry : entries_)
    if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) rest.add(entry);
  return rest;
}

std::size_t parse_size(std::string_view text) {
  const std::string quoted = "'" + std::string(text) + "'";
  std::uint64_t whole = 0;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, whole);
  if (error == std::errc::result_out_of_range)
    throw std::invalid_argument("size " + quoted + " does not fit 64 bits");
  if (error != std::errc())
    throw std::invalid_argument("size " + quoted + " must be a whole number and a unit");
  const char* unit = after;
  while (unit != end && *unit == ' ') ++unit;
  const std::string_view name(unit, static_cast<std::size_t>(end - unit));
  constexpr std::pair<std::string_view, int> kUnits[] = {
      {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  for (const auto& [known, shift] : kUnits) {
    if (name != known) continue;
    if (whole != 0 && whole > (std::numeric_limits<std::uint64_t>::max() >> shift))
      throw std::invalid_argument("size " + quoted + " does not fit 64 bits");
    return static_cast<std::size_t>(whole << shift);
  }
  throw std::invalid_argument("size " + quoted + " has unit '" + std::string(name) +
                              "'; known: B, KiB, MiB, GiB, TiB");
}

namespace reading {
namespace {

[[noreturn]] void fail_kind(const Table& table, const Table::Entry& entry, std::string_view wanted) {
  table.fail(entry.value.at,
             "'" + entry.key + "' takes " + std::string(wanted) + ", not " + std::string(entry.value.kind()));
}

}  // namespace

void read(const Table& table, const Table::Entry& entry, bool& out) {
  const bool* held = std::get_if<bool>(&entry.value.data);
  if (!held) fail_kind(table, entry, "a boolean");
  out = *held;
}

void read(const Table& table, const Table::Entry& entry, double& out) {
  if (const double* held = std::get_if<double>(&entry.value.data)) {
    out = *held;
  } else if (const std::int64_t* whole = std::get_if<std::int64_t>(&entry.value.data)) {
    out = static_cast<double>(*whole);
  } else {
    fail_kind(table, entry, "a number");
  }
  if (!(out == out) || out - out != 0) table.fail(entry.value.at, "'" + entry.key + "' must be finite");
}

void read(const Table& table, const Table::Entry& entry, std::string& out) {
  const std::string* held = std::get_if<std::string>(&entry.value.data);
  if (!held) fail_kind(table, entry, "a string");
  out = *held;
}

void read(const Table& table, const Table::Entry& entry, Table& out) {
  if (!entry.value.table()) fail_kind(table, entry, "a table");
  out = *entry.value.table();
}

void read(const Table& table, const Table::Entry& entry, std::vector<Table>& out) {
  out = table.tables(entry.key);
}

std::int64_t read_integer(const Table& table, const Table::Entry& entry, std::int64_t low,
                          std::uint64_t high) {
  std::int64_t number = 0;
  if (const std::int64_t* whole = std::get_if<std::int64_t>(&entry.value.data)) {
    number = *whole;
  } else if (const std::string* text = std::get_if<std::string>(&entry.value.data);
             text && takes_a_size(entry.key)) {
    try {
      const std::size_t bytes = parse_size(*text);
      if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        throw std::invalid_argument("size '" + *text + "' is over 8 EiB");
      number = static_cast<std::int64_t>(bytes);
    } catch (const std::invalid_argument& mistake) {
      table.fail(entry.value.at, "'" + entry.key + "': " + mistake.what());
    }
  } else {
    fail_kind(table, entry, takes_a_size(entry.key) ? "an integer or a size with its unit" : "an integer");
  }
  const bool too_large = number > 0 && static_cast<std::uint64_t>(number) > high;
  if (number < low || too_large)
    table.fail(entry.value.at, "'" + entry.key + "' is " + std::to_string(number) + ", which is outside " +
                                   std::to_string(low) + " to " + std::to_string(high));
  return number;
}

namespace {

template <typename Item>
void read_items(const Table& table, const Table::Entry& entry, std::vector<Item>& out) {
  const auto* items = std::get_if<Value::Items>(&entry.value.data);
  if (!items) fail_kind(table, entry, "an array");
  out.clear();
  for (const Value& item : *items) read(table, {entry.key, item.at, item}, out.emplace_back());
}

}  // namespace

void read(const Table& table, const Table::Entry& entry, std::vector<std::size_t>& out) {
  read_items(table, entry, out);
}

void read(const Table& table, const Table::Entry& entry, std::vector<std::string>& out) {
  read_items(table, entry, out);
}

}  // namespace reading
}  // namespace drought
