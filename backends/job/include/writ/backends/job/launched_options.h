// What a tier that writ-launch carries is told by whoever wires it.
#pragma once

#include <optional>
#include <string>

namespace writ::backends {

struct LaunchedOptions {
  std::string launcher{};  // absolute path of writ-launch
  // One more launcher is started while a job runs and waits for the next one (launchers.h). kNone:
  // for who runs one job only.
  enum class Ahead { kOne, kNone };
  Ahead ahead = Ahead::kOne;
  // For tests and for `writ doctor --assume-old-kernel`: behave as on a kernel without these.
  enum class UserNotification { kAsProbed, kAssumeAbsent };
  UserNotification user_notification = UserNotification::kAsProbed;
  std::optional<int> assume_landlock_abi{};  // at most this ABI is used
  enum class Cgroups { kAsProbed, kAssumeNoV2, kAssumeAbsent };
  Cgroups cgroups = Cgroups::kAsProbed;
};

}  // namespace writ::backends
