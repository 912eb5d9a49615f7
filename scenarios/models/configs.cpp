// The config.json files that lie inside the executable, a line each. Their numbers are those of the published
// files; "_source" in each says where they were read and what was not confirmed.
#include <map>
#include <stdexcept>

#include "scenarios/models/config.hpp"
#include "scenarios/models/model.hpp"

// The assembler reads the files, from the folder that the build names to it.
#define DROUGHT_CONFIG(symbol, path)                                                 \
  __asm__(".pushsection .rodata\n" #symbol "_begin:\n.incbin \"" path "\"\n" #symbol \
          "_end:\n.byte 0\n.popsection\n");                                          \
  extern "C" __attribute__((visibility("hidden"))) const char symbol##_begin[], symbol##_end[];

DROUGHT_CONFIG(drought_config_llama_3_8b, "llama_3_8b.json")
DROUGHT_CONFIG(drought_config_qwen2_5_vl_7b, "qwen2_5_vl_7b.json")
DROUGHT_CONFIG(drought_config_qwen3_vl_8b, "qwen3_vl_8b.json")
DROUGHT_CONFIG(drought_config_qwen3_6_35b_a3b, "qwen3_6_35b_a3b.json")
DROUGHT_CONFIG(drought_config_deepseek_v3, "deepseek_v3.json")
DROUGHT_CONFIG(drought_config_internvl3_8b, "internvl3_8b.json")
DROUGHT_CONFIG(drought_config_tiny, "tiny.json")
DROUGHT_CONFIG(drought_config_tiny_vl, "tiny_vl.json")
DROUGHT_CONFIG(drought_config_tiny_qwen3_vl, "tiny_qwen3_vl.json")

namespace drought {
namespace {

struct Config {
  std::string_view name;
  const char *begin, *end;
};

const Config kConfigs[] = {
    {"llama-3-8b", drought_config_llama_3_8b_begin, drought_config_llama_3_8b_end},
    {"qwen2.5-vl-7b", drought_config_qwen2_5_vl_7b_begin, drought_config_qwen2_5_vl_7b_end},
    {"qwen3-vl-8b", drought_config_qwen3_vl_8b_begin, drought_config_qwen3_vl_8b_end},
    {"qwen3.6-35b-a3b", drought_config_qwen3_6_35b_a3b_begin, drought_config_qwen3_6_35b_a3b_end},
    {"deepseek-v3", drought_config_deepseek_v3_begin, drought_config_deepseek_v3_end},
    {"internvl3-8b", drought_config_internvl3_8b_begin, drought_config_internvl3_8b_end},
    {"tiny", drought_config_tiny_begin, drought_config_tiny_end},
    {"tiny-vl", drought_config_tiny_vl_begin, drought_config_tiny_vl_end},
    {"tiny-qwen3-vl", drought_config_tiny_qwen3_vl_begin, drought_config_tiny_qwen3_vl_end},
};

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Config& config : kConfigs) names.emplace_back(config.name);
  return names;
}

const Model& model_named(std::string_view name) {
  static std::map<std::string_view, Model> models;
  std::string known;
  for (const Config& config : kConfigs) {
    known += (known.empty() ? "" : ", ") + std::string(config.name);
    if (config.name != name) continue;
    const auto found = models.find(config.name);
    if (found != models.end()) return found->second;
    Model model = read_config({config.begin, config.end}, std::string(name));
    model.name = name;
    return models.emplace(config.name, std::move(model)).first->second;
  }
  throw std::invalid_argument("unknown model '" + std::string(name) + "'; known: " + known);
}

}  // namespace drought
