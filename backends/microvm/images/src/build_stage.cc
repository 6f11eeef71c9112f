#include "writ/backends/microvm/build_stage.h"

#include <stdlib.h>

#include <cerrno>

#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr char kParent[] = "/var/tmp";

}  // namespace

Result<BuildStage> BuildStage::Make() {
  std::string pattern = std::string(kParent) + "/writ-guest-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr)
    return SysError(errno, "microvm.stage", "cannot make a directory in /var/tmp");
  return BuildStage(pattern);
}

BuildStage::~BuildStage() {
  if (path_.empty()) return;
  if (auto parent = OpenDirectory(kParent))
    (void)RemoveTreeBeneath(parent->get(), path_.substr(path_.rfind('/') + 1)).has_value();
}

}  // namespace writ::backends::microvm
