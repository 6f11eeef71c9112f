#include "writ/egress/confinement.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/prctl.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "writ/base/close_descriptors.h"

namespace writ::egress {
namespace {

Status SetLimit(__rlimit_resource resource, rlim_t value) {
  rlimit limit{value, value};
  if (::setrlimit(resource, &limit) != 0)
    return SysError(errno, "egress.rlimit", "cannot lower a resource limit");
  return {};
}

// The system calls that the event loop, the resolver's threads and libc need; arguments that matter
// are constrained below.
constexpr std::array kAllowed = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(close),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(connect),
    SCMP_SYS(accept4),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(futex),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(statx),
    SCMP_SYS(lseek),
    SCMP_SYS(fcntl),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(uname),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(membarrier),
    SCMP_SYS(tgkill),
    SCMP_SYS(pipe2),
    SCMP_SYS(splice),
};

// Nothing of ours ever calls these: a process that does is not ours any more.
constexpr std::array kFatal = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(mount),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
};

// libseccomp's own macros are C compound literals, which clang refuses in C++.
scmp_arg_cmp Equal(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp Masked(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM))) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void Add(std::uint32_t action, int call) { Note(seccomp_rule_add(context_, action, call, 0)); }
  void Add(int call, scmp_arg_cmp argument) {
    Note(seccomp_rule_add(context_, SCMP_ACT_ALLOW, call, 1, argument));
  }
  void Add(int call, scmp_arg_cmp first, scmp_arg_cmp second) {
    Note(seccomp_rule_add(context_, SCMP_ACT_ALLOW, call, 2, first, second));
  }
  Status Load() {
    if (context_ == nullptr)
      return Error{ErrorKind::kInternal, "egress.seccomp", "cannot make a system call filter"};
    Note(seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1));
    Note(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    if (first_error_ == 0) Note(seccomp_load(context_));
    if (first_error_ != 0)
      return SysError(-first_error_, "egress.seccomp", "cannot install the system call filter");
    return {};
  }

 private:
  void Note(int result) {
    if (result != 0 && first_error_ == 0) first_error_ = result;
  }
  scmp_filter_ctx context_;
  int first_error_ = 0;
};

}  // namespace

Status ShedResources(int highest) {
  WRIT_TRY(CloseDescriptors(static_cast<unsigned>(highest + 1)));
  // Without this a write over RLIMIT_FSIZE would kill instead of fail.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  WRIT_TRY(SetLimit(RLIMIT_CORE, 0));
  WRIT_TRY(SetLimit(RLIMIT_FSIZE, 0));
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
    return SysError(errno, "egress.rlimit", "cannot read the descriptor limit");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0)
    return SysError(errno, "egress.rlimit", "cannot raise the descriptor limit");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return SysError(errno, "egress.dumpable", "cannot become undumpable");
  return {};
}

Status EnterIdentity(const std::optional<ProxyIdentity>& identity) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return SysError(errno, "egress.no_new_privs", "cannot set no_new_privs");
  if (!identity) {
    if (::geteuid() == 0 || ::getuid() == 0)
      return Error{ErrorKind::kDenied, "egress.identity",
                   "the proxy was started as root without a uid to become"};
    return {};
  }
  if (identity->uid == 0 || identity->gid == 0)
    return Error{ErrorKind::kDenied, "egress.identity", "the proxy does not run as uid or gid 0"};
  if (::geteuid() == 0 && ::setgroups(0, nullptr) != 0)
    return SysError(errno, "egress.identity", "cannot drop supplementary groups");
  if (::setresgid(identity->gid, identity->gid, identity->gid) != 0)
    return SysError(errno, "egress.identity", "cannot change the gid");
  if (::setresuid(identity->uid, identity->uid, identity->uid) != 0)
    return SysError(errno, "egress.identity", "cannot change the uid");
  uid_t real_uid, effective_uid, saved_uid;
  gid_t real_gid, effective_gid, saved_gid;
  if (::getresuid(&real_uid, &effective_uid, &saved_uid) != 0 ||
      ::getresgid(&real_gid, &effective_gid, &saved_gid) != 0)
    return SysError(errno, "egress.identity", "cannot read the ids back");
  bool uids =
      real_uid == identity->uid && effective_uid == identity->uid && saved_uid == identity->uid;
  bool gids =
      real_gid == identity->gid && effective_gid == identity->gid && saved_gid == identity->gid;
  if (!uids || !gids || ::setuid(0) == 0 || ::setgid(0) == 0)
    return Error{ErrorKind::kInternal, "egress.identity", "the privileges did not go"};
  // Changing ids makes a process dumpable again in some configurations.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return SysError(errno, "egress.dumpable", "cannot become undumpable");
  return {};
}

Status InstallFilter() {
  Filter filter;
  for (int call : kAllowed) filter.Add(SCMP_ACT_ALLOW, call);
  for (int call : kFatal) filter.Add(SCMP_ACT_KILL_PROCESS, call);
  for (int family : {AF_INET, AF_INET6}) {
    for (int type : {SOCK_STREAM, SOCK_DGRAM})
      filter.Add(SCMP_SYS(socket), Equal(0, static_cast<scmp_datum_t>(family)),
                 Masked(1, 0xff, static_cast<scmp_datum_t>(type)));
  }
  constexpr scmp_datum_t kWriting = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_PATH;
  filter.Add(SCMP_SYS(openat), Masked(2, kWriting, 0));
  filter.Add(SCMP_SYS(open), Masked(1, kWriting, 0));
  filter.Add(SCMP_SYS(mmap), Masked(2, PROT_EXEC, 0));
  filter.Add(SCMP_SYS(mprotect), Masked(2, PROT_EXEC, 0));
  filter.Add(SCMP_SYS(ioctl), Equal(1, FIONBIO));
  filter.Add(SCMP_SYS(ioctl), Equal(1, FIONREAD));
  // Reading limits only.
  filter.Add(SCMP_SYS(prlimit64), Equal(2, 0));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || WRIT_SANITIZED
  // The sanitizers' runtimes read their own maps.
  filter.Add(SCMP_ACT_ALLOW, SCMP_SYS(readlink));
  filter.Add(SCMP_ACT_ALLOW, SCMP_SYS(prctl));
#endif
  return filter.Load();
}

}  // namespace writ::egress
