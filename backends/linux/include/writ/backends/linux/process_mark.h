// ProcessMark: a process as it can be written down and found again by another process: pid, start
// time and boot. A pid alone names whoever has it now; these three name one process for ever.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::backends {

struct ProcessMark {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;

  // nullopt: it is gone.
  static std::optional<ProcessMark> Of(pid_t pid);
  // "PID START BOOT"; nullopt for anything else.
  static std::optional<ProcessMark> Parse(std::string_view text);
  std::string Text() const;
};

// False: its machine was started anew since, and nothing that ran then is left.
bool OfThisBoot(const ProcessMark& mark);

// SIGKILL to that process if it still is that process: held by a pidfd before it is looked at
// again. False: it was gone.
bool KillMarked(const ProcessMark& mark);

}  // namespace writ::backends
