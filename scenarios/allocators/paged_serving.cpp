#include "scenarios/allocators/paged_serving.hpp"

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <vector>

#include "allocators/kv_sequences.hpp"
#include "scenarios/allocators/paged_cache.hpp"

namespace drought {
namespace {

using Id = KvSequences::Id;
using Token = KvSequences::Token;

struct Waiting {
  std::vector<Token> tokens;
  std::size_t tokens_end = 0;  ///< It finishes at this length.
  bool again = false;  ///< It was preempted; what forked once does not fork again.
};
struct Running {
  Id id = 0;
  std::size_t tokens_end = 0;
};

/// The requests of one run and what became of them.
class Server {
 public:
  Server(Rig& rig, const PagedServing::Options& options)
      : rig_(rig),
        options_(options),
        random_(rig.random(11)),
        cache_(rig, {.blocks = options.blocks,
                     .block_tokens = options.block_tokens,
                     .heads = options.heads,
                     .head_dim = options.head_dim,
                     .caching = options.caching,
                     .bug = options.bug}) {
    std::vector<std::vector<Token>> prefixes(options.prefixes);
    for (auto& prefix : prefixes)
      for (std::size_t i = 0; i < options.prompt_tokens_max; ++i) prefix.push_back(draw_token());
    for (std::size_t i = 0; i < options.requests; ++i) {
      const auto& prefix = prefixes[random_.below(prefixes.size())];
      std::vector<Token> prompt(
          prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(random_.below(prefix.size() + 1)));
      const std::size_t own = 1 + random_.below(options.prompt_tokens_max / 2);
      while (prompt.size() < options.prompt_tokens_max && prompt.size() < own) prompt.push_back(draw_token());
      if (prompt.empty()) prompt.push_back(draw_token());
      const std::size_t end = prompt.size() + 1 + random_.below(options.new_tokens_max);
      waiting_.push_back({std::move(prompt), end});
    }
  }

  void run() {
    for (std::size_t step = 1; !waiting_.empty() || !running_.empty(); ++step) {
      admit();
      if (step % options_.check_every == 0) cache_.verify(ids());
      for (std::size_t i = 0; i < running_.size(); ++i) grow(i);
      for (std::size_t i = running_.size(); i-- > 0;) {
        if (cache_.sequences().tokens(running_[i].id).size() < running_[i].tokens_end) continue;
        cache_.verify({running_[i].id});
        cache_.sequences().finish(running_[i].id);
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    rig_.decide("preemptions", preemptions_);
    rig_.decide("forks", forks_);
    rig_.decide("copies", cache_.copies());
    rig_.decide("evictions", cache_.pool().evictions());
    rig_.decide("cached_tokens", cached_tokens_);
  }

 private:
  Token draw_token() { return static_cast<Token>(random_.below(50'000)); }
  std::vector<Id> ids() const {
    std::vector<Id> all;
    for (const Running& each : running_) all.push_back(each.id);
    return all;
  }

  void admit() {
    while (!waiting_.empty() && running_.size() < options_.running_max) {
      KvSequences::Started started;
      try {
        started = cache_.start(waiting_.front().tokens);
      } catch (const OutOfMemory&) {
        if (running_.empty()) throw;  // No block will ever be freed.
        return;
      }
      cached_tokens_ += started.cached_tokens;
      running_.push_back({started.id, waiting_.front().tokens_end});
      const bool again = waiting_.front().again;
      waiting_.pop_front();
      const bool forks = options_.fork_one_in != 0 && random_.below(options_.fork_one_in) == 0;
      if (!forks || again || running_.size() >= options_.running_max) continue;
      const std::size_t end = cache_.sequences().tokens(started.id).size() + 1;
      running_.push_back({cache_.sequences().fork(started.id), end + random_.below(options_.new_tokens_max)});
      ++forks_;
    }
  }

  /// A token for the sequence at `i`. What started last gives its blocks up when there is none, as in vLLM,
  /// and is computed again later.
  void grow(std::size_t i) {
    const Token token = draw_token();
    for (;;) {
      try {
        return cache_.append(running_[i].id, token);
      } catch (const OutOfMemory&) {
        if (running_.size() == 1) throw;
      }
      const Running last = running_.back();
      waiting_.push_front({cache_.sequences().tokens(last.id), last.tokens_end, true});
      cache_.sequences().finish(last.id);
      running_.pop_back();
      ++preemptions_;
      if (i == running_.size()) return;  // It was itself the last.
    }
  }

  Rig& rig_;
  const PagedServing::Options& options_;
  Random random_;
  PagedCache cache_;
  std::deque<Waiting> waiting_;
  std::vector<Running> running_;
  std::size_t preemptions_ = 0, forks_ = 0, cached_tokens_ = 0;
};

}  // namespace

PagedServing::PagedServing(Options options) : options_(std::move(options)) {
  for (const std::size_t count : {options_.requests, options_.running_max, options_.block_tokens,
                                  options_.prefixes, options_.check_every, options_.new_tokens_max})
    if (count == 0) throw std::invalid_argument("counts must be above 0");
  if (options_.prompt_tokens_max < 2) throw std::invalid_argument("prompt_tokens_max must be above 1");
}

void PagedServing::run(Rig& rig) {
  Server(rig, options_).run();
  rig.ledger().mark_teardown({"paged_kv.slab", "v_pages", "q", "page_table", "seqlens", "out"});
}

}  // namespace drought
