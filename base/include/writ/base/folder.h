// NamesIn: what a folder holds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"

namespace writ {

// The names in the folder `dir`, without "." and "..", sorted by bytes. Read whole before it
// returns, through a description of its own: `dir` keeps its position, and what is removed or made
// meanwhile confuses nobody. An error of the system has the code `code`.
Result<std::vector<std::string>> NamesIn(int dir, std::string_view code = "file.list");

}  // namespace writ
