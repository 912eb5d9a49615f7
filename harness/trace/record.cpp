#include "harness/trace/record.hpp"

namespace drought::pickle {

void refuse(const Document& document, const Path& path, const std::string& what) {
  const std::string where = path.text();
  throw TraceError(document.name() + ": " + (where.empty() ? "the pickle" : where) + ": " + what);
}

Value expect(const Document& document, const Path& path, Value value, Kind kind) {
  if (value.kind() == kind) return value;
  refuse(document, path,
         "expected " + std::string(article_and_name(kind)) + ", got " +
             std::string(article_and_name(value.kind())));
}

std::uint64_t Record::count(std::string_view name) const {
  const Value value = field(name, Kind::integer);
  if (value.integer_bits() >> 63 != 0)
    refuse_field(name, "expected a number of bytes, got one that is negative or 2^63 and more");
  return value.integer_bits();
}

}  // namespace drought::pickle
