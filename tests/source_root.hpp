// Where this build's files are. The one source that knows absolute paths is source_root.cpp, so that all
// others compile alike in every checkout and a compiler cache serves them all.
#pragma once

#include <string>

namespace drought {

/// A path in the repository: where it was built or, for a binary that was carried to another machine, the
/// folder that the tests are run from.
std::string source_path(const std::string& relative);
/// A path in the folder of recorded traces and facts that lies beside the repository.
std::string shared_path(const std::string& relative);
/// The `drought` executable of this build.
std::string drought_binary();
/// The cmake that made this build, and the generator that it used.
std::string cmake_command();
std::string cmake_generator();

}  // namespace drought
