#include "jail.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "writ/backends/linux/credentials.h"
#include "writ/backends/linux/seccomp.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

Status WriteOwn(const char* name, const std::string& text) {
  const std::string path = std::string("/proc/self/") + name;
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return SysError(errno, "microvm.jail", "cannot write " + path);
  return {};
}

Status Dropped(const DropFailure& failure) {
  if (failure.step == nullptr) return {};
  return SysError(failure.err, "microvm.jail", std::string("cannot give up: ") + failure.step);
}

}  // namespace

Status EnterJail(uid_t uid, gid_t gid, const std::vector<sock_filter>& allow_list) {
  if (::unshare(CLONE_NEWUSER) != 0)
    return SysError(errno, "microvm.jail", "cannot make a user namespace for the machine");
  WRIT_TRY(WriteOwn("setgroups", "deny"));
  WRIT_TRY(WriteOwn("gid_map", std::to_string(gid) + " 0 1\n"));
  WRIT_TRY(WriteOwn("uid_map", std::to_string(uid) + " 0 1\n"));
  WRIT_TRY(Dropped(BecomeMapped(uid, gid)));
  WRIT_TRY(Dropped(DropCapabilities(uid, gid, CapabilityRules::kLinux)));
  ::prctl(PR_SET_DUMPABLE, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return SysError(errno, "microvm.jail", "cannot set no_new_privs");
  if (allow_list.empty()) return {};
  auto installed = InstallFilter(allow_list, Listener::kNone);
  return installed ? Status() : Status(std::move(installed).error());
}

}  // namespace writ::backends::microvm
