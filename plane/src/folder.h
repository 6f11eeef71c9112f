// What folders of a plane share: their names, one by one, a file's time, who may pass.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <string>

#include "writ/base/result.h"

namespace writ::plane {

// Calls `visit` with each name in a directory but "." and "..", until it fails.
Status ForEachName(int dir, const std::function<Status(const std::string&)>& visit);

// Of a state directory: a root runner's jobs pass through it to their sessions, and whatever is
// private lies in folders of its own below.
inline mode_t StateFolderMode() {
  return geteuid() == 0 ? 0711 : 0700;
}

inline std::int64_t ModifiedMs(const struct stat& st) {
  return static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1000 + st.st_mtim.tv_nsec / 1'000'000;
}

}  // namespace writ::plane
