// The name a block goes by in reports and triggers: "kv_buffer", "split_out". Interned, so that a
// tag costs four bytes in a request and one comparison in a trigger.
#pragma once

#include <cstdint>
#include <string_view>

namespace drought {

class Tag {
 public:
  constexpr Tag() = default;
  /// Interns `name`; about 50 ns. Keep the Tag where a loop would intern it again.
  Tag(std::string_view name);
  Tag(const char* name) : Tag(std::string_view(name)) {}

  /// Valid for the life of the process; "" for the default tag.
  std::string_view view() const;
  friend constexpr bool operator==(Tag, Tag) = default;
  constexpr std::uint32_t index() const { return index_; }

 private:
  std::uint32_t index_ = 0;
};

}  // namespace drought
