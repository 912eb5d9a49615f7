// What TensorFlow's BFC allocator (and XLA's, which shares it) writes to a log when it runs out of memory:
// the refused request, each region with its chunks in use and free, and its statistics. Releases differ in
// the order of a chunk's fields, in whether addresses begin with 0x, and in what else stands in a line, so
// each fact is looked for by its own words; lines that have none are another's.
//
// A dump is a state, not a history. It becomes segments and blocks, one alloc for each chunk in use, and
// then the refusals; of several dumps of one allocator the last is taken, with all refusals held against it.
#pragma once

#include "harness/trace/trace.hpp"
#include "harness/trace/trace_file.hpp"

namespace drought {

bool is_bfc_dump(TraceFile& file);
/// A device for each allocator named GPU_N_bfc. Refused requests whose bytes the log rounds to two decimals
/// have the rounded bytes. Throws TraceError with the line of a chunk that does not fit its region, and when
/// a region is not covered, as in a log that was cut off.
Trace read_bfc_dump(TraceFile& file);

}  // namespace drought
