// How a value is read back: a node in the arena, or the opcode in the file that wrote it, which the
// parser has already found to be whole.
#include <bit>

#include "harness/trace/pickle.hpp"
#include "harness/trace/pickle_opcode.hpp"

namespace drought::pickle {
namespace {

std::uint64_t little_endian(const unsigned char* bytes, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value |= std::uint64_t{bytes[i]} << (8 * i);
  return value;
}

WordTag tag_of(Word word) { return static_cast<WordTag>(word & 15); }

}  // namespace

std::string_view article_and_name(Kind kind) {
  constexpr std::string_view kNames[] = {"nothing",  "None",     "a boolean", "an integer",
                                         "a number", "a string", "a list",    "a dict"};
  return kNames[static_cast<std::size_t>(kind)];
}

Kind Value::kind() const {
  switch (tag_of(word_)) {
    case WordTag::none:
      return Kind::none;
    case WordTag::boolean:
      return Kind::boolean;
    case WordTag::small_integer:
    case WordTag::written_integer:
      return Kind::integer;
    case WordTag::written_real:
      return Kind::real;
    case WordTag::written_string:
      return Kind::string;
    case WordTag::list:
    case WordTag::tuple:
      return Kind::list;
    case WordTag::dict:
      return Kind::dict;
    case WordTag::missing:
      break;
  }
  return Kind::missing;
}

bool Value::is_tuple() const { return tag_of(word_) == WordTag::tuple; }

std::uint64_t Value::integer_bits() const {
  if (tag_of(word_) == WordTag::small_integer)
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(word_) >> 4);
  const unsigned char* at = written();  // Eight bytes or more: shorter ones are small integers.
  return little_endian(at + (*at == static_cast<unsigned char>(Opcode::long1) ? 2 : 5), 8);
}

double Value::real() const {
  std::uint64_t bits = 0;
  for (std::size_t i = 1; i <= 8; ++i) bits = bits << 8 | written()[i];
  return std::bit_cast<double>(bits);
}

std::string_view Value::string() const {
  const unsigned char* at = written();
  std::size_t length_bytes = 8;
  if (*at == static_cast<unsigned char>(Opcode::short_binunicode)) length_bytes = 1;
  if (*at == static_cast<unsigned char>(Opcode::binunicode)) length_bytes = 4;
  const std::size_t length = little_endian(at + 1, length_bytes);
  return {reinterpret_cast<const char*>(at + 1 + length_bytes), length};
}

Value Value::find(std::string_view key) const {
  Value found;
  for_each_entry([&](std::string_view name, Value value) {
    if (name == key) found = value;
  });
  return found;
}

}  // namespace drought::pickle
