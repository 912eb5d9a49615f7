// What can be measured; each source registers what it measures under names that begin with its subject.
#pragma once

namespace drought {

/// "pair/…": one cached allocate and free of each allocator; "account/…": the same through the ledger;
/// "armed/…": the same with ten faults armed.
/// "backed/…" and, where there is one, "gpu/…": an allocate and free on a device whose memory is real.
void register_allocator_benches();
/// "replay/…" and "parse/…": recorded traces of tests/data.
void register_trace_benches();
/// "scenario/…": whole runs on a simulated device.
void register_scenario_benches();
/// "kernels/gpu/…": kernels on a GPU at the shapes of served models, as medians and with a cold L2 cache.
void register_kernel_benches();
/// The same of decode attention, "kernels/gpu/decode/…".
void register_decode_benches();
/// "kernels/host/…": attention by simulated threads, in GFLOP/s of one core.
void register_host_kernel_benches();

}  // namespace drought
