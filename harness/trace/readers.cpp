#include "harness/trace/readers.hpp"

#include "harness/trace/bfc_dump.hpp"
#include "harness/trace/nsight.hpp"
#include "harness/trace/rmm_log.hpp"
#include "harness/trace/snapshot.hpp"

namespace drought {
namespace {

constexpr TraceReader kReaders[] = {
    {"pytorch", "a pickle of torch.cuda.memory._snapshot()", is_pickle, read_snapshot_trace},
    {"nsight", "an SQLite export of Nsight Systems with --cuda-memory-usage", is_sqlite, read_nsight},
    {"rmm", "a CSV log of RMM's logging_resource_adaptor, or its logger's messages", is_rmm_log,
     read_rmm_log},
    {"bfc", "a log with the dump of TensorFlow's BFC allocator", is_bfc_dump, read_bfc_dump},
};

}  // namespace

std::span<const TraceReader> trace_readers() { return kReaders; }

Trace read_trace(TraceFile file) {
  for (const TraceReader& reader : kReaders) {
    if (!reader.recognises(file)) continue;
    Trace trace = reader.read(file);
    trace.recorder = reader.name;
    return trace;
  }
  std::string known;
  for (const TraceReader& reader : kReaders)
    known += (known.empty() ? "" : "; ") + std::string(reader.summary);
  throw TraceError(file.path() + ": offset 0: no known kind of trace; known: " + known);
}

Trace read_trace(const std::string& path) { return read_trace(TraceFile(path)); }

}  // namespace drought
