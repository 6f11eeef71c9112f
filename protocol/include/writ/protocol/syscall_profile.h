// Which system calls there are for a job (docs/operations.md has the lists). Our extension.
#pragma once

#include "writ/protocol/words.h"

namespace writ::protocol {

enum class SyscallProfile { kDefault, kBuild, kNone };
inline constexpr json::EnumName<SyscallProfile> kSyscallProfileTable[] = {
    {SyscallProfile::kDefault, "default"},
    {SyscallProfile::kBuild, "build"},
    {SyscallProfile::kNone, "none"}};
constexpr std::string_view Word(SyscallProfile profile) {
  return WordIn(kSyscallProfileTable, profile);
}
constexpr std::optional<SyscallProfile> ParseSyscallProfile(std::string_view text) {
  return ParseIn(kSyscallProfileTable, text);
}

}  // namespace writ::protocol
