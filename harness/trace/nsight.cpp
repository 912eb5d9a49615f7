#include "harness/trace/nsight.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <map>

namespace drought {
namespace {

constexpr std::string_view kMagic("SQLite format 3\0", 16);
constexpr const char* kTable = "CUDA_GPU_MEMORY_USAGE_EVENTS";
// Virtual addresses of GPUs end below 2^57, so the bits above tell processes apart.
constexpr int kAddressBits = 57;
constexpr std::size_t kProcessesMax = std::size_t{1} << (64 - kAddressBits);
// A row takes more of its page. A damaged or hostile file can refer to one page thousands of times.
constexpr std::uint64_t kRowBytesMin = 8;
constexpr int kLookUpRowsMax = 256;

class Database {
 public:
  explicit Database(TraceFile& file) : path_(file.path()) {
    rows_left_ = file.bytes() / kRowBytesMin;
    const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    const bool is_in_memory = file.is_in_memory();
    if (is_in_memory) bytes_ = file.take_bytes();
    const int opened = is_in_memory ? sqlite3_open_v2(":memory:", &database_, SQLITE_OPEN_READWRITE, nullptr)
                                    : sqlite3_open_v2(path_.c_str(), &database_, flags, nullptr);
    if (opened != SQLITE_OK) refuse("cannot be opened as a database");
    if (is_in_memory &&
        sqlite3_deserialize(database_, "main", bytes_.data.get(), static_cast<sqlite3_int64>(bytes_.size),
                            static_cast<sqlite3_int64>(bytes_.size),
                            SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
      refuse("cannot be opened as a database");
    sqlite3_db_config(database_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(database_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(database_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    sqlite3_db_config(database_, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    sqlite3_limit(database_, SQLITE_LIMIT_LENGTH, 1 << 20);
    sqlite3_limit(database_, SQLITE_LIMIT_SQL_LENGTH, 1 << 16);
    sqlite3_limit(database_, SQLITE_LIMIT_ATTACHED, 0);
  }
  ~Database() { sqlite3_close_v2(database_); }
  Database(const Database&) = delete;

  [[noreturn]] void refuse(const std::string& what) const {
    std::string why = database_ ? sqlite3_errmsg(database_) : "no memory";
    if (sqlite3_errcode(database_) == SQLITE_OK) why.clear();
    for (char& letter : why)
      if (letter < ' ' || letter > '~') letter = '?';
    throw TraceError(path_ + ": " + what + (why.empty() ? "" : ": " + why.substr(0, 200)));
  }

  /// An ordinary table of this name: no view, nothing virtual.
  bool has_table(const char* name);

  void count_row() {
    if (rows_left_-- == 0) throw TraceError(path_ + ": more rows than a file of this size can hold");
  }

  sqlite3* get() const { return database_; }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  FileBytes bytes_;
  sqlite3* database_ = nullptr;
  std::uint64_t rows_left_ = 0;
};

class Query {
 public:
  Query(Database& database, const std::string& text) : database_(database) {
    if (sqlite3_prepare_v2(database.get(), text.c_str(), -1, &statement_, nullptr) != SQLITE_OK)
      database.refuse("has not the expected columns");
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;

  bool step() {
    const int result = sqlite3_step(statement_);
    if (result != SQLITE_ROW && result != SQLITE_DONE) database_.refuse("cannot be read");
    if (result == SQLITE_ROW) database_.count_row();
    return result == SQLITE_ROW;
  }
  bool is_integer(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_INTEGER; }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string_view text(int column) const {
    const auto* begin = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return begin ? std::string_view(begin, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
                 : std::string_view();
  }
  sqlite3_stmt* get() const { return statement_; }

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
};

bool Database::has_table(const char* name) {
  Query query(*this, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1 AND rootpage > 0");
  sqlite3_bind_text(query.get(), 1, name, -1, SQLITE_STATIC);
  return query.step();
}

std::string lower(std::string_view text) {
  std::string out(text.substr(0, 64));
  for (char& letter : out)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return out;
}

/// What CUDA_GPU_MEMORY_USAGE_EVENTS means by its numbers.
class Meaning {
 public:
  explicit Meaning(Database& database) {
    // CUpti_ActivityMemoryKind and nsys's own numbering, for exports without ENUM tables.
    kinds_ = {{0, false}, {1, false}, {2, true}, {3, true}, {4, false}, {5, true}, {6, false}, {7, false}};
    operations_ = {{0, TraceAction::alloc}, {1, TraceAction::free_completed}};
    look_up(database, "ENUM_CUDA_MEM_KIND", [this](std::int64_t id, const std::string& label) {
      const bool is_elsewhere = label.find("managed") != std::string::npos;
      kinds_[id] = !is_elsewhere &&
                   (label.find("device") != std::string::npos || label.find("array") != std::string::npos);
    });
    look_up(database, "ENUM_CUDA_DEV_MEM_EVENT_OPER", [this](std::int64_t id, const std::string& label) {
      if (label.find("dealloc") != std::string::npos || label.find("free") != std::string::npos)
        operations_[id] = TraceAction::free_completed;
      else if (label.find("alloc") != std::string::npos)
        operations_[id] = TraceAction::alloc;
    });
  }

  std::optional<bool> takes_device_memory(std::int64_t kind) const { return find(kinds_, kind); }
  std::optional<TraceAction> operation(std::int64_t type) const { return find(operations_, type); }

 private:
  template <typename Visit>
  static void look_up(Database& database, const char* table, Visit&& visit) {
    if (!database.has_table(table)) return;
    const std::string from = " FROM main." + std::string(table) + " LIMIT " + std::to_string(kLookUpRowsMax);
    Query query(database, "SELECT id, name" + from);
    while (query.step())
      if (query.is_integer(0)) visit(query.integer(0), lower(query.text(1)));
  }

  template <typename Known>
  static std::optional<typename Known::mapped_type> find(const Known& known, std::int64_t key) {
    const auto found = known.find(key);
    return found == known.end() ? std::nullopt : std::optional(found->second);
  }

  std::map<std::int64_t, bool> kinds_;
  std::map<std::int64_t, TraceAction> operations_;
};

class ExportReader {
 public:
  explicit ExportReader(TraceFile& file) : database_(file) { trace_.name = file.path(); }

  Trace read() {
    if (!database_.has_table(kTable))
      throw TraceError(database_.path() + ": has no table " + kTable +
                       "; record with nsys profile --cuda-memory-usage=true");
    const Meaning meaning(database_);
    Query query(database_,
                "SELECT start, globalPid, deviceId, address, bytes, memKind, memoryOperationType, "
                "rowid FROM main." +
                    std::string(kTable));
    while (query.step()) read_row(query, meaning);
    for (std::vector<TimedEvent>& events : devices_) put_in_order(events);
    return std::move(trace_);
  }

 private:
  enum Column { start, pid, device, address, bytes, kind, operation, row };
  struct TimedEvent {
    std::int64_t time_ns;
    TraceEvent event;
  };

  // Sorted here and not by SQLite, which would write what a hostile file repeats to the disk first.
  void put_in_order(std::vector<TimedEvent>& timed) {
    std::stable_sort(timed.begin(), timed.end(),
                     [](const TimedEvent& a, const TimedEvent& b) { return a.time_ns < b.time_ns; });
    auto& events = trace_.device_traces.emplace_back();
    for (TimedEvent& entry : timed) {
      if (entry.event.action == TraceAction::free_completed) {
        entry.event.action = TraceAction::free_requested;
        events.push_back(entry.event);
        entry.event.action = TraceAction::free_completed;
      }
      events.push_back(entry.event);
    }
    timed = {};
  }

  void read_row(const Query& query, const Meaning& meaning) {
    const auto refuse = [&](const std::string& what) {
      throw TraceError(database_.path() + ": " + kTable + " row " + std::to_string(query.integer(row)) +
                       ": " + what);
    };
    for (const int column : {start, device, address, bytes, kind, operation})
      if (!query.is_integer(column))
        refuse("'" + std::string(sqlite3_column_name(query.get(), column)) + "' is no integer");
    const auto takes = meaning.takes_device_memory(query.integer(kind));
    const auto action = meaning.operation(query.integer(operation));
    if (!takes) refuse("unknown memKind " + std::to_string(query.integer(kind)));
    if (!action) refuse("unknown memoryOperationType " + std::to_string(query.integer(operation)));
    const std::int64_t on = query.integer(device);
    if (on < 0 || on >= static_cast<std::int64_t>(trace_devices_max))
      refuse("deviceId is " + std::to_string(on) + ", outside 0 to " + std::to_string(trace_devices_max - 1));
    if (query.integer(bytes) < 0) refuse("bytes is negative");
    const auto at = static_cast<std::uint64_t>(query.integer(address));
    if (at >> kAddressBits) refuse("address is beyond what a GPU has");
    if (!*takes || query.integer(bytes) == 0 || at == 0) return;

    const std::int64_t process = query.is_integer(pid) ? query.integer(pid) : 0;
    const auto [known, is_new] = processes_.try_emplace(process, processes_.size());
    if (is_new && processes_.size() > kProcessesMax)
      refuse("more than " + std::to_string(kProcessesMax) + " processes");
    TraceEvent event;
    event.address = at | known->second << kAddressBits;
    event.bytes = static_cast<std::uint64_t>(query.integer(bytes));
    event.time_us = query.integer(start) / 1000;
    event.action = *action;
    if (devices_.size() <= static_cast<std::size_t>(on)) devices_.resize(static_cast<std::size_t>(on) + 1);
    devices_[static_cast<std::size_t>(on)].push_back({query.integer(start), event});
  }

  Database database_;
  Trace trace_;
  std::vector<std::vector<TimedEvent>> devices_;
  std::map<std::int64_t, std::uint64_t> processes_;
};

}  // namespace

bool is_sqlite(TraceFile& file) { return file.head().starts_with(kMagic); }

Trace read_nsight(TraceFile& file) { return ExportReader(file).read(); }

}  // namespace drought
