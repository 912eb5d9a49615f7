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

/// A live block of the weights with this size.
void* weights_of(Rig& rig, std::size_t bytes) {
  for (const auto& [begin, block] : rig.ledger().accounts().front()->live())
    if (block.request.tag == "weights" && block.request.bytes == bytes) return reinterpret_cast<void*>(begin);
  return nullptr;
}

/// As a block that is lent twice would do. Every operation is right on what it reads.
TEST(ModelServer, SeesWeightsThatSomethingOverwroteWhereNoOperationsOracleDoes) {
  ArmedRig rig("[device]\nprofile = 'h200'\ncapacity_bytes = '640 MiB'\n");
  ModelStep::Options options;
  options.library_workspace_bytes = 1_MiB;
  ModelServer server(*rig.operator->(), model_named("tiny"), options);
  server.load();
  constexpr std::size_t bytes = 128 * 128 * 2;  // A layer's projection of keys, or of values.
  ASSERT_EQ(rig->device().memset(weights_of(*rig.operator->(), bytes), 0, bytes), Status::success);
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
