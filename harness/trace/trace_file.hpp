// A recorded file as its readers see it: the beginning, by which it is recognised, the whole of it, and
// the one way in which it is refused. A reader believes nothing in it before it has checked it, and takes
// memory in proportion to the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/memory/one_line.hpp"

namespace drought {

/// A trace that cannot be read. One line, whatever it quotes: "file: offset N: what", "file:line: what" or
/// "file: path.to.field: what".
class TraceError : public std::runtime_error {
 public:
  explicit TraceError(std::string_view what) : std::runtime_error(one_line(what)) {}
};

/// The bytes of a file, owned.
struct FileBytes {
  std::unique_ptr<unsigned char[]> data;
  std::size_t size = 0;
  std::string_view text() const { return {reinterpret_cast<const char*>(data.get()), size}; }
};

/// All of a regular file. Throws TraceError.
FileBytes read_regular_file(const std::string& path);
FileBytes copy_bytes(std::string_view bytes);

class TraceFile {
 public:
  /// Reads the first bytes; throws TraceError when there is no such regular file.
  explicit TraceFile(std::string path);
  /// A file that was never on a disk; `name` stands in messages for its path.
  TraceFile(std::string name, FileBytes bytes);

  const std::string& path() const { return path_; }
  /// The first 4 KiB, or all of a shorter file.
  std::string_view head() const { return head_; }
  std::size_t bytes() const { return size_; }
  /// All of it, read when it is first asked for.
  std::string_view text();
  /// The same, given away.
  FileBytes take_bytes();
  /// Whether the bytes came with the object, so that there is nothing at path().
  bool is_in_memory() const { return is_in_memory_; }

 private:
  void load();

  std::string path_, head_;
  FileBytes bytes_;
  std::size_t size_ = 0;
  bool is_loaded_ = false, is_in_memory_ = false;
};

/// The lines of a text, with their numbers from 1, for errors.
class Lines {
 public:
  Lines(const std::string& path, std::string_view text) : path_(path), rest_(text) {}

  /// Moves to the next line; false at the end. A final carriage return is not part of a line.
  bool next();
  std::string_view line() const { return line_; }
  std::size_t number() const { return number_; }
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  const std::string& path_;
  std::string_view rest_, line_;
  std::size_t number_ = 0;
};

/// An allocator keeps a set of free blocks for each stream; PyTorch itself has 32 to a priority.
inline constexpr std::size_t trace_streams_max = 1024;
/// No machine has more GPUs.
inline constexpr std::size_t trace_devices_max = 256;

/// The different streams of a trace, up to trace_streams_max.
class StreamSet {
 public:
  /// False when `stream` is one more than a trace may have.
  bool add(std::uint64_t stream) {
    if (stream == latest_ && !streams_.empty()) return true;
    latest_ = stream;
    return !streams_.insert(stream).second || streams_.size() <= trace_streams_max;
  }

 private:
  std::uint64_t latest_ = 0;
  std::set<std::uint64_t> streams_;
};

std::string_view trimmed(std::string_view text);
/// All of `text` as a number without a sign. With base 16 a leading 0x is passed over.
std::optional<std::uint64_t> number_of(std::string_view text, int base = 10);
/// The digits that `text` begins with, taken off it.
std::optional<std::uint64_t> take_number(std::string_view& text, int base = 10);

/// `text` between quotes, cut at 40 bytes, with what cannot be printed as '?': a message stays one line.
std::string quoted(std::string_view text);

}  // namespace drought
