// A run's result as JSON, and back: what --json writes and what a child hands to its parent.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/scenario/run.hpp"

namespace drought {

nlohmann::json to_json(const RunResult& result);
/// Throws nlohmann::json::exception for what to_json did not write.
RunResult result_from_json(const nlohmann::json& json);

}  // namespace drought
