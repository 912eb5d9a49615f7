#include "scenarios/span_cover/map_examiner.hpp"

#include <algorithm>
#include <map>
#include <string_view>

#include "scenarios/device_calls.hpp"

namespace drought {

/// Whether every region resolves as things are, so that asking takes nothing.
bool MapExaminer::serves_all() const {
  const Spans& regions = map_.cover().regions();
  return std::all_of(regions.begin(), regions.end(), [&](const SpanMap::Span& region) {
    return map_.is_cached(file_.base(), region.offset, region.bytes);
  });
}

bool MapExaminer::truth(const MapRequest& request) const {
  const SpanMap* const map = rig_.ledger().map_named(request.foreign ? "foreign" : "model");
  return map && map->covers(request.offset, request.bytes);
}

std::uint64_t MapExaminer::id_of(const MapRequest& request) const {
  return request.foreign ? foreign_.id() : rig_.ledger().map_named("model")->id;
}

void MapExaminer::ask(const std::vector<MapRequest>& requests, MapPath path_asked, Ask how) {
  std::map<std::string_view, std::size_t> read;
  std::uint64_t digest = 0;
  for (const MapRequest& request : requests) {
    const bool inside = truth(request);
    const std::size_t reads_max = request.kind == "tensor" ? tensor_reads_ : 1;
    const bool reads =
        request.bytes != 0 && request.bytes <= scratch_.bytes() && read[request.kind] < reads_max;
    if (inside && how == Ask::sample && !reads && request.bytes != 0) continue;
    const PartialMap::Answer answer = map_.resolve(base_of(request), request.offset, request.bytes);
    if (!answer.granted && !answer.refused) continue;
    if (how == Ask::all && answer.granted != map_.is_cached(base_of(request), request.offset, request.bytes))
      rig_.record().violate("span_cover", "resolving and is_cached disagree on offset " +
                                              std::to_string(request.offset) + ", " +
                                              std::to_string(request.bytes) + " B");
    const MapPath path = answer.granted ? answer.path : path_asked;
    granted_[static_cast<std::size_t>(path)] += answer.granted;
    rig_.record().span_answers.push_back(
        {std::string(name(path)), id_of(request), request.offset, request.bytes, answer.granted, inside});
    digest = Random(digest ^ request.offset ^ (request.bytes << 1) ^ answer.granted)();
    // Nothing is there to read past the end of the file.
    const bool in_file = request.offset <= file_.bytes() && request.bytes <= file_.bytes() - request.offset;
    if (!answer.granted || !reads || !in_file) continue;
    ++read[request.kind];
    read_back(request, answer);
  }
  rig_.record().output_digests.push_back(digest);
}

void MapExaminer::ask_whether_cached(const std::vector<MapRequest>& requests) {
  for (const MapRequest& request : requests) {
    const bool yes = map_.is_cached(base_of(request), request.offset, request.bytes);
    const bool inside = truth(request);
    granted_[static_cast<std::size_t>(MapPath::is_cached)] += yes;
    // "No" is right for what was never loaded.
    if (yes || !inside)
      rig_.record().span_answers.push_back({std::string(name(MapPath::is_cached)), id_of(request),
                                            request.offset, request.bytes, yes, inside});
  }
}

void MapExaminer::read_back(const MapRequest& request, const PartialMap::Answer& answer) {
  map_.copy_out(answer.data, request.bytes, scratch_.data());
  if (!rig_.full()) {
    must(rig_.device().stream_synchronize({}), "cudaStreamSynchronize");
    return;
  }
  std::vector<std::byte> seen(request.bytes), expected(request.bytes);
  must(rig_.device().memcpy(seen.data(), scratch_.data(), seen.size()), "cudaMemcpy");  // Waits.
  file_.read(request.offset, expected);
  const auto differ = std::mismatch(seen.begin(), seen.end(), expected.begin());
  rig_.record().comparisons.push_back({"bytes by " + std::string(name(answer.path)),
                                       differ.first == seen.end(),
                                       "offset " + std::to_string(request.offset) + ": byte " +
                                           std::to_string(differ.first - seen.begin()) + " differs"});
}

}  // namespace drought
