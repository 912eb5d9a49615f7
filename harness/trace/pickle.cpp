// The parser: one pass over the bytes, no recursion, one switch that is the closed list of opcodes.
#include "harness/trace/pickle.hpp"

#include <algorithm>
#include <cstdio>

#include "harness/trace/pickle_builder.hpp"

namespace drought::pickle {
namespace {

std::string printable_byte(unsigned char byte) {
  char text[16];
  std::snprintf(text, sizeof text, byte > ' ' && byte < 127 ? "'%c'" : "0x%02x", byte);
  return text;
}

}  // namespace

class Reader {
 public:
  Reader(const unsigned char* begin, std::size_t bytes, Builder& builder)
      : begin_(begin), at_(begin), end_(begin + bytes), builder_(builder) {}

  /// Throws Refusal; opcode_offset() then says where.
  Word read() {
    if (at_ == end_) throw Refusal{"the file is empty"};
    while (!done_) step();
    opcode_ = at_;
    if (at_ != end_) throw Refusal{"bytes follow the end of the pickle"};
    return builder_.finish();
  }

  std::size_t opcode_offset() const { return static_cast<std::size_t>(opcode_ - begin_); }

 private:
  void step() {
    opcode_ = at_;
    if (at_ == end_) throw Refusal{"the file ends before the pickle does"};
    switch (static_cast<Opcode>(*at_++)) {
      case Opcode::proto:
        return check_protocol(number(1));
      case Opcode::frame:
        return check_frame(number(8));
      case Opcode::stop:
        done_ = true;
        return;
      case Opcode::mark:
        return builder_.put_mark();
      case Opcode::none:
        return builder_.push(make_word(WordTag::none));
      case Opcode::newtrue:
        return builder_.push(make_word(WordTag::boolean, 1));
      case Opcode::newfalse:
        return builder_.push(make_word(WordTag::boolean, 0));
      case Opcode::binint1:
        return push_small(static_cast<std::int64_t>(number(1)));
      case Opcode::binint2:
        return push_small(static_cast<std::int64_t>(number(2)));
      case Opcode::binint:
        return push_small(static_cast<std::int32_t>(number(4)));
      case Opcode::long1:
        return push_long(number(1));
      case Opcode::long4:
        return push_long(number(4));
      case Opcode::binfloat:
        return push_written(WordTag::written_real, 8);
      case Opcode::short_binunicode:
        return push_written(WordTag::written_string, number(1));
      case Opcode::binunicode:
        return push_written(WordTag::written_string, number(4));
      case Opcode::binunicode8:
        return push_written(WordTag::written_string, number(8));
      case Opcode::empty_list:
        return builder_.push_node(WordTag::list);
      case Opcode::empty_dict:
        return builder_.push_node(WordTag::dict);
      case Opcode::empty_tuple:
        return builder_.make_tuple(0);
      case Opcode::tuple1:
        return builder_.make_tuple(1);
      case Opcode::tuple2:
        return builder_.make_tuple(2);
      case Opcode::tuple3:
        return builder_.make_tuple(3);
      case Opcode::tuple:
        return builder_.make_tuple(builder_.count_since_mark());
      case Opcode::append:
        return builder_.append(1);
      case Opcode::appends:
        return builder_.append(builder_.count_since_mark());
      case Opcode::setitem:
        return builder_.set_items(2);
      case Opcode::setitems:
        return builder_.set_items(builder_.count_since_mark());
      case Opcode::binget:
        return builder_.recall(number(1));
      case Opcode::long_binget:
        return builder_.recall(number(4));
      case Opcode::binput:
        return builder_.memoize(number(1));
      case Opcode::long_binput:
        return builder_.memoize(number(4));
      case Opcode::memoize:
        return builder_.memoize();
    }
    throw Refusal{"opcode " + printable_byte(*opcode_) + " is not one that only builds data"};
  }

  void skip(std::uint64_t count) {
    const auto left = static_cast<std::uint64_t>(end_ - at_);
    if (count > left)
      throw Refusal{std::to_string(count) + " bytes are announced and " + std::to_string(left) + " are left"};
    at_ += count;
  }

  std::uint64_t number(std::size_t bytes) {
    const unsigned char* from = at_;
    skip(bytes);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::uint64_t{from[i]} << (8 * i);
    return value;
  }

  static void check_protocol(std::uint64_t protocol) {
    if (protocol < 2 || protocol > 5)
      throw Refusal{"protocol " + std::to_string(protocol) + "; known: 2, 3, 4, 5"};
  }

  void check_frame(std::uint64_t bytes) {
    const unsigned char* begins = at_;
    skip(bytes);
    at_ = begins;
  }

  void push_small(std::int64_t value) {
    builder_.push(make_word(WordTag::small_integer, static_cast<std::uint64_t>(value)));
  }

  void push_written(WordTag tag, std::uint64_t bytes) {
    skip(bytes);
    builder_.push(word_of(tag, opcode_));
  }

  void push_long(std::uint64_t length) {
    constexpr std::int64_t kSmallEnd = std::int64_t{1} << 59;  // Sixty bits are left beside the tag.
    const unsigned char* digits = at_;
    skip(length);
    if (length == 0) return push_small(0);
    if (length <= 8) {
      std::uint64_t bits = 0;
      for (std::size_t i = 0; i < length; ++i) bits |= std::uint64_t{digits[i]} << (8 * i);
      const auto unused = static_cast<unsigned>(64 - 8 * length);
      const std::int64_t value = static_cast<std::int64_t>(bits << unused) >> unused;
      if (value >= -kSmallEnd && value < kSmallEnd) return push_small(value);
    } else {
      check_fits(digits, length);
    }
    builder_.push(word_of(WordTag::written_integer, opcode_));
  }

  // Beyond eight bytes only the sign may stand, so that 64 bits hold the value.
  static void check_fits(const unsigned char* digits, std::uint64_t length) {
    const unsigned char sign = digits[length - 1] >> 7 ? 0xff : 0;
    bool fits = sign == 0 || digits[7] >> 7 != 0;
    for (std::uint64_t i = 8; i < length; ++i) fits = fits && digits[i] == sign;
    if (!fits) throw Refusal{"an integer of more than 64 bits"};
  }

  const unsigned char* begin_;
  const unsigned char* at_;
  const unsigned char* end_;
  const unsigned char* opcode_ = begin_;
  Builder& builder_;
  bool done_ = false;
};

void Document::parse() {
  Builder builder(arena_, file_.size);
  Reader reader(file_.data.get(), file_.size, builder);
  try {
    root_ = Value(reader.read());
  } catch (const Refusal& refusal) {
    throw TraceError(name_ + ": offset " + std::to_string(reader.opcode_offset()) + ": " + refusal.what);
  }
  tree_bytes_ = builder.tree_bytes();
  keeps_all_ = builder.keeps_all();
}

void Document::release_between(Value first, Value last) {
  const auto holding = [&](Value value) {
    return std::find_if(arena_.begin(), arena_.end(),
                        [&](const ArenaBlock& block) { return block.holds(value.node()); });
  };
  auto block = holding(first);
  const auto end = holding(last);
  if (keeps_all_ || block >= end) return;
  root_ = Value();  // Whoever asked has no use for the whole any more.
  for (++block; block != end; ++block) {
    if (block->is_kept || !block->words) continue;
    block->words.reset();
    released_bytes_ += block->count * sizeof(Word);
  }
}

Document Document::parse(std::string name, FileBytes bytes) {
  Document document;
  document.name_ = std::move(name);
  document.file_ = std::move(bytes);
  document.parse();
  return document;
}

Document Document::parse(std::string name, std::string_view bytes) {
  return parse(std::move(name), copy_bytes(bytes));
}

Document Document::read(const std::string& path) { return parse(path, read_regular_file(path)); }

}  // namespace drought::pickle
