// What frameworks wrote when memory ran out, in the words of several releases, with the figures of real
// reports: each with the kind of shortage that it shows and a piece of the sentence that says so.
#pragma once

#include <string>
#include <vector>

#include "harness/diagnose/diagnosis.hpp"

namespace drought {

struct OomText {
  std::string name;
  Shortage shortage;
  std::string says;  ///< In the diagnosis's sentence.
  std::string text;
};

/// As whoever had the problem saw them.
const std::vector<OomText>& oom_texts();
/// What looks like one kind and is another, or none.
const std::vector<OomText>& oom_decoys();

}  // namespace drought
