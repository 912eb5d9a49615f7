#include "scenarios/reports/holdings.hpp"

#include <algorithm>

#include "harness/memory/interfaces.hpp"

namespace drought {
namespace {

bool is_top(const Account& account, const std::vector<Account*>& accounts) {
  return std::none_of(accounts.begin(), accounts.end(),
                      [&](const Account* other) { return other->below() == &account; });
}

/// The pieces between what `top` has lent inside what it has borrowed.
void take_pieces(const Account& top, bool trims, Holdings& sum) {
  for (const auto& [begin, borrowed] : top.below()->live()) {
    std::uintptr_t at = begin;
    bool any = false;
    for (auto lent = top.live().lower_bound(begin); lent != top.live().end(); ++lent) {
      if (lent->first >= borrowed.end()) break;
      sum.hole_bytes = std::max<std::size_t>(sum.hole_bytes, lent->first - std::min(at, lent->first));
      at = lent->second.end();
      any = true;
    }
    sum.hole_bytes = std::max<std::size_t>(sum.hole_bytes, borrowed.end() - std::min(at, borrowed.end()));
    if (!any && trims) sum.releasable_bytes += borrowed.request.bytes;
  }
}

}  // namespace

Holdings holdings(Rig& rig) {
  Holdings sum;
  const std::vector<Account*>& accounts = rig.ledger().accounts();
  for (Account* const account : accounts) {
    if (!is_top(*account, accounts)) continue;
    const auto* const trims = dynamic_cast<const Trims*>(&account->resource());
    sum.live_bytes += account->live_bytes();
    sum.reserved_bytes +=
        trims ? trims->reserved_bytes() : (account->below() ? *account->below() : *account).live_bytes();
    if (!account->below()) continue;
    Holdings pieces;
    take_pieces(*account, trims != nullptr, pieces);
    sum.releasable_bytes += pieces.releasable_bytes;
    // One that can list its free blocks knows what it cannot join.
    if (const auto* const lists = dynamic_cast<const ListsFreeBlocks*>(&account->resource())) {
      pieces.hole_bytes = 0;
      for (const auto& block : lists->free_blocks())
        pieces.hole_bytes = std::max(pieces.hole_bytes, block.bytes);
    }
    sum.hole_bytes = std::max(sum.hole_bytes, pieces.hole_bytes);
  }
  return sum;
}

}  // namespace drought
