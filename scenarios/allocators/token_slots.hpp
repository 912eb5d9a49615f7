// A server on LightLLM's token slots under pressure: every request holds a list of slots, one a token, a
// decode step asks for the slots of all running requests at once, and the padded rows of its batch write to
// the hold row. When a step's slots are not there, the request that started last is paused: it gives its
// slots back and is computed again later. Each request's slots are read back before they are freed, so that
// one which two requests hold, or which the padding wrote to, shows as a wrong byte.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class TokenSlots final : public Workload {
 public:
  struct Options {
    std::size_t requests = 12;
    std::size_t running_max = 4;  ///< And the rows of a decode batch, padding included.
    std::size_t slots = 64;
    std::size_t slot_bytes = 512;
    std::size_t prompt_tokens_max = 24;
    std::size_t new_tokens_max = 12;
    /// none; hold_issued: the hold row is among the free slots; frees_twice: a paused request's list is given
    /// back once more, and the cache believes it, as LightLLM's free() does.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("requests", &Options::requests),
                        key("running_max", &Options::running_max),
                        key("slots", &Options::slots),
                        key("slot_bytes", &Options::slot_bytes),
                        key("prompt_tokens_max", &Options::prompt_tokens_max),
                        key("new_tokens_max", &Options::new_tokens_max),
                        key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {{"requests", 1, 24},
                                                  {"running_max", 1, 8},
                                                  {"slots", 1, 96},
                                                  {"prompt_tokens_max", 1, 24},
                                                  {"new_tokens_max", 1, 24}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for counts of nothing and an unknown bug.
  explicit TokenSlots(Options options);

  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
