#include "harness/trace/trace_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace drought {
namespace {

constexpr std::size_t kHeadBytes = 4096;

class RegularFile {
 public:
  explicit RegularFile(const std::string& path)
      : path_(path), number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat about {};
    if (number_ < 0) throw TraceError(path + ": cannot be opened: " + std::strerror(errno));
    const bool is_known = ::fstat(number_, &about) == 0;
    if (is_known && S_ISREG(about.st_mode)) {
      bytes_ = static_cast<std::size_t>(about.st_size);
      return;
    }
    ::close(number_);
    throw TraceError(path + ": is not a regular file");
  }
  ~RegularFile() { ::close(number_); }
  RegularFile(const RegularFile&) = delete;

  std::size_t bytes() const { return bytes_; }

  FileBytes read(std::size_t bytes_max) const {
    const std::size_t wanted = std::min(bytes_, bytes_max);
    FileBytes bytes{std::unique_ptr<unsigned char[]>(new unsigned char[wanted + 1])};
    while (bytes.size < wanted) {
      const ssize_t got = ::read(number_, bytes.data.get() + bytes.size, wanted - bytes.size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw TraceError(path_ + ": cannot be read: " + std::strerror(errno));
      if (got == 0) break;
      bytes.size += static_cast<std::size_t>(got);
    }
    return bytes;
  }

 private:
  const std::string& path_;
  const int number_;
  std::size_t bytes_ = 0;
};

}  // namespace

FileBytes read_regular_file(const std::string& path) { return RegularFile(path).read(~std::size_t{0}); }

FileBytes copy_bytes(std::string_view bytes) {
  FileBytes copy{std::unique_ptr<unsigned char[]>(new unsigned char[bytes.size() + 1]), bytes.size()};
  std::copy(bytes.begin(), bytes.end(), copy.data.get());
  return copy;
}

TraceFile::TraceFile(std::string path) : path_(std::move(path)) {
  const RegularFile file(path_);
  head_ = file.read(kHeadBytes).text();
  size_ = file.bytes();
}

TraceFile::TraceFile(std::string name, FileBytes bytes)
    : path_(std::move(name)),
      bytes_(std::move(bytes)),
      size_(bytes_.size),
      is_loaded_(true),
      is_in_memory_(true) {
  head_ = bytes_.text().substr(0, kHeadBytes);
}

void TraceFile::load() {
  if (!is_loaded_) bytes_ = read_regular_file(path_);
  is_loaded_ = true;
}

std::string_view TraceFile::text() {
  load();
  return bytes_.text();
}

FileBytes TraceFile::take_bytes() {
  load();
  is_loaded_ = false;
  return std::move(bytes_);
}

bool Lines::next() {
  if (rest_.empty()) return false;
  const std::size_t end = std::min(rest_.find('\n'), rest_.size());
  line_ = rest_.substr(0, end);
  rest_.remove_prefix(std::min(end + 1, rest_.size()));
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  ++number_;
  return true;
}

void Lines::refuse(const std::string& what) const {
  throw TraceError(path_ + ":" + std::to_string(number_) + ": " + what);
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::optional<std::uint64_t> take_number(std::string_view& text, int base) {
  std::string_view digits = text;
  if (base == 16 && (digits.starts_with("0x") || digits.starts_with("0X"))) digits.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc()) return std::nullopt;
  text = digits.substr(static_cast<std::size_t>(end - digits.data()));
  return value;
}

std::optional<std::uint64_t> number_of(std::string_view text, int base) {
  const auto value = take_number(text, base);
  return text.empty() ? value : std::nullopt;
}

std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, 40));
  for (char& letter : shown)
    if (letter < ' ' || letter > '~') letter = '?';
  return "'" + shown + (text.size() > 40 ? "...'" : "'");
}

}  // namespace drought
