// What the files about cgroups share.
#pragma once

#include <map>
#include <string>

#include "writ/base/result.h"

namespace writ::backends {

// Where the cgroups of this process are: controller name ("" for v2) -> directory.
std::map<std::string, std::string> OwnCgroupDirectories();

// Writes one value into a control file, with one call, as the kernel wants it.
Status WriteControl(const std::string& path, const std::string& value);

}  // namespace writ::backends
