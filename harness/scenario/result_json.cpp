#include "harness/scenario/result_json.hpp"

#include <nlohmann/json.hpp>

namespace drought {
namespace {

using nlohmann::json;

/// The value whose name() is `word`; the last one for a word that is none, which to_json never writes.
template <typename Enum>
Enum named(const std::string& word, Enum last) {
  for (int i = 0; i < static_cast<int>(last); ++i)
    if (name(static_cast<Enum>(i)) == word) return static_cast<Enum>(i);
  return last;
}

}  // namespace

json to_json(const RunResult& result) {
  json checks = json::array(), faults = json::array();
  for (const CheckResult& check : result.checks)
    checks.push_back(
        {{"name", check.name}, {"ok", check.ok}, {"looked_at", check.looked_at}, {"message", check.message}});
  for (const FaultTally& fault : result.faults)
    faults.push_back({{"kind", fault.kind}, {"armed", fault.armed}, {"struck", fault.struck}});
  return {{"scenario", result.scenario},
          {"title", result.title},
          {"verdict", name(result.verdict)},
          {"outcome", name(result.outcome.kind)},
          {"message", result.outcome.message},
          {"checks", checks},
          {"faults", faults},
          {"attempts", result.attempts},
          {"peak_bytes", result.peak_bytes},
          {"live_bytes", result.live_bytes},
          {"calls", result.calls},
          {"wall_ms", result.wall_ms},
          {"why", result.why},
          {"repeat", result.repeat},
          {"decisions", result.decisions},
          {"diagnosis", result.diagnosis}};
}

RunResult result_from_json(const json& from) {
  RunResult result;
  result.scenario = from.at("scenario");
  result.title = from.at("title");
  result.verdict = named(from.at("verdict"), Verdict::skipped);
  result.outcome.kind = named(from.at("outcome"), Outcome::Kind::hung);
  result.outcome.message = from.at("message");
  for (const json& check : from.at("checks"))
    result.checks.push_back({check.at("name"), check.at("ok"), check.at("looked_at"), check.at("message")});
  for (const json& fault : from.at("faults"))
    result.faults.push_back({fault.at("kind"), fault.at("armed"), fault.at("struck")});
  result.attempts = from.at("attempts");
  result.peak_bytes = from.at("peak_bytes");
  result.live_bytes = from.at("live_bytes");
  result.calls = from.at("calls");
  result.wall_ms = from.at("wall_ms");
  result.why = from.at("why");
  result.repeat = from.at("repeat");
  result.decisions = from.at("decisions").get<std::vector<std::string>>();
  result.diagnosis = from.at("diagnosis");
  return result;
}

}  // namespace drought
