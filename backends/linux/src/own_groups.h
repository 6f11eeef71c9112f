// Where the cgroups of this process are: controller name ("" for v2) -> directory.
#pragma once

#include <map>
#include <string>

namespace writ::backends {

std::map<std::string, std::string> OwnCgroupDirectories();

}  // namespace writ::backends
