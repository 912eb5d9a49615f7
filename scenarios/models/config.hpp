// Reads a model from the text of its config.json. Fields that drought does not need are passed over; one that
// it needs and that is missing, of another kind or out of range is told with its path in the file.
#pragma once

#include <string>
#include <string_view>

#include "scenarios/models/model.hpp"

namespace drought {

/// `file` is for messages. Throws std::invalid_argument "file: field: what" in one line, for an architecture
/// that is not known with those that are.
Model read_config(std::string_view text, const std::string& file);

/// The file at `path`, named after it. Throws std::invalid_argument also when it cannot be read or is over
/// 1 MiB, which no config is.
Model load_config(const std::string& path);

}  // namespace drought
