// The walk and the names come from the library that is linked, not from the header.
#define BOOST_STACKTRACE_LINK

#include "harness/fault/stack.hpp"

#include <boost/stacktrace/frame.hpp>
#include <boost/stacktrace/safe_dump_to.hpp>
#include <mutex>

#include "harness/device/site.hpp"

namespace drought {
namespace {

void drop_all(std::string& text, std::string_view part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at))
    text.erase(at, part.size());
}

/// Visits each character outside template arguments and lambda signatures, until `visit` says stop.
template <typename Visit>
void outside_brackets(std::string_view text, Visit&& visit) {
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool is_operator = at >= 8 && text.substr(at - 8, 8) == "operator";
    if ((text[at] == '<' || text[at] == '{') && !is_operator) ++depth;
    if (depth == 0 && !visit(at)) return;
    if ((text[at] == '>' || text[at] == '}') && depth > 0) --depth;
  }
}

}  // namespace

std::string plain_name(std::string_view demangled) {
  std::string text(demangled);
  drop_all(text, "(anonymous namespace)::");
  drop_all(text, "drought::");
  std::size_t end = text.size(), begin = 0;
  outside_brackets(text, [&](std::size_t at) {
    const bool is_call_operator = at >= 8 && text.compare(at - 8, 10, "operator()") == 0;
    if (text[at] != '(' || is_call_operator) return true;
    end = at;
    return false;
  });
  text.resize(end);
  outside_brackets(text, [&](std::size_t at) {
    if (text[at] == ' ') begin = at + 1;
    return true;
  });
  return text.substr(begin);
}

const std::string& function_at(const void* address) {
  static std::mutex mutex;
  static auto* const known = new std::unordered_map<const void*, std::string>;  // Outlives every report.
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = known->try_emplace(address);
  if (is_new) found->second = plain_name(boost::stacktrace::frame(address).name());
  return found->second;
}

Stack Stack::here() {
  Stack stack;
  // The library ends what it writes with a null frame.
  const std::size_t written = boost::stacktrace::safe_dump_to(1, stack.frames_.data(), sizeof(stack.frames_));
  stack.count_ = written == 0 ? 0 : written - 1;
  return stack;
}

bool Stack::has_frame(std::string_view glob, std::unordered_map<const void*, bool>& known) const {
  for (const void* frame : frames()) {
    const auto [found, is_new] = known.try_emplace(frame, false);
    if (is_new) {
      const std::string& function = function_at(frame);
      bool matches = glob_matches(glob, function);
      outside_brackets(function, [&](std::size_t at) {
        if (function.compare(at, 2, "::") == 0)
          matches = matches || glob_matches(glob, std::string_view(function).substr(at + 2));
        return !matches;
      });
      found->second = matches && !function.empty();
    }
    if (found->second) return true;
  }
  return false;
}

std::vector<std::string> Stack::names() const {
  std::vector<std::string> all;
  for (const void* frame : frames()) all.push_back(function_at(frame));
  return all;
}

bool StackSet::insert(const Stack& stack) {
  return seen_.emplace(stack.frames().begin(), stack.frames().end()).second;
}

}  // namespace drought
