// The models' configurations: what is published of them follows from the files, and a wrong file is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "harness/memory/bytes.hpp"
#include "scenarios/models/config.hpp"
#include "scenarios/models/model.hpp"
#include "tests/named.hpp"

namespace drought {
namespace {

using testing::HasSubstr;

struct Published {
  const char* model;
  std::size_t decoder, tower, cell_bytes;
};

// Decoders: Llama-3-8B, Qwen2.5-7B, Qwen3-8B and DeepSeek-V3 by their model cards and reports, Qwen3.6's as
// llama.cpp counts it (34.66 B). With their towers Qwen2.5-VL-7B has 8,292,166,656 parameters, Qwen3-VL-8B
// 8,767,123,696 and InternVL3-8B 7,944,373,760. Bytes of a token in the cache: LightLLM's memory managers,
// and llama.cpp's for Qwen3.6.
class EveryModel : public testing::TestWithParam<Published> {};

TEST_P(EveryModel, HasThePublishedNumberOfParametersAndBytesOfAToken) {
  const Model& model = model_named(GetParam().model);
  EXPECT_EQ(model.parameters(), GetParam().decoder);
  EXPECT_EQ(model.vision.parameters(), GetParam().tower);
  EXPECT_EQ(model.cell_bytes(), GetParam().cell_bytes);
}

INSTANTIATE_TEST_SUITE_P(Published, EveryModel,
                         testing::Values(Published{"llama-3-8b", 8'030'261'248, 0, 131'072},
                                         Published{"qwen2.5-vl-7b", 7'615'616'512, 676'550'144, 57'344},
                                         Published{"qwen3-vl-8b", 8'190'735'360, 576'388'336, 147'456},
                                         Published{"qwen3.6-35b-a3b", 34'660'610'688, 446'571'248, 20'480},
                                         Published{"deepseek-v3", 671'026'419'200, 0, 70'272},
                                         Published{"internvl3-8b", 7'612'820'992, 331'552'768, 57'344}));

TEST(Models, CountTheSameParametersMatrixByMatrixAsByFormula) {
  for (const std::string& name : model_names()) {
    const Model& model = model_named(name);
    std::size_t elements = 0;
    for (const WeightMatrix& matrix : weight_matrices(model)) elements += matrix.elements();
    EXPECT_EQ(elements, model.parameters()) << name;
    std::size_t seen = 0;
    for (const WeightMatrix& matrix : weight_matrices(model.vision)) seen += matrix.elements();
    EXPECT_EQ(seen, model.vision.parameters()) << name;
  }
}

TEST(Models, KeepTheStateOfLinearAttentionAndNoCacheForIt) {
  const Model& model = model_named("qwen3.6-35b-a3b");
  EXPECT_EQ(model.cached_layers(), 10u);
  // 30 layers: 60 MiB of states and 2.8125 MiB of inputs; llama.cpp logs 251.25 MiB for four sequences.
  EXPECT_EQ(4 * model.state_bytes(), 251_MiB + 256_KiB);
  EXPECT_EQ(model_named("llama-3-8b").state_bytes(), 0u);
}

TEST(Models, WeighAByteAParameterWhereTheirMatricesAreInFp8) {
  const Model& model = model_named("deepseek-v3");
  // Embeddings, router and norms stay in bf16; a scale of four bytes for each 128 x 128 block.
  EXPECT_GT(model.weight_bytes(), model.parameters());
  EXPECT_LT(model.weight_bytes(), model.parameters() + model.parameters() / 200);
}

TEST(Models, DivideTheirExpertsAndHeadsAmongRanks) {
  const Model share = model_named("deepseek-v3").share_of(8);
  EXPECT_EQ(share.heads, 16u);
  EXPECT_EQ(share.experts.ffn, 256u);
  EXPECT_EQ(share.cell_bytes(), 70'272u) << "a latent row is every head's";
  EXPECT_THROW((void)model_named("qwen3.6-35b-a3b").share_of(4), std::invalid_argument);
}

TEST(Models, TurnQueriesAndKeysAsTheirFilesSay) {
  const Rope::Shape llama = model_named("llama-3-8b").rope, qwen25 = model_named("qwen2.5-vl-7b").rope,
                    qwen3 = model_named("qwen3-vl-8b").rope, qwen36 = model_named("qwen3.6-35b-a3b").rope;
  EXPECT_EQ(llama.positions, "text");
  EXPECT_EQ(llama.base, 500'000);
  EXPECT_EQ(llama.rotary_dim, 128u);
  EXPECT_EQ(qwen25.positions, "m-rope");
  EXPECT_EQ(qwen25.sections, (std::vector<std::size_t>{16, 24, 24}));
  EXPECT_EQ(qwen3.positions, "interleaved-m-rope");
  EXPECT_EQ(qwen3.base, 5'000'000);
  EXPECT_EQ(qwen36.rotary_dim, 64u) << "a quarter of 256";
  EXPECT_EQ(qwen36.sections, (std::vector<std::size_t>{11, 11, 10}));
}

constexpr const char* kGood =
    R"({"model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 10, )";

struct Mistake {
  const char *name, *text, *said;
};

class EveryConfigMistake : public testing::TestWithParam<Mistake> {};

TEST_P(EveryConfigMistake, IsToldInOneLineWithItsField) {
  const std::string text =
      GetParam().text[0] == '+' ? std::string(kGood) + (GetParam().text + 1) + "}" : GetParam().text;
  try {
    (void)read_config(text, "config.json");
    FAIL() << "accepted";
  } catch (const std::invalid_argument& mistake) {
    EXPECT_THAT(mistake.what(), HasSubstr(GetParam().said));
    EXPECT_EQ(std::string(mistake.what()).find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Config, EveryConfigMistake,
    testing::Values(
        Mistake{"NoJson", "{\"model_type\": llama}", "config.json: byte 16: this is no JSON"},
        Mistake{"Overflow", "{\"vocab_size\": 18E944}", "config.json: a number that no machine holds"},
        Mistake{"NoObject", "[]", "config.json: not an object"},
        Mistake{"NoArchitecture", "{}", "config.json: model_type: is missing; known: llama"},
        Mistake{"UnknownArchitecture", R"({"model_type": "mamba"})",
                "unknown architecture 'mamba'; known: llama"},
        Mistake{"NoType", R"({"model_type": "llama"})", "torch_dtype: is missing"},
        Mistake{"UnknownType", R"({"model_type": "llama", "torch_dtype": "int8"})",
                "torch_dtype: unknown type 'int8'; known: bfloat16, float32"},
        Mistake{"MissingField", R"({"model_type": "llama", "torch_dtype": "bfloat16"})",
                "num_hidden_layers: is missing"},
        Mistake{"Negative", R"(+ "head_dim": -1)", "head_dim: is not a whole number between 0 and 16777216"},
        Mistake{"Fraction", R"(+ "head_dim": 1.5)", "head_dim: is not a whole number"},
        Mistake{"Zero", R"(+ "num_key_value_heads": 0)", "num_key_value_heads: or head_dim is 0"},
        Mistake{"Huge", R"(+ "head_dim": 99999999999)", "head_dim: is not a whole number"},
        Mistake{"NoFlag", R"(+ "tie_word_embeddings": 1)", "tie_word_embeddings: is neither true nor false"},
        Mistake{"Epsilon", R"(+ "rms_norm_eps": 1.0)", "rms_norm_eps: is not between"},
        Mistake{"Experts", R"(+ "n_routed_experts": 4, "num_experts_per_tok": 5)",
                "num_experts_per_tok: is more than the experts that there are"},
        Mistake{"Latent", R"(+ "kv_lora_rank": 4)", "q_lora_rank: is missing"},
        Mistake{"Interval", R"(+ "full_attention_interval": 2)",
                "full_attention_interval: does not divide the layers"},
        Mistake{"Quantised", R"(+ "quantization_config": {"quant_method": "awq"})",
                "quantization_config: unknown quant_method 'awq'; known: fp8"},
        Mistake{"Newline", "{\"model_type\": \"a\\nb\"}", "unknown architecture 'a?b'"},
        Mistake{"Impossible",
                R"(+ "num_hidden_layers": 9999, "hidden_size": 16000000, "intermediate_size": 16000000)",
                "hidden_size: makes a model of more than 2^50 parameters"},
        Mistake{"RopeKind", R"(+ "rope_scaling": 3)", "rope_scaling: is not an object"},
        Mistake{"RopeBase", R"(+ "rope_theta": 1e20)", "rope_theta: is not between"},
        Mistake{"RopeSections", R"(+ "rope_scaling": {"mrope_section": [16, 8, 7]})",
                "rope_scaling: sections must add up to the 32 pairs of rotary_dim"},
        Mistake{"RopeInTurn",
                R"(+ "rope_parameters": {"mrope_section": [10, 11, 11], "mrope_interleaved": true})",
                "rope_parameters: sections of height and width are too large to be dealt out in turn"},
        Mistake{"RopeFactors",
                R"(+ "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 5})",
                "rope_scaling: low_factor must be above 0 and below high_factor"},
        Mistake{"RopeAxes", R"(+ "rope_scaling": {"mrope_section": [16, 16]})",
                "rope_scaling.mrope_section: does not name the pairs of time, height and width"},
        Mistake{"RopeNothing", R"(+ "partial_rotary_factor": 0.01)",
                "partial_rotary_factor: turns no element of a head"},
        Mistake{"RopePart", R"(+ "partial_rotary_factor": 0.1)",
                "rope_scaling: rotary_dim must be a multiple of 8"},
        Mistake{"VisionKind", R"(+ "vision_config": 3)", "vision_config: is not an object"},
        Mistake{"VisionField", R"(+ "vision_config": {"patch_size": 14})",
                "vision_config.depth: is missing"}),
    by_name);

TEST(Config, ReadsTheScalingsOfRopeThatAKernelHasAndNamesOneThatNoneHas) {
  const auto read = [](const std::string& more) {
    return read_config(std::string(kGood) + R"("rope_scaling": )" + more + "}", "config.json");
  };
  const Model llama = read(R"({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                               "high_freq_factor": 4.0, "original_max_position_embeddings": 4096})");
  EXPECT_EQ(llama.rope.scaling, "llama3");
  EXPECT_EQ(llama.rope.factor, 32);
  EXPECT_EQ(llama.rope.trained_tokens, 4096u);
  EXPECT_EQ(read(R"({"type": "linear", "factor": 2})").rope.scaling, "linear");
  const Model yarn = read(R"({"type": "yarn", "factor": 4})");
  EXPECT_EQ(yarn.rope.scaling, "none");
  EXPECT_EQ(yarn.unknown_rope, "yarn");
}

TEST(Config, KnowsEveryModelThatItNames) {
  for (const std::string& name : model_names()) EXPECT_EQ(model_named(name).name, name);
  EXPECT_THROW((void)model_named("no such model"), std::invalid_argument);
  EXPECT_THROW((void)load_config("/no/such/config.json"), std::invalid_argument);
}

}  // namespace
}  // namespace drought
