// What can be measured; each source registers what it measures under names that begin with its subject.
#pragma once

namespace drought {

/// "pair/…": one cached allocate and free of each allocator; "account/…": the same through the ledger;
/// "armed/…": with ten faults armed.
void register_allocator_benches();
/// "replay/…" and "parse/…": recorded traces of tests/data.
void register_trace_benches();

}  // namespace drought
