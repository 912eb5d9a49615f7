#include "scenarios/span_cover/span_map.hpp"

#include <algorithm>
#include <stdexcept>

#include "scenarios/kernels/kernel_call.hpp"
#include "scenarios/span_cover/map_examiner.hpp"
#include "scenarios/span_cover/small_model.hpp"

namespace drought {
namespace {

constexpr std::size_t page_bytes = 4096;

/// What registration of the regions pins: the file's last page counts whole.
std::uint64_t whole_pages(const PageCover& cover) {
  std::uint64_t bytes = 0;
  for (const SpanMap::Span& region : cover.regions()) bytes += round_up(region.bytes, page_bytes);
  return bytes;
}

class Visit {
 public:
  Visit(Rig& rig, const SpanMapWorkload::Options& options, const std::vector<MapPath>& paths,
        MapDefects defects)
      : rig_(rig),
        options_(options),
        paths_(paths),
        kernel_(options.kernel.empty() ? nullptr : kernel_named(rig, options.kernel, options.shape)),
        layout_(kernel_
                    ? small_layout(*kernel_, static_cast<unsigned>(options.small_layers), layout_options())
                    : make_layout(layout_options())),
        slice_(parse_slice(options.layers, layout_.layers)),
        spans_(slice_spans(layout_, slice_)),
        file_(layout_.file_bytes),
        foreign_(rig.ledger(), layout_.file_bytes, page_bytes),
        map_(rig, {.page_bytes = page_bytes,
                   .stage_bytes = options.stage_bytes,
                   .arena = {.chunk_bytes = options.arena_chunk_bytes, .bytes_max = options.arena_bytes_max},
                   .copies_unregistered = options.copies_unregistered,
                   .defects = defects}),
        requests_(map_requests(layout_, slice_, page_bytes, rig.random(1), options.random_requests)) {
    if (kernel_ && rig.full()) fill_small_file(file_, layout_, *kernel_, rig.seed());
    std::uint64_t largest = 0;
    for (const ModelTensor& tensor : layout_.tensors) largest = std::max(largest, tensor.bytes);
    scratch_ = Buffer(rig.memory(), {.bytes = largest, .tag = "scratch"});
  }

  void run() {
    const std::uint64_t untouched = map_.digest();
    install();
    refuse_bad_tables();
    install_rearranged();
    for (const MapPath path : paths_) try_path(path);
    try_all();
    if (!options_.next_layers.empty()) replace_map();
    for (const MapPath path : paths_)
      rig_.decide("granted_by_" + std::string(name(path)), examiner_.granted(path));
    rig_.decide("fallbacks", rig_.record().fallbacks.size());
    map_.cleanup();
    keep_state("set up and cleaned up", untouched);
    scratch_.reset();
  }

 private:
  LayoutOptions layout_options() const { return {options_.model, options_.order, options_.header_bytes}; }

  void keep_state(std::string what, std::uint64_t before) {
    rig_.record().map_states.push_back({std::move(what), before, map_.digest()});
  }

  /// A table that is right was refused: nothing after it means anything.
  void set_map(const Spans& spans) {
    if (!map_.set_map(file_, spans))
      rig_.record().violate("span_cover", "a table inside the file was rejected");
  }

  /// What fails leaves the map as it was.
  template <typename Step>
  void all_or_nothing(const char* what, Step&& step) {
    const std::uint64_t before = map_.digest();
    try {
      step();
    } catch (const std::exception&) {
      keep_state(std::string(what) + ", which failed", before);
      throw;
    }
  }
  void register_regions() {
    all_or_nothing("registration of the spans", [&] { map_.register_regions(); });
  }

  void install() {
    const Phase phase(rig_, "install");
    set_map(spans_);
    register_regions();
    const PageCover cover(spans_, layout_.file_bytes, page_bytes);
    rig_.decide("spans", spans_.size());
    rig_.decide("span_bytes", sum_of(spans_));
    rig_.decide("file_bytes", layout_.file_bytes);
    rig_.decide("regions", cover.regions().size());
    rig_.decide("page_union_bytes", whole_pages(cover));
    rig_.decide("hole_bytes", cover.interval_bytes() - cover.bytes());
    rig_.decide("registered_bytes", map_.registered_bytes());
  }

  void refuse_bad_tables() {
    const Phase phase(rig_, "bad_tables");
    const std::uint64_t size = layout_.file_bytes, most = UINT64_MAX;
    const std::pair<const char*, Spans> tables[] = {
        {"of no spans", {}},
        {"with an empty span", {spans_.front(), {spans_.front().offset, 0}}},
        {"with a span past the file", {spans_.front(), {size + 1, 1}}},
        {"with a span at the end of the file", {spans_.front(), {size, 1}}},
        {"with a span that leaves the file", {spans_.front(), {size - 1, 2}}},
        {"with a span that ends at 0", {spans_.front(), {size - 1, most - size + 2}}},
        {"with a span of all numbers", {spans_.front(), {1, most}}},
        {"with a span at the end of numbers", {{most, 1}, spans_.front()}},
    };
    for (const auto& [what, table] : tables) {
      const std::uint64_t before = map_.digest();
      if (map_.set_map(file_, table))
        rig_.record().violate("span_cover", std::string("a table ") + what + " was accepted");
      keep_state(std::string("a table ") + what, before);
    }
  }

  /// The same spans in another order, twice, and with overlaps are the same map.
  void install_rearranged() {
    set_map(spans_);
    const std::uint64_t plain = map_.digest();
    Spans rearranged(spans_.rbegin(), spans_.rend());
    rearranged.insert(rearranged.end(), spans_.begin(), spans_.end());
    for (const SpanMap::Span& span : spans_)
      if (span.bytes > 1) rearranged.push_back({span.offset + 1, span.bytes - 1});
    map_.cleanup();
    set_map(rearranged);
    keep_state("the same spans rearranged", plain);
  }

  void try_path(MapPath path) {
    const Phase phase(rig_, Tag(name(path)));
    map_.cleanup();
    set_map(spans_);
    if (path == MapPath::is_cached) {
      register_regions();
      examiner_.ask_whether_cached(requests_);
      return;
    }
    switch (path) {
      case MapPath::registered:
      case MapPath::fd_fallback:
        register_regions();
        break;
      case MapPath::owned:
        all_or_nothing("an image of the spans", [&] { map_.own_regions(); });
        break;
      case MapPath::hmm:
        if (!map_.prefetch_regions())
          throw UserError("path 'hmm' needs a device profile that reads pageable memory");
        break;
      case MapPath::direct:
        map_.use_direct();
        break;
      case MapPath::cached:
        map_.allow({MapPath::device_copy});
        examiner_.ask(requests_, path, MapExaminer::Ask::sample);
        break;
      default:
        break;
    }
    // What the path cannot serve, because a call was refused it, is copied.
    map_.allow(path == MapPath::cached ? std::vector{path} : std::vector{path, MapPath::device_copy});
    examiner_.ask(requests_, path);
    if (path != MapPath::hmm && path != MapPath::direct) run_kernel();  // Kernels read no pageable memory.
  }

  void try_all() {
    const Phase phase(rig_, "all_paths");
    map_.cleanup();
    set_map(spans_);
    register_regions();
    examiner_.ask(requests_, MapPath::registered);
    examiner_.ask_whether_cached(requests_);
    run_kernel();
  }

  void replace_map() {
    const Phase phase(rig_, "next_map");
    const LayerSlice next = parse_slice(options_.next_layers, layout_.layers);
    set_map(slice_spans(layout_, next));
    register_regions();
    rig_.decide("next_registered_bytes", map_.registered_bytes());
    examiner_.ask(requests_, MapPath::registered);
    examiner_.ask(map_requests(layout_, next, page_bytes, rig_.random(2), options_.random_requests),
                  MapPath::registered);
  }

  /// The kernel on the first layer of the slice, its inputs where the resolver says they are.
  void run_kernel() {
    if (!kernel_) return;
    KernelCall::Given given;
    for (const Part& part : kernel_->plan()) {
      if (part.role != Part::Role::input || part.bytes == 0) continue;
      const std::string wanted = small_tensor(slice_.first, part.name);
      const auto tensor = std::find_if(layout_.tensors.begin(), layout_.tensors.end(),
                                       [&](const ModelTensor& each) { return each.name == wanted; });
      const PartialMap::Answer answer = map_.resolve(file_.base(), tensor->offset, tensor->bytes);
      if (!answer.granted) return;  // A path that serves only what it was given before.
      given[part.name] = const_cast<std::byte*>(answer.data);
    }
    KernelCall call(rig_, *kernel_, KernelCall::Where{.given_is_filled = true}, given);
    call.fill(rig_.seed() + slice_.first);
    call.launch();
    call.verify();
  }

  Rig& rig_;
  const SpanMapWorkload::Options& options_;
  const std::vector<MapPath>& paths_;
  const std::unique_ptr<Kernel> kernel_;
  const ModelLayout layout_;
  const LayerSlice slice_;
  const Spans spans_;
  ModelFile file_;
  ForeignMap foreign_;
  PartialMap map_;
  const std::vector<MapRequest> requests_;
  Buffer scratch_;
  MapExaminer examiner_{rig_, map_, file_, foreign_, scratch_, options_.reads};
};

}  // namespace

SpanMapWorkload::SpanMapWorkload(Options options)
    : options_(std::move(options)), defects_(MapDefects::named(options_.bug, options_.unguarded)) {
  for (const std::string& path : options_.paths) paths_.push_back(map_path_named(path));
  if (options_.paths.empty())
    for (int i = 0; i < map_path_count; ++i) paths_.push_back(static_cast<MapPath>(i));
  if ((options_.model == "small") != !options_.kernel.empty())
    throw std::invalid_argument("model 'small' and a kernel come together");
}

void SpanMapWorkload::run(Rig& rig) {
  Visit(rig, options_, paths_, defects_).run();
  rig.ledger().mark_teardown({"scratch", "arena", "device_copy", "owned_image"});
}

}  // namespace drought
