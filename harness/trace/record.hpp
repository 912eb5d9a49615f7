// A dict of a pickle with the path that leads to it, so that a wrong type is reported by its place.
// A path is a chain of frames on the stack and becomes text only when there is something to report.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "harness/trace/pickle.hpp"

namespace drought::pickle {

/// One step of a path: a field's name, or an index below it.
struct Path {
  const Path* outer = nullptr;
  std::string_view field{};
  std::size_t index = 0;
  bool is_index = false;

  std::string text() const {
    const std::string before = outer ? outer->text() : "";
    if (is_index) return before + "[" + std::to_string(index) + "]";
    return before + (before.empty() ? "" : ".") + std::string(field);
  }
};

[[noreturn]] void refuse(const Document& document, const Path& path, const std::string& what);

/// `value` if it is of `kind`; else a TraceError.
Value expect(const Document& document, const Path& path, Value value, Kind kind);

/// Reads fields of one dict. Cheap to make; `document` and `path` outlive it. A dict of more than 256
/// fields is refused, since back references could have it searched again and again.
class Record {
 public:
  Record(const Document& document, const Path& path, Value dict)
      : document_(document), path_(path), dict_(expect(document, path, dict, Kind::dict)) {
    if (dict_.size() > 256) refuse(document, path, "more than 256 fields");
  }

  Value field(std::string_view name, Kind kind) const {
    return expect(document_, Path{&path_, name}, dict_.find(name), kind);
  }
  bool has(std::string_view name) const {
    const Kind kind = dict_.find(name).kind();
    return kind != Kind::missing && kind != Kind::none;
  }
  /// An address or a handle: any 64 bits, which some writers sign.
  std::uint64_t bits(std::string_view name) const { return field(name, Kind::integer).integer_bits(); }
  /// A count of bytes: not negative, below 2^63.
  std::uint64_t count(std::string_view name) const;
  std::string_view string(std::string_view name) const { return field(name, Kind::string).string(); }
  bool boolean(std::string_view name) const { return field(name, Kind::boolean).boolean(); }

  [[noreturn]] void refuse_field(std::string_view name, const std::string& what) const {
    refuse(document_, Path{&path_, name}, what);
  }
  Path path_to(std::string_view name) const { return {&path_, name}; }

 private:
  const Document& document_;
  const Path& path_;
  Value dict_;
};

}  // namespace drought::pickle
