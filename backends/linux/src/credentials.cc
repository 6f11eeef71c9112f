#include "writ/backends/linux/credentials.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace writ::backends {
namespace {

constexpr int kHighestCapability = 63;

bool HoldsNoCapability() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  for (const auto& word : data) {
    if (word.effective != 0 || word.permitted != 0 || word.inheritable != 0) return false;
  }
  return true;
}

// A change of uid leaves this set as it was, and it goes through every exec.
DropFailure ClearInheritable() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return {"capget", errno};
  for (auto& word : data) word.inheritable = 0;
  if (::syscall(SYS_capset, &header, data) != 0) return {"inheritable set", errno};
  return {};
}

DropFailure Verify(uid_t uid, gid_t gid) {
  uid_t ruid = 0;
  uid_t euid = 0;
  uid_t suid = 0;
  gid_t rgid = 0;
  gid_t egid = 0;
  gid_t sgid = 0;
  if (::getresuid(&ruid, &euid, &suid) != 0 || ruid != uid || euid != uid || suid != uid)
    return {"uid", EPERM};
  if (::getresgid(&rgid, &egid, &sgid) != 0 || rgid != gid || egid != gid || sgid != gid)
    return {"gid", EPERM};
  if (!HoldsNoCapability()) return {"capabilities", EPERM};
  if (::setresuid(0, 0, 0) == 0) return {"regain", EPERM};
  return {};
}

DropFailure ClearBoundingSet() {
  for (int capability = 0; capability <= kHighestCapability; ++capability) {
    // EINVAL: past the last one that this kernel has.
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      if (errno == EINVAL) break;
      return {"bounding set", errno};
    }
  }
  return {};
}

}  // namespace

DropFailure DropIdentity(uid_t uid, gid_t gid) {
  if (uid == 0 || gid == 0) return {"root identity", EINVAL};
  if (DropFailure failure = ClearBoundingSet(); failure.step != nullptr) return failure;
  if (::setgroups(0, nullptr) != 0) return {"setgroups", errno};
  if (::setresgid(gid, gid, gid) != 0) return {"setresgid", errno};
  if (::setresuid(uid, uid, uid) != 0) return {"setresuid", errno};
  if (::getgroups(0, nullptr) != 0) return {"supplementary groups", EPERM};
  if (DropFailure failure = ClearInheritable(); failure.step != nullptr) return failure;
  return Verify(uid, gid);
}

DropFailure BecomeMapped(uid_t uid, gid_t gid) {
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) return {"setgroups", errno};
  if (::setresgid(gid, gid, gid) != 0) return {"setresgid", errno};
  if (::setresuid(uid, uid, uid) != 0) return {"setresuid", errno};
  return {};
}

DropFailure DropCapabilities(uid_t uid, gid_t gid, CapabilityRules rules) {
  if (DropFailure failure = ClearBoundingSet(); failure.step != nullptr) return failure;
  const bool has_both = rules == CapabilityRules::kLinux;
  if (has_both && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return {"ambient", errno};
  constexpr unsigned long kLocked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                    SECBIT_NO_CAP_AMBIENT_RAISE |
                                    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (has_both && ::prctl(PR_SET_SECUREBITS, kLocked, 0, 0, 0) != 0) return {"securebits", errno};
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return {"capset", errno};
  return Verify(uid, gid);
}

DropFailure CheckIdentity(uid_t uid, gid_t gid) {
  if (uid == 0 || gid == 0) return {"root identity", EINVAL};
  if (DropFailure failure = ClearInheritable(); failure.step != nullptr) return failure;
  return Verify(uid, gid);
}

}  // namespace writ::backends
