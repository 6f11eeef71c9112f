#include "writ/backends/linux/keyring.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace writ::backends {

bool KernelHasKeyrings() {
  if (::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) >= 0) return true;
  return errno != ENOSYS && errno != EPERM;
}

int JoinNewSessionKeyring() {
  return ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 ? errno : 0;
}

}  // namespace writ::backends
