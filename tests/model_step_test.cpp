// What the model workload refuses before it takes any memory, and what only the whole model in float64 sees.
#include "scenarios/models/model_step.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "harness/gtest/armed_rig.hpp"
#include "scenarios/models/model_server.hpp"
#include "tests/folder.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

constexpr const char* kStretched =
    R"({"model_type": "llama", "torch_dtype": "float32", "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 50,
        "rope_scaling": {"rope_type": "yarn", "factor": 4}})";

TEST(ModelStep, RefusesToComputeARopeScalingThatNoKernelHasAndPlansItAllTheSame) {
  const Folder folder;
  ModelStep::Options options;
  options.config = folder.file("config.json", kStretched);
  ArmedRig full("[device]\nprofile = 'h200'\ncapacity_bytes = '640 MiB'\n");
  try {
    ModelStep(options).run(*full.operator->());
    FAIL() << "computed";
  } catch (const UserError& mistake) {
    EXPECT_THAT(mistake.what(), HasSubstr("rope scaling 'yarn' is planned and not computed"));
  }
  EXPECT_EQ(full->record().allocations, 0u);
  ArmedRig shapes("[device]\nprofile = 'h200'\nwork = 'shapes'\n");
  ModelStep(options).run(*shapes.operator->());
  EXPECT_GT(shapes->record().launches, 0u);
}

/// Remembers where the weights lie.
class Remembering final : public Resource {
 public:
  explicit Remembering(Resource& upstream) : upstream_(upstream) {}
  void* allocate(Request request) override {
    void* const block = upstream_.allocate(request);
    if (request.tag == "weights") weights_.emplace_back(block, request.bytes);
    return block;
  }
  void deallocate(void* block, Request request) noexcept override { upstream_.deallocate(block, request); }

  const std::vector<std::pair<void*, std::size_t>>& weights() const { return weights_; }

 private:
  Resource& upstream_;
  std::vector<std::pair<void*, std::size_t>> weights_;
};

/// As a block that is lent twice would do. Every operation is right on what it reads.
TEST(ModelServer, SeesWeightsThatSomethingOverwroteWhereNoOperationsOracleDoes) {
  ArmedRig rig("[device]\nprofile = 'h200'\ncapacity_bytes = '640 MiB'\n");
  const Remembering& memory = rig.with<Remembering>("remembering");
  ModelStep::Options options;
  options.library_workspace_bytes = 1_MiB;
  ModelServer server(*rig.operator->(), model_named("tiny"), options);
  server.load();
  const auto [keys, bytes] = memory.weights().at(2);  // Of layer 0, behind its norm and its queries.
  ASSERT_EQ(rig->device().memset(keys, 0, bytes), Status::success);
  server.prefill();
  server.verify();
  const auto& comparisons = rig->record().comparisons;
  const auto is_whole = [](const OutputComparison& one) { return one.what.starts_with("the prompt of"); };
  EXPECT_EQ(std::ranges::count_if(comparisons, is_whole), 2);
  EXPECT_GT(comparisons.size(), 40u);
  for (const OutputComparison& one : comparisons) EXPECT_EQ(one.within, !is_whole(one)) << one.what;
}

}  // namespace
}  // namespace drought
