// Tar: plain files one after the other, as POSIX ustar has them. What is written here is all that
// is read here: no links, no folders, no devices, no extensions but GNU's sizes past 8 GiB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::plane {

struct TarEntry {
  std::string name;  // at most 100 bytes
  std::uint64_t bytes = 0;
  std::int64_t modified = 0;  // unix seconds
};

std::string TarHeader(const TarEntry& entry);      // 512 bytes, mode 0600
std::string_view TarPadding(std::uint64_t bytes);  // what fills the last block
std::string_view TarEnd();

// nullopt: the archive's end. kInvalid "backup.format" for anything that TarHeader does not write.
Result<std::optional<TarEntry>> ParseTarHeader(std::string_view block);

}  // namespace writ::plane
