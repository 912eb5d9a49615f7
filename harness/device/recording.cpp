#include "harness/device/recording.hpp"

#include <algorithm>

namespace drought {
namespace {

std::uintptr_t as_address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

template <typename Map, typename Key>
typename Map::mapped_type found_in(const Map& map, Key key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

}  // namespace

void Recordings::begin(Stream stream) { capturing_[stream.id] = std::make_shared<Recording>(); }

void Recordings::end(Stream stream, Graph graph) {
  const std::shared_ptr<Recording> recording = found_in(capturing_, stream.id);
  if (!recording) return;
  std::erase_if(capturing_, [&](const auto& entry) { return entry.second == recording; });
  std::erase_if(marks_, [&](const auto& entry) { return entry.second == recording; });
  if (graph.id == 0) return;
  recording->graph = graph;
  recording->title = "graph " + std::to_string(graph.id);
  graphs_[graph.id] = recording;
}

void Recordings::add(Stream stream, std::string_view who, std::span<const Operand> operands) {
  const std::shared_ptr<Recording> recording = found_in(capturing_, stream.id);
  if (!recording) return;
  for (const Operand& operand : operands) {
    const std::uintptr_t begin = as_address(operand.data), end = begin + operand.bytes;
    const bool is_own =
        std::any_of(recording->own.begin(), recording->own.end(),
                    [&](const Recording::Range& own) { return own.begin <= begin && end <= own.end; });
    const bool is_known =
        std::any_of(recording->operands.begin(), recording->operands.end(), [&](const Operand& known) {
          return known.data == operand.data && known.bytes == operand.bytes && known.access == operand.access;
        });
    if (is_own || is_known || operand.bytes == 0) continue;
    const std::string& name =
        recording->names.emplace_back(std::string(operand.name) + " of " + std::string(who));
    recording->operands.push_back({name, operand.data, operand.bytes, operand.access, operand.may_be_host});
  }
}

void Recordings::own(Stream stream, const void* begin, std::size_t bytes) {
  if (const std::shared_ptr<Recording> recording = found_in(capturing_, stream.id))
    recording->own.push_back({as_address(begin), as_address(begin) + bytes});
}

void Recordings::recorded(Event event, Stream stream) {
  if (std::shared_ptr<Recording> recording = found_in(capturing_, stream.id)) {
    marks_[event.id] = std::move(recording);
  } else {
    marks_.erase(event.id);
  }
}

void Recordings::waits(Stream stream, Event event) {
  if (std::shared_ptr<Recording> recording = found_in(marks_, event.id))
    capturing_[stream.id] = std::move(recording);
}

void Recordings::instantiated(GraphInstance instance, Graph graph) {
  if (std::shared_ptr<Recording> recording = found_in(graphs_, graph.id))
    instances_[instance.id] = std::move(recording);
}

std::shared_ptr<const Recording> Recordings::of(GraphInstance instance) const {
  return found_in(instances_, instance.id);
}

std::span<const Operand> Recordings::operands(Graph graph) const {
  const auto found = graphs_.find(graph.id);
  return found == graphs_.end() ? std::span<const Operand>() : found->second->operands;
}

}  // namespace drought
