// An option of an allocator that is one of two words, checked where the allocator is made.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace drought {

struct Choice {
  std::string_view allocator, option, first, second;
};

/// Whether `word` is the second of the two. Throws std::invalid_argument that names both for a third.
inline bool is_second(const Choice& choice, std::string_view word) {
  if (word != choice.first && word != choice.second)
    throw std::invalid_argument(std::string(choice.allocator) + ": unknown " + std::string(choice.option) +
                                " '" + std::string(word) + "'; known: " + std::string(choice.first) + ", " +
                                std::string(choice.second));
  return word == choice.second;
}

}  // namespace drought
