// Logs: figures, a diagnosis of one printable line, and where they can be reproduced a scenario that can be
// read.
#include <sstream>

#include "harness/diagnose/diagnosis.hpp"
#include "harness/diagnose/log_reader.hpp"
#include "harness/diagnose/reproduction.hpp"
#include "harness/scenario/table.hpp"
#include "tests/fuzz/reading.hpp"

namespace {

bool tells_less_than_nothing(std::string_view sentence) {
  for (std::size_t at = 0; (at = sentence.find('-', at)) != std::string_view::npos; ++at)
    if (at + 1 < sentence.size() && sentence[at + 1] >= '0' && sentence[at + 1] <= '9') return true;
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace drought;
  std::istringstream log{std::string(fuzz::text_of(data, size))};
  LogReader reader;
  reader.read(log);
  const Diagnosis diagnosis = diagnose(reader.figures());
  fuzz::require(!diagnosis.sentence.empty() && !diagnosis.rule.empty(),
                "a sentence, and the rule that says it");
  fuzz::require_one_line(diagnosis.sentence);
  fuzz::require(!tells_less_than_nothing(diagnosis.sentence), "amounts from 0 on");
  const auto scenario = reproduction(reader.figures(), diagnosis, "fuzz");
  if (!scenario) return 0;
  const Table read = parse_toml(*scenario, "fuzz");
  fuzz::require(read.find("workload") && read.find("expect"), "a scenario");
  return 0;
}
