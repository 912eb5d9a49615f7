// The answers of a campaign on disk, so that one that was killed goes on where it stood: a header that says
// what the campaign is, then a line for each answer, appended whole. kill -9 can tear only the last line,
// which is then cut off and its order done again. An answer is found by the order's digest, so one whose
// scenario has changed meanwhile is not taken for the old one's.
//
// (Answers are handed to the kernel, not forced to the disk: they outlive the process, not a power cut.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "harness/work/workforce.hpp"

namespace drought {

class Journal {
 public:
  /// Begins the journal in `folder`, which is made, or opens the one that lies there. Throws UserError when
  /// that one is of another version of drought or of another `campaign` (one line), and when it cannot be
  /// read or written; it is left as it is then.
  Journal(const std::string& folder, const std::string& campaign);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// The answer to an order; null when there is none yet.
  const Done* answer_to(std::string_view order) const;
  /// Throws UserError when it cannot be written.
  void write(std::string_view order, const Done& done);

  std::size_t size() const { return answers_.size(); }
  /// A last line was torn and is gone.
  bool was_torn() const { return torn_; }

 private:
  void read(const std::string& header);
  void append(const std::string& line);

  std::string path_;
  int file_ = -1;
  bool torn_ = false;
  std::unordered_map<std::uint64_t, Done> answers_;
};

}  // namespace drought
