// Where this build's programs and the project's sources are. The paths are linked in by one small
// library instead of being defined for every test's compiler: objects are then the same in every
// clone and build folder, and a compiler cache serves them all.
#pragma once

#include <string>

namespace writ::test {

std::string SourceDir();  // the project's root
std::string BuildDir();   // CMake's build folder
std::string BinDir();     // the programs of this build

}  // namespace writ::test
