// An object of a configuration file, and where it stands: every answer is checked, and every mistake told
// with the file and the path of its field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace drought {

/// A word of the file as a message may have it: short, and on one line.
inline std::string shown(std::string word) {
  constexpr std::size_t most = 60;
  if (word.size() > most) word.replace(most, std::string::npos, "...");
  for (char& letter : word)
    if ((letter >= 0 && letter < ' ') || letter == 127) letter = '?';
  return word;
}

/// An object of the file and where it stands.
class ConfigSection {
 public:
  using Json = nlohmann::json;

  ConfigSection(const Json& object, std::string file, std::string path)
      : object_(object), file_(std::move(file)), path_(std::move(path)) {}

  [[noreturn]] void fail(std::string_view field, const std::string& what) const {
    throw std::invalid_argument(file_ + ": " + path_ + std::string(field) + ": " + what);
  }

  const Json* find(std::string_view field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(std::string_view field) const { return find(field) != nullptr; }

  /// The object under the field, or null.
  const Json* object(std::string_view field) const {
    const Json* const found = find(field);
    if (found && !found->is_object()) fail(field, "is not an object");
    return found;
  }
  ConfigSection section(std::string_view field) const {
    const Json* const found = object(field);
    if (!found) fail(field, "is missing");
    return {*found, file_, path_ + std::string(field) + "."};
  }

  std::size_t number(std::string_view field) const {
    const Json* const found = find(field);
    if (!found) fail(field, "is missing");
    return checked(field, *found, 1);
  }
  /// Of what is a small factor in every model.
  std::size_t small_number(std::string_view field) const {
    const std::size_t value = number(field);
    if (value > 1024) fail(field, "is over 1024");
    return value;
  }
  std::size_t number_or(std::string_view field, std::size_t otherwise) const {
    const Json* const found = find(field);
    return found ? checked(field, *found, 0) : otherwise;
  }
  /// Of the first of the fields that is there; different families call one thing differently.
  std::size_t first_of(std::initializer_list<std::string_view> fields) const {
    for (const std::string_view field : fields)
      if (has(field)) return number(field);
    fail(*fields.begin(), "is missing");
  }
  bool flag_or(std::string_view field, bool otherwise) const {
    const Json* const found = find(field);
    if (found && !found->is_boolean()) fail(field, "is neither true nor false");
    return found ? found->get<bool>() : otherwise;
  }
  std::string text_or(std::string_view field, std::string_view otherwise) const {
    const Json* const found = find(field);
    if (found && !found->is_string()) fail(field, "is not a string");
    return found ? found->get<std::string>() : std::string(otherwise);
  }
  double real_or(std::string_view field, double otherwise, double low, double high) const {
    const Json* const found = find(field);
    if (found && !found->is_number()) fail(field, "is not a number");
    const double value = found ? found->get<double>() : otherwise;
    if (!(value >= low && value <= high))
      fail(field, "is not between " + std::to_string(low) + " and " + std::to_string(high));
    return value;
  }
  std::vector<std::size_t> numbers(std::string_view field, std::size_t count_max) const {
    const Json* const found = find(field);
    if (!found) return {};
    if (!found->is_array() || found->size() > count_max)
      fail(field, "is not a list of at most " + std::to_string(count_max) + " numbers");
    std::vector<std::size_t> values;
    for (const Json& item : *found) values.push_back(checked(field, item, 0));
    return values;
  }

 private:
  // So that a product of two with a small factor fits in 64 bits.
  static constexpr std::uint64_t dimension_max = std::uint64_t{1} << 24;

  std::size_t checked(std::string_view field, const Json& value, std::uint64_t low) const {
    const bool is_whole = value.is_number_unsigned() && value.get<std::uint64_t>() >= low &&
                          value.get<std::uint64_t>() <= dimension_max;
    if (!is_whole)
      fail(field,
           "is not a whole number between " + std::to_string(low) + " and " + std::to_string(dimension_max));
    return static_cast<std::size_t>(value.get<std::uint64_t>());
  }

  const Json& object_;
  const std::string file_, path_;
};

}  // namespace drought
