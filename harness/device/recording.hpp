// What a capture has recorded, as far as the ledger asks: the ranges that the calls in it declared. A
// graph makes those calls again with the same addresses, whoever owns them by then.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/device/launch.hpp"

namespace drought {

struct Event {
  std::uint64_t id = 0;
};
/// What a capture made; 0 is none.
struct Graph {
  std::uint64_t id = 0;
};
/// A graph made ready to launch: a cudaGraphExec_t.
struct GraphInstance {
  std::uint64_t id = 0;
};
/// Which calls of the program break the capture: those of any thread that could wait, those of the
/// capturing thread, or only those that cannot be.
enum class CaptureMode : std::uint8_t { global, thread, relaxed };
enum class CaptureStatus : std::uint8_t { none, active, invalidated };

struct Recording {
  Graph graph;
  std::string title;              ///< "graph 3".
  std::vector<Operand> operands;  ///< Each range once for each access, less what lies in the graph's own.
  std::deque<std::string> names;  ///< Where the operands' names live.
  struct Range {
    std::uintptr_t begin = 0, end = 0;
  };
  std::vector<Range> own;  ///< Lent by the graph's memory nodes.
};

class Recordings {
 public:
  void begin(Stream stream);
  /// The stream's capture ends as `graph`, or as nothing (id 0).
  void end(Stream stream, Graph graph);
  bool captures(Stream stream) const { return capturing_.count(stream.id) != 0; }
  bool captures(Event event) const { return marks_.count(event.id) != 0; }

  // Of a stream that captures nothing, the next four are no news.
  void add(Stream stream, std::string_view who, std::span<const Operand> operands);
  void own(Stream stream, const void* begin, std::size_t bytes);
  void recorded(Event event, Stream stream);
  /// A stream that waits for a captured event belongs to the capture from then on.
  void waits(Stream stream, Event event);

  void instantiated(GraphInstance instance, Graph graph);
  void forget(Graph graph) { graphs_.erase(graph.id); }
  void forget(GraphInstance instance) { instances_.erase(instance.id); }
  /// Null for what is not known.
  std::shared_ptr<const Recording> of(GraphInstance instance) const;
  std::span<const Operand> operands(Graph graph) const;

 private:
  std::map<std::uint64_t, std::shared_ptr<Recording>> capturing_;  ///< By stream.
  std::map<std::uint64_t, std::shared_ptr<Recording>> marks_;      ///< By event.
  std::map<std::uint64_t, std::shared_ptr<Recording>> graphs_, instances_;
};

}  // namespace drought
