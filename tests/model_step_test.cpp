// What the model workload refuses before it takes any memory.
#include "scenarios/models/model_step.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/gtest/armed_rig.hpp"
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

}  // namespace
}  // namespace drought
