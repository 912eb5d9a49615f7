#include "harness/diagnose/scenario_draft.hpp"

#include <algorithm>

#include "harness/device/profile.hpp"

namespace drought {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    const auto code = static_cast<unsigned char>(c);
    out += code < ' ' || code > 126 ? '?' : c;
  }
  return out + "\"";
}

}  // namespace

std::int64_t ScenarioDraft::context_bytes() {
  return static_cast<std::int64_t>(profile_named("h200").context_bytes);
}

std::int64_t ScenarioDraft::peer_context_bytes() {
  return static_cast<std::int64_t>(profile_named("h200").peer_context_bytes);
}

void ScenarioDraft::device_of(std::int64_t total_bytes) {
  device("capacity_bytes = " + std::to_string(std::max(total_bytes, context_bytes() + kGranularity)));
}

void ScenarioDraft::resource(const std::string& kind, const std::string& lines) {
  resources_ += "\n[[resource]]\nkind = \"" + kind + "\"\n" + lines;
}

void ScenarioDraft::limit(std::int64_t bytes) {
  resource("limit", "capacity_bytes = " + std::to_string(std::max<std::int64_t>(bytes, 1)) + "\n");
}

void ScenarioDraft::step(std::string_view verb, std::string_view name, std::int64_t bytes,
                         std::string_view more) {
  steps_ += "  { do = " + quoted(verb);
  if (!name.empty()) steps_ += ", name = " + quoted(name);
  if (bytes > 0) steps_ += ", bytes = " + std::to_string(bytes);
  steps_ += std::string(more) + " },\n";
}

void ScenarioDraft::hold(std::string_view name, std::int64_t bytes) {
  if (bytes > 0) step("allocate", name, bytes);
}

std::string ScenarioDraft::text(std::string_view title, std::string_view guards) const {
  return "title  = " + quoted(title) + "\nguards = " + quoted(guards) +
         "\n\n[device]\nprofile = \"h200\"\nwork = \"shapes\"\nlanes = [\"host\"]\n" + device_ + resources_ +
         "\n[workload]\nkind = \"script\"\n" + workload_ + "step = [\n" + steps_ + "]\n\n[expect]\n" +
         expect_;
}

}  // namespace drought
