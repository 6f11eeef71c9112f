#include "writ/backends/microvm/pages/uffd_probe.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;

UniqueFd BySyscall(int more) {
  return UniqueFd(static_cast<int>(::syscall(SYS_userfaultfd, kFlags | more)));
}

Error No(std::string cause, std::string mend) {
  return Error{ErrorKind::kUnsupported, "pages.userfaultfd", std::move(cause), std::move(mend)};
}

// Whether the kernel tells of removed pages; an error where it has no userfaultfd of our version.
Result<bool> Removals(int uffd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_REMOVE;
  if (::ioctl(uffd, UFFDIO_API, &api) == 0) return true;
  if (errno == EINVAL) return false;
  return No("the kernel's userfaultfd has another version", "use a kernel of 5.10 or later");
}

}  // namespace

Result<UserfaultProbe> ProbeUserfault(int device) {
  UserfaultProbe probe;
  UniqueFd uffd;
  if (device < 0) uffd = BySyscall(0);
  if (!uffd && device < 0 && errno == ENOSYS)
    return No("the kernel has no userfaultfd", "use a kernel with CONFIG_USERFAULTFD");
  if (!uffd) {
    probe.way = UserfaultWay::kDevice;
    UniqueFd opened;
    if (device < 0) opened.reset(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    const int from = device < 0 ? opened.get() : device;
    if (from >= 0) uffd.reset(::ioctl(from, USERFAULTFD_IOC_NEW, kFlags));
  }
  if (!uffd) {
    const bool user_mode = BySyscall(UFFD_USER_MODE_ONLY).valid();
    return No(user_mode ? "only faults of user mode can be served here (UFFD_USER_MODE_ONLY), and "
                          "a VMM's system calls and KVM fault in the kernel"
                        : "userfaultfd is denied here",
              "let the runner's user open /dev/userfaultfd (a udev rule with a group), start it as "
              "root, or set vm.unprivileged_userfaultfd=1");
  }
  WRIT_ASSIGN(probe.removals, Removals(uffd.get()));
  return probe;
}

}  // namespace writ::backends::microvm::pages
