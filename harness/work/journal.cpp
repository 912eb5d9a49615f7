#include "harness/work/journal.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/scenario/table.hpp"

namespace drought {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

/// FNV-1a, whose chance to take two of a million orders for one is 3e-8.
std::uint64_t digest(std::string_view order) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char letter : order) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return hash;
}

std::string header_line(const std::string& campaign) {
  return json{{"journal", kVersion}, {"drought", DROUGHT_VERSION}, {"campaign", campaign}}.dump() + '\n';
}

}  // namespace

Journal::Journal(const std::string& folder, const std::string& campaign) : path_(folder + "/journal.jsonl") {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw UserError(path_ + ": cannot be opened: " + std::strerror(errno));
  try {
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) throw UserError(path_ + ": another campaign is writing it");
    read(header_line(campaign));
  } catch (...) {
    close(file_);
    throw;
  }
}

Journal::~Journal() { close(file_); }

void Journal::read(const std::string& header) {
  std::ifstream in(path_, std::ios::binary);
  std::string line;
  if (!std::getline(in, line) || in.eof()) {
    // Nothing, or a header that was torn.
    if (header.compare(0, line.size(), line) != 0) throw UserError(path_ + ":1: is no journal of drought");
    if (ftruncate(file_, 0) != 0) throw UserError(path_ + ": cannot be written: " + std::strerror(errno));
    append(header);
    return;
  }
  const json found = json::parse(line, nullptr, false), wanted = json::parse(header);
  if (!found.is_object() || !found.contains("journal"))
    throw UserError(path_ + ":1: is no journal of drought");
  for (const char* const word : {"journal", "drought", "campaign"})
    if (!found.contains(word) || found[word] != wanted[word])
      throw UserError(path_ + ":1: is the journal of another " +
                      (std::string(word) == "campaign" ? "campaign: " : "version: ") +
                      found.value(word, json("nothing")).dump() + ", this one is " + wanted[word].dump());
  std::size_t number = 1;
  off_t good = static_cast<off_t>(line.size() + 1);
  while (std::getline(in, line)) {
    ++number;
    torn_ = in.eof();
    if (torn_) break;
    const json entry = json::parse(line, nullptr, false);
    try {
      answers_[entry.at("order").get<std::uint64_t>()] = {0, entry.at("answer").get<std::string>(),
                                                          entry.at("lost").get<bool>(),
                                                          entry.at("hung").get<bool>()};
    } catch (const json::exception&) {
      throw UserError(path_ + ":" + std::to_string(number) + ": is no answer of a campaign");
    }
    good += static_cast<off_t>(line.size() + 1);
  }
  if (torn_ && ftruncate(file_, good) != 0)
    throw UserError(path_ + ": cannot be written: " + std::strerror(errno));
}

void Journal::append(const std::string& line) {
  for (std::size_t written = 0; written < line.size();) {
    const ssize_t count = ::write(file_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw UserError(path_ + ": cannot be written: " + std::strerror(errno));
    written += static_cast<std::size_t>(count);
  }
}

const Done* Journal::answer_to(std::string_view order) const {
  const auto found = answers_.find(digest(order));
  return found == answers_.end() ? nullptr : &found->second;
}

void Journal::write(std::string_view order, const Done& done) {
  append(
      json{{"order", digest(order)}, {"answer", done.answer}, {"lost", done.lost}, {"hung", done.hung}}.dump(
          -1, ' ', false, json::error_handler_t::replace) +
      '\n');
}

}  // namespace drought
