#include "confinement.h"

#include <linux/userfaultfd.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "writ/backends/linux/credentials.h"
#include "writ/backends/microvm/pages/working_set.h"
#include "writ/base/close_descriptors.h"

namespace writ::backends::microvm::pages {
namespace {

// The loop, the clones' threads, libc's threads and memory, reading snapshots, storing working
// sets.
constexpr std::array kAllowed = {
    SCMP_SYS(read),           SCMP_SYS(pread64),         SCMP_SYS(write),
    SCMP_SYS(close),          SCMP_SYS(recvmsg),         SCMP_SYS(sendmsg),
    SCMP_SYS(recvfrom),       SCMP_SYS(sendto),          SCMP_SYS(accept4),
    SCMP_SYS(getsockopt),     SCMP_SYS(setsockopt),      SCMP_SYS(poll),
    SCMP_SYS(ppoll),          SCMP_SYS(fcntl),           SCMP_SYS(lseek),
    SCMP_SYS(fstat),          SCMP_SYS(newfstatat),      SCMP_SYS(readlink),
    SCMP_SYS(openat),         SCMP_SYS(fchmod),          SCMP_SYS(fsync),
    SCMP_SYS(renameat),       SCMP_SYS(unlinkat),        SCMP_SYS(eventfd2),
    SCMP_SYS(pidfd_open),     SCMP_SYS(futex),           SCMP_SYS(munmap),
    SCMP_SYS(mremap),         SCMP_SYS(madvise),         SCMP_SYS(brk),
    SCMP_SYS(getpid),         SCMP_SYS(gettid),          SCMP_SYS(tgkill),
    SCMP_SYS(geteuid),        SCMP_SYS(sched_yield),     SCMP_SYS(sched_setaffinity),
    SCMP_SYS(clock_gettime),  SCMP_SYS(getrandom),       SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),    SCMP_SYS(sigaltstack),
    SCMP_SYS(exit),           SCMP_SYS(exit_group),      SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),           SCMP_SYS(set_robust_list), SCMP_SYS(sched_getaffinity),
};

// libseccomp's own macros are C compound literals, which clang refuses in C++.
scmp_arg_cmp Equal(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp Masked(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

Status InstallFilter() {
  scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ERRNO(EPERM));
  int first = filter == nullptr ? -ENOMEM : 0;
  const auto note = [&first](int result) {
    if (result != 0 && first == 0) first = result;
  };
  const auto allow_if = [&](int call, scmp_arg_cmp argument) {
    note(::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, argument));
  };
  if (first == 0) {
    for (int call : kAllowed) note(::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0));
    for (std::uint64_t request : {UFFDIO_COPY, UFFDIO_ZEROPAGE, UFFDIO_WAKE})
      allow_if(SCMP_SYS(ioctl), Equal(1, request));
    allow_if(SCMP_SYS(mmap), Masked(2, PROT_EXEC, 0));
    allow_if(SCMP_SYS(mprotect), Masked(2, PROT_EXEC, 0));
    allow_if(SCMP_SYS(clone), Masked(0, CLONE_THREAD, CLONE_THREAD));
    // Its flags are in memory, where a filter cannot look; libc then takes clone.
    note(::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0));
    allow_if(SCMP_SYS(prlimit64), Equal(2, 0));  // reading limits only
#if WRIT_SANITIZED
    for (int call : {SCMP_SYS(prctl), SCMP_SYS(getrusage), SCMP_SYS(sysinfo)})
      note(::seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0));
#endif
    note(::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
  }
  if (first == 0) note(::seccomp_load(filter));
  if (filter != nullptr) ::seccomp_release(filter);
  if (first != 0) return SysError(-first, "pages.seccomp", "cannot install the system call filter");
  return {};
}

Status SetLimit(__rlimit_resource resource, rlim_t value) {
  const rlimit limit{value, value};
  if (::setrlimit(resource, &limit) != 0)
    return SysError(errno, "pages.rlimit", "cannot lower a resource limit");
  return {};
}

Status BecomeWhoServes(const std::optional<ServerIdentity>& identity) {
  DropFailure failure;
  if (::geteuid() == 0 || ::getuid() == 0) {
    if (!identity)
      return Error{ErrorKind::kDenied, "pages.identity",
                   "the page server was started as root without a uid to become"};
    failure = DropIdentity(identity->uid, identity->gid);
  } else {
    failure = CheckIdentity(::getuid(), ::getgid());
  }
  if (failure.step != nullptr)
    return SysError(failure.err, "pages.identity",
                    std::string("cannot give up rights: ") + failure.step);
  return {};
}

}  // namespace

Status ShedAll(int kept, const std::optional<ServerIdentity>& identity) {
  if (kept > 3) WRIT_TRY(CloseDescriptors(3, static_cast<unsigned>(kept - 1)));
  WRIT_TRY(CloseDescriptors(static_cast<unsigned>(kept + 1)));
  RaiseDescriptorLimit();
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write over the limit is to fail, not to kill
  WRIT_TRY(SetLimit(RLIMIT_CORE, 0));
  WRIT_TRY(SetLimit(RLIMIT_FSIZE, kMaxWorkingSetBytes));
  WRIT_TRY(BecomeWhoServes(identity));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return SysError(errno, "pages.no_new_privs", "cannot set no_new_privs");
  return InstallFilter();
}

}  // namespace writ::backends::microvm::pages
