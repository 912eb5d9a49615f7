#include "harness/trace/rmm_log.hpp"

#include <algorithm>
#include <array>

namespace drought {
namespace {

constexpr std::string_view kHeader = "Thread,Time,Action,Pointer,Size,Stream";
constexpr std::int64_t kSecond_us = 1'000'000, kDay_us = 86'400 * kSecond_us;

enum Column { thread, time, action, pointer, size, stream, column_count };
using Row = std::array<std::string_view, column_count>;

std::optional<Row> split(std::string_view line) {
  Row row;
  for (std::string_view& field : row) {
    const bool is_last = &field == &row.back();
    const std::size_t comma = is_last ? line.size() : line.find(',');
    if (comma == std::string_view::npos) return std::nullopt;
    field = trimmed(line.substr(0, comma));
    line.remove_prefix(std::min(comma + 1, line.size()));
  }
  if (row.back().find(',') != std::string_view::npos) return std::nullopt;
  return row;
}

bool is_action(std::string_view word) {
  return word == "allocate" || word == "allocate failure" || word == "free" || word == "deallocate";
}

bool is_message(std::string_view line) { return line.starts_with('['); }
bool is_refusal(std::string_view line) {
  return line.find("][Upstream ") != std::string_view::npos &&
         line.find("][FAILURE ") != std::string_view::npos;
}

/// Six digits after the point, or fewer that stand for as many leading ones.
std::optional<std::int64_t> microseconds(std::string_view digits) {
  if (digits.empty() || digits.size() > 9) return std::nullopt;
  const auto value = number_of(digits);
  if (!value) return std::nullopt;
  auto scaled = static_cast<std::int64_t>(*value);
  for (std::size_t i = digits.size(); i < 6; ++i) scaled *= 10;
  for (std::size_t i = digits.size(); i > 6; --i) scaled /= 10;
  return scaled;
}

/// "11:32:47.761879", "11:32:47:761879" as older releases write it, or seconds since an epoch.
std::optional<std::int64_t> time_us(std::string_view text) {
  const std::size_t last = text.find_last_of(".:");
  if (last == std::string_view::npos) return std::nullopt;
  const auto fraction = microseconds(text.substr(last + 1));
  std::string_view before = text.substr(0, last);
  const auto first = take_number(before);
  if (!fraction || !first || *first > 1'000'000'000'000) return std::nullopt;
  if (before.empty()) return static_cast<std::int64_t>(*first) * kSecond_us + *fraction;
  std::int64_t seconds = static_cast<std::int64_t>(*first);
  for (int part = 0; part < 2; ++part) {
    if (!before.starts_with(':')) return std::nullopt;
    before.remove_prefix(1);
    const auto value = take_number(before);
    if (!value || *value > 60 || *first > 24) return std::nullopt;
    seconds = seconds * 60 + static_cast<std::int64_t>(*value);
  }
  return before.empty() ? std::optional(seconds * kSecond_us + *fraction) : std::nullopt;
}

class LogReader {
 public:
  explicit LogReader(TraceFile& file) : lines_(file.path(), file.text()) {
    trace_.name = file.path();
    // A free becomes two events, and a row has 20 bytes at least.
    const std::string_view text = file.text();
    const auto rows = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    trace_.device_traces.emplace_back().reserve(std::min(rows, text.size() / 20 + 1) * 3 / 2);
  }

  Trace read() {
    while (lines_.next()) {
      const std::string_view line = trimmed(lines_.line());
      if (line.empty() || line == kHeader) continue;
      if (is_message(line))
        read_message(line);
      else
        read_row(line);
    }
    return std::move(trace_);
  }

 private:
  void read_row(std::string_view line) {
    const auto row = split(line);
    if (!row) lines_.refuse("expected the six columns " + std::string(kHeader) + ", got " + quoted(line));
    const std::string_view what = (*row)[action];
    if (!is_action(what))
      lines_.refuse("unknown action " + quoted(what) + "; known: allocate, allocate failure, free");
    const auto at = time_us((*row)[time]);
    if (!at) lines_.refuse("the time " + quoted((*row)[time]) + " is not HH:MM:SS.ffffff");
    const auto bytes = number_of((*row)[size]);
    if (!bytes || *bytes >> 63) lines_.refuse("the size " + quoted((*row)[size]) + " is no number of bytes");
    TraceEvent event;
    event.time_us = advance(*at);
    event.bytes = *bytes;
    event.stream = stream_of((*row)[stream]);
    if (event.bytes == 0) return;
    if (what == "allocate failure") return add(event, TraceAction::oom);
    const auto address = number_of((*row)[pointer], 16);
    if (!address || *address == 0) lines_.refuse("the pointer " + quoted((*row)[pointer]) + " is no address");
    event.address = *address;
    if (what == "allocate") return add(event, TraceAction::alloc);
    add(event, TraceAction::free_requested);
    add(event, TraceAction::free_completed);
  }

  // Only refusals are events of the memory that the log is about; the logger says much else.
  void read_message(std::string_view line) {
    if (!is_refusal(line)) return;
    constexpr std::string_view kStream = "[Stream ", kBytes = "][Upstream ";
    TraceEvent event;
    event.time_us = latest_us_;
    if (const auto at = line.find(kStream); at != std::string_view::npos) {
      const std::string_view rest = line.substr(at + kStream.size());
      event.stream = stream_of(rest.substr(0, rest.find(']')));
    }
    std::string_view rest = line.substr(line.find(kBytes) + kBytes.size());
    const auto bytes = take_number(rest);
    if (!bytes || *bytes == 0 || *bytes >> 63 || !rest.starts_with('B'))
      lines_.refuse("a refused request without its bytes");
    event.bytes = *bytes;
    add(event, TraceAction::oom);
  }

  std::uint64_t stream_of(std::string_view text) {
    // std::hex without 0x for null, "(nil)" from printf.
    const auto handle = text == "(nil)" ? std::optional<std::uint64_t>(0) : number_of(text, 16);
    if (!handle) lines_.refuse("the stream " + quoted(text) + " is no handle");
    if (!streams_.add(*handle))
      lines_.refuse("more than " + std::to_string(trace_streams_max) + " different streams");
    return *handle;
  }

  std::int64_t advance(std::int64_t of_day_us) {
    if (of_day_us + days_us_ + kDay_us / 2 < latest_us_) days_us_ += kDay_us;
    return latest_us_ = of_day_us + days_us_;
  }

  void add(TraceEvent event, TraceAction action) {
    event.action = action;
    trace_.device_traces.front().push_back(event);
  }

  Lines lines_;
  Trace trace_;
  StreamSet streams_;
  std::int64_t latest_us_ = 0, days_us_ = 0;
};

}  // namespace

bool is_rmm_log(TraceFile& file) {
  Lines lines(file.path(), file.head());
  while (lines.next()) {
    const std::string_view line = trimmed(lines.line());
    if (line == kHeader || (is_message(line) && is_refusal(line))) return true;
    const auto row = split(line);
    if (row && is_action((*row)[action]) && time_us((*row)[time])) return true;
  }
  return false;
}

Trace read_rmm_log(TraceFile& file) { return LogReader(file).read(); }

}  // namespace drought
