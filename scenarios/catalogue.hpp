// Lists the workloads, and assembles every catalogue into the one value that a rig is handed.
#pragma once

#include "harness/scenario/catalogues.hpp"

namespace drought {

const Catalogues& all_catalogues();

}  // namespace drought
