#include "writ/backends/linux/seccomp.h"

#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "writ/backends/linux/kernel_constants.h"

namespace writ::backends {

Result<UniqueFd> InstallFilter(const std::vector<sock_filter>& program, Listener listener) {
  sock_fprog prog{};
  prog.len = static_cast<unsigned short>(program.size());
  prog.filter = const_cast<sock_filter*>(program.data());
  unsigned flags = 0;
  if (listener == Listener::kWanted)
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | kernel::kFilterWaitKillable;
  long rc = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
  if (rc < 0 && errno == EINVAL && flags != 0) {  // before 5.19: without the killable wait
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    rc = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
  }
  if (rc < 0) return SysError(errno, "seccomp.install", "cannot install the system call filter");
  return listener == Listener::kWanted ? UniqueFd(static_cast<int>(rc)) : UniqueFd();
}

bool KernelKnowsUserNotification() {
  seccomp_notif_sizes sizes{};
  if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) return false;
  std::uint32_t action = SECCOMP_RET_USER_NOTIF;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0) return false;
  // A larger structure of a newer kernel would be written past ours.
  return sizes.seccomp_notif == sizeof(seccomp_notif) &&
         sizes.seccomp_notif_resp == sizeof(seccomp_notif_resp);
}

Result<std::optional<Notification>> ReceiveNotification(int listener) {
  seccomp_notif request{};
  int rc;
  do {
    request = seccomp_notif{};  // the kernel refuses a structure that is not zero
    rc = ::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) {
    if (errno == ENOENT) return std::optional<Notification>{};
    return SysError(errno, "seccomp.receive", "cannot receive a system call of the job");
  }
  Notification notification;
  notification.id = request.id;
  notification.tid = static_cast<pid_t>(request.pid);
  notification.syscall = request.data.nr;
  std::copy(std::begin(request.data.args), std::end(request.data.args), notification.args);
  return std::optional<Notification>(notification);
}

bool NotificationStillValid(int listener, std::uint64_t id) {
  return ::ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void AnswerNotification(int listener, std::uint64_t id, std::int64_t value, int error) {
  seccomp_notif_resp response{};
  response.id = id;
  response.val = error == 0 ? value : 0;
  response.error = -error;
  int rc;
  do {
    rc = ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  } while (rc != 0 && errno == EINTR);
  // ENOENT: the caller died or was interrupted; there is nobody to tell.
}

void ContinueNotification(int listener, std::uint64_t id) {
  seccomp_notif_resp response{};
  response.id = id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  int rc;
  do {
    rc = ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  } while (rc != 0 && errno == EINTR);
}

std::optional<SocketAddress> ReadSocketAddress(pid_t tid, std::uint64_t pointer,
                                               std::uint64_t size) {
  SocketAddress address;
  if (size < sizeof(sa_family_t) || size > sizeof address.storage) return std::nullopt;
  iovec local{&address.storage, static_cast<std::size_t>(size)};
  iovec remote{reinterpret_cast<void*>(
                   static_cast<std::uintptr_t>(pointer)),  // NOLINT: an address of the job
               static_cast<std::size_t>(size)};
  if (::process_vm_readv(tid, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(size))
    return std::nullopt;
  address.size = static_cast<socklen_t>(size);
  return address;
}

}  // namespace writ::backends
