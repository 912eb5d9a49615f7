#include "scenarios/auto_profile/agreement.hpp"

#include <new>

namespace drought {

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return true;
  const auto* const refused = dynamic_cast<const DeviceError*>(&error);
  if (refused) return refused->status() == Status::memory_allocation;
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& inner) {
    return is_out_of_memory(inner);
  }
  return false;
}

std::string original_text(const std::exception& error) {
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& inner) {
    return original_text(inner);
  }
  return error.what();
}

}  // namespace drought
