// The modules that a guest needs, with what they need, in the order in which they can be loaded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends::microvm {

// `dep` and `builtin`: modules.dep and modules.builtin as depmod writes them. Paths as in `dep`. A
// driver that is built in needs no module. kInvalid "microvm.kernel_drivers" names the drivers that
// the kernel has neither way. Pure.
Result<std::vector<std::string>> ModulesFor(std::string_view dep, std::string_view builtin);

// "kernel/fs/erofs/erofs.ko" -> "erofs.ko".
std::string ModuleFileName(std::string_view path);

}  // namespace writ::backends::microvm
