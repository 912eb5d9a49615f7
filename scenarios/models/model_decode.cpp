// The decode half of a model's server: a program, inputs and a graph for each batch size.
#include <algorithm>
#include <bit>

#include "scenarios/device_calls.hpp"
#include "scenarios/digest.hpp"
#include "scenarios/models/model_server.hpp"
#include "scenarios/pool_scope.hpp"

namespace drought {
namespace {

constexpr std::uint8_t kPoison = 0xFF;  // Every IEEE format reads it as NaN.

}  // namespace

struct ModelServer::DecodeBatch {
  DecodeBatch(ModelServer& server, std::size_t rows)
      : size(rows),
        pools(server.options_.captures ? dynamic_cast<Pools*>(&server.rig_.allocator()) : nullptr),
        inputs(server.rig_, server.meter_, server.stream_),
        program({.rig = &server.rig_,
                 .memory = &server.rig_.memory(),
                 .meter = &server.meter_,
                 .stream = server.stream_,
                 .keeps_memory = true,
                 .judges_each = !server.options_.captures}) {
    if (pools) pools->create_pool(pool(), {});
  }
  ~DecodeBatch() {
    graph.reset();
    leases.clear();
    program.release();
    if (pools) pools->release_pool(pool());
  }
  DecodeBatch(const DecodeBatch&) = delete;
  DecodeBatch& operator=(const DecodeBatch&) = delete;

  /// Kept as long as the graph may be replayed.
  PoolId pool() const { return {.first = 0, .second = size}; }

  const std::size_t size;
  Pools* const pools;
  /// Token ids, slots, lengths, page table, numbers to draw by, positions, in this order.
  ProgramInputs inputs;
  Program program;
  DecoderOutput output;
  std::vector<Lease> leases;
  std::optional<CapturedGraph> graph;
  void *graph_logits = nullptr, *graph_tokens = nullptr;
};

ModelServer::ModelServer(Rig& rig, const Model& model, const ModelStep::Options& options)
    : rig_(rig),
      model_(model),
      options_(options),
      meter_(rig, 0),
      prompt_logits_(options.sequences),
      last_logits_(options.sequences),
      streams_(rig.device(), options.captures ? 2 : 1),
      stream_(streams_[0]) {
  if (options_.image_patches != 0) layout_.emplace(model_.vision, options_.image_patches);
  const Random random = rig_.random(1);
  for (std::size_t s = 0; s < options_.sequences; ++s) {
    Random draw = random.split(s);
    std::vector<std::int32_t>& prompt = tokens_.emplace_back();
    for (std::size_t i = 0; i < prompt_tokens(s); ++i)
      prompt.push_back(static_cast<std::int32_t>(draw.below(model_.vocab)));
  }
}

ModelServer::~ModelServer() = default;

void ModelServer::upload(DecodeBatch& batch, std::uint64_t draw) {
  const std::size_t width = cache_->pages_each();
  const std::size_t axes = token_positions(rope(), nullptr, 0, 1).size();
  std::vector<std::int32_t> ids, slots, lengths, table(batch.size * width), positions(axes * batch.size);
  for (std::size_t s = 0; s < batch.size; ++s) {
    const std::size_t length = tokens_[s].size();
    ids.push_back(tokens_[s].back());
    slots.push_back(cache_->slot(s, options_.bug == "slot_before" ? length - 2 : length - 1));
    lengths.push_back(static_cast<std::int32_t>(length));
    for (std::size_t p = 0; p < width; ++p) table[s * width + p] = cache_->page(s, p);
    const ImageLayout* const image = options_.bug == "image_forgotten" ? nullptr : image_of(s);
    const std::vector<std::int32_t> place = token_positions(rope(), image, length - 1, 1);
    for (std::size_t axis = 0; axis < axes; ++axis) positions[axis * batch.size + s] = place[axis];
  }
  if (options_.bug == "wrong_page" && batch.size > 1) table[0] = cache_->page(1, 0);
  const std::vector<float> drawn = draws(batch.size, draw);
  batch.inputs.upload(0, bytes_of(ids));
  batch.inputs.upload(1, bytes_of(slots));
  batch.inputs.upload(2, bytes_of(lengths));
  batch.inputs.upload(3, bytes_of(table));
  if (rig_.full()) batch.inputs.upload(4, bytes_of(drawn));
  if (model_.latent.kv_rank == 0) batch.inputs.upload(5, bytes_of(positions));
}

ModelServer::DecodeBatch& ModelServer::batch_of(std::size_t size) {
  for (const auto& batch : batches_)
    if (batch->size == size) return *batch;
  auto made = std::make_unique<DecodeBatch>(*this, size);
  Program& program = made->program;
  const std::vector<std::int32_t> integers(size), table(size * cache_->pages_each());
  std::vector<std::int32_t> rows;
  for (std::size_t s = 0; s < size; ++s) rows.push_back(static_cast<std::int32_t>(s));
  DecoderBatch batch{.tokens = size, .sampled = size, .splits = options_.splits};
  batch.ids = made->inputs.add(program, "ids", bytes_of(integers));
  batch.slots = made->inputs.add(program, "slots", bytes_of(integers));
  batch.seqlens = made->inputs.add(program, "seqlens", bytes_of(integers));
  batch.page_table = made->inputs.add(program, "page_table", bytes_of(table));
  batch.uniforms = made->inputs.add(program, "uniforms", bytes_of(std::vector<float>(size)), true);
  if (model_.latent.kv_rank == 0)
    batch.rotation = rotation(program, made->inputs, rope(), token_positions(rope(), nullptr, 0, size));
  batch.sampled_rows = made->inputs.add(program, "sampled_rows", bytes_of(rows));
  DecoderOptions options = decoder_options();
  options.drops_residual = options_.bug == "residual_dropped";
  made->output = Decoder(program, model_, *weights_, *cache_, options).add(batch);
  batches_.push_back(std::move(made));
  return *batches_.back();
}

ModelServer::Result ModelServer::run_decode(DecodeBatch& batch, std::uint64_t draw) {
  upload(batch, draw);
  Program& program = batch.program;
  const PoolScope scope(batch.pools, batch.pool());
  program.run();
  Result eager = read(program.data(batch.output.logits), program.data(batch.output.tokens), batch.size);
  if (!options_.captures) return eager;
  if (!batch.graph) {
    batch.graph.emplace(rig_.device(), stream_, [&] { program.run(); });
    batch.graph_logits = program.data(batch.output.logits);
    batch.graph_tokens = program.data(batch.output.tokens);
    if (options_.bug != "scratch_freed")
      batch.leases = program.leases("graph of batch " + std::to_string(batch.size));
  }
  if (options_.bug == "scratch_freed") program.release();
  must(rig_.device().memset(batch.graph_logits, kPoison, batch.size * model_.vocab * sizeof(float), stream_),
       "cudaMemset");
  batch.graph->launch(stream_);
  Result replayed = read(batch.graph_logits, batch.graph_tokens, batch.size);
  compare_bits("replay of the graph of batch " + std::to_string(batch.size), eager, replayed);
  return replayed;
}

void ModelServer::decode() {
  const std::size_t base = meter_.reserved_bytes();
  meter_.restart_peak();
  for (std::size_t i = 0; i < options_.decode_steps; ++i) {
    const auto& sizes = options_.decode_batches;
    DecodeBatch& batch = batch_of(sizes.empty() ? options_.sequences : sizes[i % sizes.size()]);
    const Result result = run_decode(batch, 0x100 + i);
    for (std::size_t s = 0; s < batch.size; ++s) {
      tokens_[s].push_back(result.tokens[s]);
      if (!rig_.full()) continue;
      const auto row = result.logits.begin() + static_cast<std::ptrdiff_t>(s * model_.vocab);
      last_logits_[s].assign(row, row + static_cast<std::ptrdiff_t>(model_.vocab));
    }
    if (rig_.full()) rig_.record().output_digests.push_back(digest_of(bytes_of(result.logits)));
  }
  note_peak("decode_peak_bytes", base);
}

}  // namespace drought
