// A server on vLLM's KV blocks under pressure: requests arrive, share prompts, fork, grow by a token a
// step, are preempted when no block is free, and finish. Every so many steps decode attention runs over the
// real page tables and is compared with an oracle that gives every sequence pages of its own, so that a
// block which is shared, evicted or overwritten wrongly shows as a wrong answer.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "harness/memory/bytes.hpp"
#include "harness/scenario/drawn.hpp"
#include "harness/scenario/key.hpp"
#include "harness/scenario/workload.hpp"

namespace drought {

class PagedServing final : public Workload {
 public:
  struct Options {
    std::size_t requests = 32;
    std::size_t running_max = 8;
    std::size_t blocks = 20;       ///< Of the pool, the null block included.
    std::size_t block_tokens = 8;  ///< The kernel's page size.
    std::size_t prompt_tokens_max = 40;
    std::size_t new_tokens_max = 24;
    std::size_t prefixes = 2;     ///< Prompts begin with one of so many texts, by chance in full or in part.
    std::size_t fork_one_in = 3;  ///< How often a request forks when it is admitted; 0: never.
    std::size_t check_every = 6;  ///< Steps.
    std::size_t heads = 2;
    std::size_t head_dim = 64;
    bool caching = true;
    /// none, what paged_kv knows, or no_copy_on_write: a shared block is written to.
    std::string bug = "none";
    static constexpr auto keys() {
      return std::tuple{key("requests", &Options::requests),
                        key("running_max", &Options::running_max),
                        key("blocks", &Options::blocks),
                        key("block_tokens", &Options::block_tokens),
                        key("prompt_tokens_max", &Options::prompt_tokens_max),
                        key("new_tokens_max", &Options::new_tokens_max),
                        key("prefixes", &Options::prefixes),
                        key("fork_one_in", &Options::fork_one_in),
                        key("check_every", &Options::check_every),
                        key("heads", &Options::heads),
                        key("head_dim", &Options::head_dim),
                        key("caching", &Options::caching),
                        key("bug", &Options::bug)};
    }
  };
  /// What `drought fuzz` draws.
  static constexpr DrawnOption drawn_options[] = {
      {"requests", 1, 24},          {"running_max", 1, 8},     {"blocks", 2, 24},    {"block_tokens", 1, 16},
      {"prompt_tokens_max", 1, 40}, {"new_tokens_max", 1, 24}, {"fork_one_in", 0, 4}};
  static constexpr Drawn drawn{.options = drawn_options};

  /// Throws std::invalid_argument for counts of nothing.
  explicit PagedServing(Options options);

  void run(Rig& rig) override;

 private:
  const Options options_;
};

}  // namespace drought
