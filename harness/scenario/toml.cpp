// The one place that includes toml++; it copies what it parsed into a Table.
#include <toml++/toml.h>
#include <fstream>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/table.hpp"

namespace drought {
namespace {

Position position(const toml::source_region& region) {
  return {static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

Table copy_table(const toml::table& from, const std::string& file);

Value copy_value(const toml::node& from, const std::string& file) {
  Value value;
  value.at = position(from.source());
  if (const auto* boolean = from.as_boolean()) {
    value.data = boolean->get();
  } else if (const auto* integer = from.as_integer()) {
    value.data = integer->get();
  } else if (const auto* number = from.as_floating_point()) {
    value.data = number->get();
  } else if (const auto* text = from.as_string()) {
    value.data = text->get();
  } else if (const auto* array = from.as_array()) {
    Value::Items items;
    for (const toml::node& item : *array) items.push_back(copy_value(item, file));
    value.data = std::move(items);
  } else if (const auto* table = from.as_table()) {
    value.data = std::vector<Table>{copy_table(*table, file)};
  } else {
    Table(file, value.at).fail(value.at, "dates and times have no meaning in a scenario");
  }
  return value;
}

Table copy_table(const toml::table& from, const std::string& file) {
  Table table(file, position(from.source()));
  for (const auto& [key, node] : from)
    table.add({std::string(key.str()), position(key.source()), copy_value(node, file)});
  return table;
}

}  // namespace

Table parse_toml(std::string_view text, const std::string& file) {
  try {
    return copy_table(toml::parse(text, file), file);
  } catch (const toml::parse_error& error) {
    const Position at = position(error.source());
    std::string what(error.description());
    for (char& letter : what)
      if (letter == '\n') letter = ' ';
    Table(file, at).fail(at, what);
  }
}

std::string read_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UserError(path + ": cannot be read");
  std::string text;
  constexpr std::size_t kBytesMax = 16_MiB;
  char piece[4096];
  while (file.read(piece, sizeof piece), file.gcount() > 0) {
    text.append(piece, static_cast<std::size_t>(file.gcount()));
    if (text.size() > kBytesMax) throw UserError(path + ": is over 16 MiB, which no scenario is");
  }
  if (file.bad()) throw UserError(path + ": cannot be read");
  return text;
}

}  // namespace drought
