// How an options struct names its fields for scenario files: a static keys() beside the fields, so
// that a field, its default and its key stand in one place.
//
//   struct Options {
//     std::size_t slab_bytes = 64_MiB;
//     static constexpr auto keys() { return std::tuple{key("slab_bytes", &Options::slab_bytes)}; }
//   };
//
// A field may be bool, an integer, double, std::string, std::vector<std::size_t>,
// std::vector<std::string>, std::vector<Table>, or a std::vector of such a struct, which takes tables. A key
// with "bytes" in its name also takes a size with its unit, "60 GiB". A struct with a field `Position at` is
// told where its table stands.
#pragma once

#include <string_view>
#include <tuple>

namespace drought {

/// Line and column in a scenario file; 0 where nothing was read from one.
struct Position {
  int line = 0, column = 0;
};

template <typename Owner, typename Member>
struct Key {
  std::string_view name;
  Member Owner::*member;
};

template <typename Owner, typename Member>
constexpr Key<Owner, Member> key(std::string_view name, Member Owner::*member) {
  return {name, member};
}

}  // namespace drought
