// Which files of the host an attack goes for, as it says itself (hostile --host-paths).
#pragma once

#include <string>
#include <vector>

namespace writ::test {

std::vector<std::string> HostPathsOf(const std::string& attack);

inline bool IsBelowProc(const std::string& path) {
  return path.starts_with("/proc/");
}

}  // namespace writ::test
