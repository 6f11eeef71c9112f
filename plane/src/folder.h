// What the folders of blobs and parts share: their names, one by one, and a file's time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <string>

#include "writ/base/result.h"

namespace writ::plane {

// Calls `visit` with each name in a directory but "." and "..", until it fails.
Status ForEachName(int dir, const std::function<Status(const std::string&)>& visit);

inline std::int64_t ModifiedMs(const struct stat& st) {
  return static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1000 + st.st_mtim.tv_nsec / 1'000'000;
}

}  // namespace writ::plane
