#include "harness/report/report.hpp"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/result_json.hpp"

namespace drought {
namespace {

using nlohmann::json;

json to_json(const SweepResult& result) {
  json failures = json::array();
  for (const SweepFailure& failure : result.failures)
    failures.push_back({{"point", failure.point},
                        {"site", name(failure.site)},
                        {"verdict", name(failure.verdict)},
                        {"message", failure.message},
                        {"repeat", failure.repeat}});
  return {{"scenario", result.scenario}, {"points", result.points}, {"thinned", result.thinned},
          {"struck", result.struck},     {"sites", result.sites},   {"verdicts", result.verdicts},
          {"failures", failures},        {"why", result.why},       {"skipped", result.skipped},
          {"wall_ms", result.wall_ms}};
}

json to_json(const FuzzResult& result) {
  return {{"workload", result.workload},     {"runs", result.runs},           {"discarded", result.discarded},
          {"verdict", name(result.verdict)}, {"message", result.message},     {"attempts", result.attempts},
          {"steps", result.steps},           {"processes", result.processes}, {"switches", result.switches},
          {"strikes", result.strikes},       {"scenario", result.scenario},   {"repeat", result.repeat}};
}

json to_json(const HeldMemory& held) {
  return {{"device", held.device},
          {"event", held.event},
          {"reserved_bytes", held.reserved_bytes},
          {"live_bytes", held.live_bytes},
          {"idle_bytes", held.idle_bytes()},
          {"largest_hole_bytes", held.largest_hole_bytes},
          {"compaction_frees_bytes", held.compaction_frees_bytes}};
}

json to_json(const FirstRefusal& refusal) {
  json out = to_json(static_cast<const HeldMemory&>(refusal));
  out["request_bytes"] = refusal.request_bytes;
  out["stream"] = refusal.stream;
  out["free_bytes"] = refusal.free_bytes;
  out["shortage"] = refusal.shortage();
  out["why"] = refusal.why;
  return out;
}

json to_json(const ReplayReport& report) {
  const ReplayResult& result = report.result;
  json differences = nullptr;
  if (result.differences) differences = *result.differences;
  json out{{"trace", result.trace},
           {"events", result.events},
           {"compared", result.compared},
           {"differences", differences},
           {"first_difference", result.first_difference},
           {"inferred",
            {{"empty_cache", result.inferred.empty_cache},
             {"pool", result.inferred.pool},
             {"cap", result.inferred.cap},
             {"start", result.inferred.start},
             {"refusal", result.inferred.refusal}}},
           {"unverified_ages", result.unverified_ages},
           {"refused", result.refused},
           {"reserved_bytes", result.reserved_bytes},
           {"live_bytes", result.live_bytes},
           {"peak_reserved_bytes", result.peak_reserved_bytes},
           {"ns_per_op", result.ns_per_op}};
  if (!report.refit) return out;
  const Refit& refit = *report.refit;
  out["allocator"] = refit.allocator;
  out["capacity_bytes"] = refit.capacity_bytes;
  out["fits"] = refit.fits;
  out["first_refusal"] = refit.first_refusal ? to_json(*refit.first_refusal) : json();
  out["peak"] = to_json(refit.peak);
  out["peak_live_bytes"] = refit.peak_live_bytes;
  out["driver_calls"] = refit.driver_calls;
  out["granularity_bytes"] = refit.granularity_bytes;
  if (refit.sought_capacity)
    out["least_capacity_bytes"] = refit.least_capacity_bytes ? json(*refit.least_capacity_bytes) : json();
  return out;
}

template <typename Result>
void write_results(const std::string& path, const std::string& command, std::uint64_t seed,
                   const std::vector<Result>& results) {
  json list = json::array();
  for (const Result& result : results) list.push_back(to_json(result));
  std::ofstream out(path);
  out << json{{"command", command}, {"seed", seed}, {"version", DROUGHT_VERSION}, {"results", list}}.dump(
             2, ' ', false, json::error_handler_t::replace)
      << '\n';
  if (!out.flush()) throw UserError(path + ": cannot be written");
}

}  // namespace

void print_line(std::ostream& out, const RunResult& result) {
  out << std::left << std::setw(14) << name(result.verdict) << result.scenario << "  " << result.title
      << '\n';
  if (!result.why.empty()) out << std::string(14, ' ') << result.why << '\n';
  if (!is_good(result.verdict)) out << std::string(14, ' ') << "repeat: " << result.repeat << '\n';
}

void print_table(std::ostream& out, const std::vector<RunResult>& results) {
  std::map<std::string, std::size_t> counts;
  double wall_ms = 0;
  std::uint64_t calls = 0;
  for (const RunResult& result : results) {
    ++counts[std::string(name(result.verdict))];
    wall_ms += result.wall_ms;
    calls += result.calls;
  }
  out << '\n'
      << std::left << std::setw(16) << "verdict" << std::right << std::setw(10) << "scenarios" << '\n';
  for (const auto& [verdict, count] : counts)
    out << std::left << std::setw(16) << verdict << std::right << std::setw(10) << count << '\n';
  out << std::left << std::setw(16) << "all" << std::right << std::setw(10) << results.size() << "  " << calls
      << " calls, " << std::fixed << std::setprecision(0) << wall_ms << " ms\n";
}

void print_line(std::ostream& out, const SweepResult& result) {
  out << std::left << std::setw(14)
      << (result.skipped  ? "skipped"
          : result.good() ? "survived"
                          : "failed")
      << result.scenario << "  " << result.points << " points, " << result.struck << " strikes";
  if (result.thinned) out << ", " << result.thinned << " points thinned out";
  for (const auto& [verdict, count] : result.verdicts) out << ", " << verdict << ' ' << count;
  out << '\n';
  if (!result.why.empty()) out << std::string(14, ' ') << result.why << '\n';
  std::size_t shown = 0;
  for (const SweepFailure& failure : result.failures) {
    if (++shown > 5) {
      out << std::string(14, ' ') << "and " << result.failures.size() - 5 << " more failures\n";
      break;
    }
    out << std::string(14, ' ') << name(failure.verdict) << " at call " << failure.point << ", "
        << name(failure.site) << ": " << failure.message << '\n'
        << std::string(14, ' ') << "repeat: " << failure.repeat << '\n';
  }
  out << std::flush;  // A sweep takes minutes; whoever reads along in a pipe wants each line now.
}

void print_table(std::ostream& out, const std::vector<SweepResult>& results) {
  std::uint64_t points = 0, struck = 0, failures = 0;
  for (const SweepResult& result : results) {
    points += result.points;
    struck += result.struck;
    failures += result.failures.size() + (!result.why.empty() && !result.skipped);
  }
  out << '\n'
      << results.size() << " scenarios, " << points << " points, " << struck << " strikes, " << failures
      << " failures\n";
  std::string never;
  for (int i = 0; i < site_count; ++i) {
    const std::string site(name(static_cast<Site>(i)));
    const auto reached = [&](const SweepResult& result) { return result.sites.contains(site); };
    if (!documented_errors(static_cast<Site>(i)).empty() &&
        std::none_of(results.begin(), results.end(), reached))
      never += (never.empty() ? "" : ", ") + site;
  }
  if (!never.empty()) out << "no run came by " << never << '\n';
}

void print_line(std::ostream& out, const FuzzResult& result) {
  const std::string indent(14, ' ');
  out << std::left << std::setw(14) << name(result.verdict) << result.workload << "  " << result.runs
      << " runs, " << result.discarded << " of them no scenario\n";
  if (result.scenario.empty()) return;
  out << indent << result.message << '\n'
      << indent << "shrunk in " << result.attempts << " attempts to " << result.steps << " steps of "
      << result.processes << " processes, " << result.switches << " switches, " << result.strikes
      << " strikes\n"
      << indent << "repeat: " << result.repeat << '\n';
}

namespace {

/// "6 empty_cache, 1 cap inferred", or "nothing inferred".
std::string inferred_text(const ReplayResult& result) {
  const std::pair<std::size_t, const char*> all[] = {{result.inferred.empty_cache, "empty_cache"},
                                                     {result.inferred.pool, "pool"},
                                                     {result.inferred.cap, "cap"},
                                                     {result.inferred.start, "start segment"},
                                                     {result.inferred.refusal, "refusal"}};
  std::string text;
  for (const auto& [count, what] : all)
    if (count) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  text = (text.empty() ? "nothing" : text) + " inferred";
  if (result.unverified_ages) text += ", collection by age unverified";
  return text;
}

void print_compared(std::ostream& out, const ReplayResult& result) {
  const std::string verdict = !result.differences ? "statistics"
                              : *result.differences == 0
                                  ? "0 differences"
                                  : std::to_string(*result.differences) + " differences";
  out << std::left << std::setw(16) << verdict << result.trace << "  " << result.events << " events, "
      << result.compared << " compared, " << inferred_text(result) << ", peak "
      << format_bytes(result.peak_reserved_bytes) << ", " << std::fixed << std::setprecision(0)
      << result.ns_per_op << " ns an operation\n";
  if (!result.first_difference.empty())
    out << std::string(16, ' ') << "first: " << result.first_difference << '\n';
}

void print_refit(std::ostream& out, const ReplayResult& result, const Refit& refit) {
  const std::string indent(16, ' ');
  std::size_t calls = 0;
  for (const auto& [site, count] : refit.driver_calls) calls += count;
  out << std::left << std::setw(16) << (refit.fits ? "fits" : "does not fit") << result.trace << "  "
      << result.events << " events through " << refit.allocator << " in "
      << format_bytes(refit.capacity_bytes) << ", " << calls << " driver calls, " << std::fixed
      << std::setprecision(0) << result.ns_per_op << " ns an operation\n"
      << indent << "peak reserved " << format_bytes(refit.peak.reserved_bytes) << " at event "
      << refit.peak.event << ", of it idle " << format_bytes(refit.peak.idle_bytes()) << ", largest hole "
      << format_bytes(refit.peak.largest_hole_bytes) << ", compaction would free "
      << format_bytes(refit.peak.compaction_frees_bytes) << "; peak live "
      << format_bytes(refit.peak_live_bytes) << '\n';
  if (const auto& first = refit.first_refusal)
    out << indent << result.refused << " refused, the first at event " << first->event << " of device "
        << first->device << ": " << format_bytes(first->request_bytes) << " with "
        << format_bytes(first->free_bytes) << " free, " << format_bytes(first->idle_bytes())
        << " idle, largest hole " << format_bytes(first->largest_hole_bytes) << "; "
        << "by " << first->shortage() << '\n'
        << indent << first->why << '\n';
  if (!refit.sought_capacity) return;
  out << indent;
  if (refit.least_capacity_bytes)
    out << "least capacity " << format_bytes(*refit.least_capacity_bytes) << " ("
        << *refit.least_capacity_bytes << " B, to " << format_bytes(refit.granularity_bytes)
        << "), peak live " << format_bytes(refit.peak_live_bytes) << '\n';
  else
    out << "no capacity up to 64 TiB serves it\n";
}

}  // namespace

void print_line(std::ostream& out, const ReplayReport& report) {
  report.refit ? print_refit(out, report.result, *report.refit) : print_compared(out, report.result);
}

void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<RunResult>& results) {
  write_results(path, command, seed, results);
}

void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<SweepResult>& results) {
  write_results(path, command, seed, results);
}

void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<ReplayReport>& reports) {
  write_results(path, command, seed, reports);
}

void write_json(const std::string& path, const std::string& command, std::uint64_t seed,
                const std::vector<FuzzResult>& results) {
  write_results(path, command, seed, results);
}

}  // namespace drought
