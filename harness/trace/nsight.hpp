// The SQLite export of Nsight Systems: the table CUDA_GPU_MEMORY_USAGE_EVENTS, which is there when the run
// was recorded with --cuda-memory-usage=true. What takes device memory is read (device, array and static
// allocations); pinned, pageable and managed memory lies elsewhere or moves, and is left out. The kinds and
// operations are looked up in the export's own ENUM tables where it has them.
//
// The file is opened read only and nothing in its schema is trusted: it may hold views, triggers and
// wrong types. Processes that share a device are told apart by the top bits of their addresses.
#pragma once

#include "harness/trace/trace.hpp"
#include "harness/trace/trace_file.hpp"

namespace drought {

bool is_sqlite(TraceFile& file);
/// Times are microseconds from the start of the recording. Throws TraceError with the row that is wrong.
Trace read_nsight(TraceFile& file);

}  // namespace drought
