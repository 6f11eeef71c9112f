// ProcessBackend: the `process` tier. A job is a child process held by what the kernel gives
// without privilege: a uid of its own (root runner), Landlock, seccomp, supervised connect,
// rlimits, cgroups where they are writable. `writ-launch` sets it up and stays beside it.
//
// What this tier does not give, whatever the kernel: a view of its own of /proc (host processes'
// command lines can be read), a passwd entry for the uid (needs a mount namespace: USER and HOME
// are set, getpwuid finds nothing), /dev/shm and System V IPC (they would outlive the job and reach
// other jobs), a PTY, listening sockets, and a connection to anything but the session's proxy.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "writ/backends/backend.h"

namespace writ::backends {

struct ProcessBackendOptions {
  std::string launcher{};  // absolute path of writ-launch
  // For tests and for `writ doctor --assume-old-kernel`: behave as on a kernel without these.
  enum class UserNotification { kAsProbed, kAssumeAbsent };
  UserNotification user_notification = UserNotification::kAsProbed;
  std::optional<int> assume_landlock_abi{};  // at most this ABI is used
  enum class Cgroups { kAsProbed, kAssumeNoV2, kAssumeAbsent };
  Cgroups cgroups = Cgroups::kAsProbed;
};

// Name "process".
std::unique_ptr<Backend> MakeProcessBackend(ProcessBackendOptions options);

}  // namespace writ::backends
