// How ranks stay together: after each stage every rank says how it went, and all act on the worst answer.
// A rank that retries alone would wait in a collective that nobody else enters, and the sizes would differ.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/memory/tag.hpp"
#include "harness/scenario/rig.hpp"
#include "harness/sched/group.hpp"

namespace drought {

/// Whether the error is a lack of memory, whatever it was wrapped in on its way (std::nested_exception).
bool is_out_of_memory(const std::exception& error);

/// The text of the innermost error: what the call that failed said.
std::string original_text(const std::exception& error);

class Agreement {
 public:
  /// Ordered from the worst.
  enum class Vote { failed, out_of_memory, fine };

  Agreement(Rig& rig, Group& group, int rank) : rig_(rig), group_(group), rank_(rank) {}

  /// Runs `stage` as phase `phase` once every rank has come to it, and answers the worst vote of all. An
  /// error is kept as its text or, one that is not a lack of memory, as itself: no frame stays alive.
  template <typename Stage>
  Vote on(Tag phase, Stage&& stage) {
    group_.barrier(rank_, "the phase " + std::string(phase.view()));
    rig_.ledger().set_phase(phase);
    error_ = nullptr;
    error_text_.clear();
    Vote mine = Vote::fine;
    try {
      stage();
    } catch (const Hung&) {
      throw;
    } catch (const std::exception& error) {
      mine = is_out_of_memory(error) ? Vote::out_of_memory : Vote::failed;
      error_text_ = original_text(error);
      error_ = std::current_exception();
      (void)rig_.device(rank_).take_last_error();  // It has been seen, here.
    }
    return static_cast<Vote>(group_.all_reduce(rank_, Group::Reduce::min, static_cast<std::int64_t>(mine)));
  }

  /// As on(). True when all is fine; rethrows this rank's error; false when only another rank has one.
  template <typename Stage>
  bool all(Tag phase, Stage&& stage) {
    if (on(phase, stage) == Vote::fine) return true;
    rethrow();
    return false;
  }

  /// Rethrows this rank's error, if it has one.
  void rethrow() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  bool has_error() const { return error_ != nullptr; }
  const std::string& error_text() const { return error_text_; }

  std::uint64_t least(std::uint64_t value) {
    return static_cast<std::uint64_t>(
        group_.all_reduce(rank_, Group::Reduce::min, static_cast<std::int64_t>(value)));
  }
  int rank() const { return rank_; }
  bool leads() const { return rank_ == 0; }

 private:
  Rig& rig_;
  Group& group_;
  const int rank_;
  std::exception_ptr error_;
  std::string error_text_;
};

}  // namespace drought
