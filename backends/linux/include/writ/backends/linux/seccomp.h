// seccomp(2) by hand: installing a ready program, and the supervisor's side of user notification.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

enum class Listener { kNone, kWanted };

// Installs for the calling thread and all its descendants; needs no_new_privs. With kWanted the
// value is the notification descriptor (O_CLOEXEC), else an empty one. Async-signal-safe but for
// the error text.
Result<UniqueFd> InstallFilter(const std::vector<sock_filter>& program, Listener listener);

// Whether the kernel knows USER_NOTIF with structures of the sizes we were compiled for.
bool KernelKnowsUserNotification();

// One system call of a job that waits for our answer.
struct Notification {
  std::uint64_t id = 0;
  pid_t tid = 0;  // in our pid namespace
  int syscall = 0;
  std::uint64_t args[6] = {};
};

// nullopt: the caller is gone already.
Result<std::optional<Notification>> ReceiveNotification(int listener);
// Whether the call still waits: after reading the caller's memory this tells that it was the
// caller's.
bool NotificationStillValid(int listener, std::uint64_t id);
// `error` 0: the call returns `value`; else it fails with that errno. A caller that is gone is no
// error.
void AnswerNotification(int listener, std::uint64_t id, std::int64_t value, int error);
// Lets the kernel carry the call out as if there were no supervisor (5.5). Only where the call
// could do no harm whatever its memory says by then.
void ContinueNotification(int listener, std::uint64_t id);

// Copies the socket address out of the caller's memory. `size` as given to the call; over
// sizeof(sockaddr_storage) or unreadable is nullopt.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};
std::optional<SocketAddress> ReadSocketAddress(pid_t tid, std::uint64_t pointer,
                                               std::uint64_t size);

}  // namespace writ::backends
