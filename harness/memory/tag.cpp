#include "harness/memory/tag.hpp"

#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

namespace drought {
namespace {

// Names live for the process, so that a report may outlast the run that made them.
struct Interned {
  std::mutex mutex;
  std::deque<std::string> names{std::string()};
  std::unordered_map<std::string_view, std::uint32_t> index{{names[0], 0}};
};

Interned& interned() {
  static Interned* const table = new Interned;
  return *table;
}

}  // namespace

Tag::Tag(std::string_view name) {
  Interned& table = interned();
  const std::lock_guard lock(table.mutex);
  if (const auto found = table.index.find(name); found != table.index.end()) {
    index_ = found->second;
    return;
  }
  index_ = static_cast<std::uint32_t>(table.names.size());
  table.index.emplace(table.names.emplace_back(name), index_);
}

std::string_view Tag::view() const {
  Interned& table = interned();
  const std::lock_guard lock(table.mutex);
  return table.names[index_];
}

}  // namespace drought
