// The log of RMM (rapidsai/rmm): the CSV of logging_resource_adaptor with the columns Thread, Time, Action,
// Pointer, Size, Stream (a header is written first, but Spark's and cut logs lack it), and the messages of
// its logger, of which those about refused requests are often all that is left of a run: "[A][Stream
// 0x1][Upstream 2139648B][FAILURE maximum pool size exceeded]". The two may be mixed.
//
// A log has one device, and times of day only: a clock that goes back by half a day has passed midnight.
#pragma once

#include "harness/trace/trace.hpp"
#include "harness/trace/trace_file.hpp"

namespace drought {

bool is_rmm_log(TraceFile& file);
/// An "allocate failure" becomes an oom; the driver's free bytes are not in the log and stay 0. Rows of no
/// bytes are passed over. Throws TraceError with the line of a row that is not of the format.
Trace read_rmm_log(TraceFile& file);

}  // namespace drought
