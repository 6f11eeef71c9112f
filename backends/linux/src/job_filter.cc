#include "writ/backends/linux/job_filter.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>

#include "filter_export.h"
#include "writ/backends/linux/kernel_constants.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {
namespace {

constexpr scmp_datum_t kInt = 0xffffffff;         // the bits of an int argument
constexpr scmp_datum_t kTypeMask = 0xf;           // SOCK_TYPE_MASK of the kernel
constexpr scmp_datum_t kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS

scmp_arg_cmp IntIs(unsigned arg, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_MASKED_EQ, kInt, value};
}
scmp_arg_cmp Bits(unsigned arg, scmp_datum_t mask, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_MASKED_EQ, mask, value};
}
scmp_arg_cmp Is(unsigned arg, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp IsNot(unsigned arg, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_NE, value, 0};
}
scmp_arg_cmp Below(unsigned arg, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_LT, value, 0};
}
scmp_arg_cmp Above(unsigned arg, scmp_datum_t value) {
  return scmp_arg_cmp{arg, SCMP_CMP_GT, value, 0};
}

// Collects the first failure, so that the rules below read as a list.
class Rules {
 public:
  explicit Rules(scmp_filter_ctx ctx) : ctx_(ctx) {}

  void Add(std::uint32_t action, int syscall, std::initializer_list<scmp_arg_cmp> args = {}) {
    if (error_ != 0 || syscall == __NR_SCMP_ERROR) return;
    int rc = seccomp_rule_add_array(ctx_, action, syscall, static_cast<unsigned>(args.size()),
                                    args.begin());
    if (rc == -EEXIST) return;
    // A negative number is a call that this architecture does not have.
    if (rc != 0 && syscall >= 0) {
      error_ = -rc;
      failed_syscall_ = syscall;
    }
  }
  void Deny(int err, std::initializer_list<const char*> names) {
    for (const char* name : names)
      Add(SCMP_ACT_ERRNO(static_cast<unsigned>(err)), seccomp_syscall_resolve_name(name));
  }
  int error() const { return error_; }
  int failed_syscall() const { return failed_syscall_; }

 private:
  scmp_filter_ctx ctx_;
  int error_ = 0;
  int failed_syscall_ = 0;
};

// AF_INET or AF_INET6: a stream, protocol 0 or TCP.
void AddTcpOnly(Rules& rules, scmp_datum_t family, std::uint32_t tell) {
  const int socket = SCMP_SYS(socket);
  for (scmp_datum_t type = 0; type <= kTypeMask; ++type) {
    if (type != SOCK_STREAM) rules.Add(tell, socket, {Is(0, family), Bits(1, kTypeMask, type)});
  }
  for (scmp_datum_t protocol = 1; protocol < IPPROTO_TCP; ++protocol)
    rules.Add(tell, socket, {Is(0, family), Bits(1, kTypeMask, SOCK_STREAM), Is(2, protocol)});
  rules.Add(tell, socket, {Is(0, family), Bits(1, kTypeMask, SOCK_STREAM), Above(2, IPPROTO_TCP)});
}

// Families: AF_INET and AF_NETLINK are left, and in a network namespace AF_UNIX and AF_INET6.
void AddFamilyRules(Rules& rules, JobSurroundings surroundings, std::uint32_t tell) {
  const int socket = SCMP_SYS(socket);
  const bool shared = surroundings == JobSurroundings::kTheHosts;
  // Refused without a word: libraries try both by themselves (name service cache, IPv6 first) and
  // no address is known at this point.
  if (shared) {
    rules.Add(SCMP_ACT_ERRNO(EACCES), socket, {IntIs(0, AF_UNIX)});
    rules.Add(SCMP_ACT_ERRNO(EAFNOSUPPORT), socket, {IntIs(0, AF_INET6)});
  } else {
    AddTcpOnly(rules, AF_INET6, tell);
  }
  for (scmp_datum_t family = AF_INET + 1; family < AF_NETLINK; ++family) {
    if (family != AF_INET6) rules.Add(tell, socket, {Is(0, family)});
  }
  rules.Add(tell, socket, {Is(0, AF_UNSPEC)});
  rules.Add(tell, socket, {Above(0, AF_NETLINK)});  // high bits of the register end here too
  AddTcpOnly(rules, AF_INET, tell);
  rules.Add(tell, socket, {Is(0, AF_NETLINK), Above(2, NETLINK_ROUTE)});
}

// What is shared with the host and would outlive the job or carry its bytes elsewhere.
void AddSharedHostRules(Rules& rules) {
  const int socketpair = SCMP_SYS(socketpair);
  rules.Add(SCMP_ACT_ERRNO(EAFNOSUPPORT), socketpair, {Below(0, AF_UNIX)});
  rules.Add(SCMP_ACT_ERRNO(EAFNOSUPPORT), socketpair, {Above(0, AF_UNIX)});
  for (scmp_datum_t type = 0; type <= kTypeMask; ++type) {
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
      rules.Add(SCMP_ACT_ERRNO(EACCES), socketpair, {Is(0, AF_UNIX), Bits(1, kTypeMask, type)});
  }

  rules.Deny(EACCES, {"listen", "accept", "accept4"});
  // The kernel asks for the same uid alone: an ordinary user's job could slow its runner, or pin it
  // to a processor and stay there. Left is what a thread says of itself.
  const auto refuse = SCMP_ACT_ERRNO(EPERM);
  for (int call : {SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setparam), SCMP_SYS(sched_setattr),
                   SCMP_SYS(sched_setaffinity)})
    rules.Add(refuse, call, {IsNot(0, 0)});
  rules.Add(refuse, SCMP_SYS(setpriority), {IsNot(0, PRIO_PROCESS)});
  rules.Add(refuse, SCMP_SYS(setpriority), {IsNot(1, 0)});
  rules.Add(refuse, SCMP_SYS(ioprio_set), {IsNot(0, kIoPriorityOfProcess)});
  rules.Add(refuse, SCMP_SYS(ioprio_set), {IsNot(1, 0)});
  // These outlive their maker and are shared by the whole host.
  rules.Deny(EPERM, {"shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl",
                     "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"});
}

void AddDetourRules(Rules& rules) {
  const auto refuse = SCMP_ACT_ERRNO(EOPNOTSUPP);
  rules.Add(refuse, SCMP_SYS(sendto), {Bits(3, kernel::kMsgFastOpen, kernel::kMsgFastOpen)});
  rules.Add(refuse, SCMP_SYS(sendmsg), {Bits(2, kernel::kMsgFastOpen, kernel::kMsgFastOpen)});
  rules.Add(refuse, SCMP_SYS(sendmmsg), {Bits(3, kernel::kMsgFastOpen, kernel::kMsgFastOpen)});
  const int setsockopt = SCMP_SYS(setsockopt);
  for (int option : {TCP_FASTOPEN, kernel::kTcpFastOpenConnect, TCP_ULP, TCP_REPAIR})
    rules.Add(SCMP_ACT_ERRNO(ENOPROTOOPT), setsockopt,
              {IntIs(1, IPPROTO_TCP), IntIs(2, static_cast<scmp_datum_t>(option))});
  rules.Add(SCMP_ACT_ERRNO(ENOPROTOOPT), setsockopt, {IntIs(1, IPPROTO_IP), IntIs(2, IP_OPTIONS)});
}

void AddProcessRules(Rules& rules) {
  rules.Deny(EPERM, {"ptrace",
                     "process_vm_readv",
                     "process_vm_writev",
                     "process_madvise",
                     "kcmp",
                     "pidfd_getfd",
                     "unshare",
                     "setns",
                     "perf_event_open",
                     "bpf",
                     "userfaultfd",
                     "add_key",
                     "request_key",
                     "keyctl",
                     "kexec_load",
                     "kexec_file_load",
                     "init_module",
                     "finit_module",
                     "delete_module",
                     "create_module",
                     "lookup_dcookie",
                     "acct",
                     "swapon",
                     "swapoff",
                     "reboot",
                     "quotactl",
                     "quotactl_fd",
                     "syslog",
                     "settimeofday",
                     "clock_settime",
                     "iopl",
                     "ioperm",
                     "vhangup",
                     "fanotify_init",
                     "sethostname",
                     "setdomainname",
                     "nfsservctl",
                     "modify_ldt",
                     "move_pages",
                     "migrate_pages",
                     "uselib",
                     "_sysctl"});
  rules.Deny(EPERM, {"mount", "umount", "umount2", "pivot_root", "chroot", "move_mount",
                     "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
                     "open_by_handle_at", "name_to_handle_at"});
  // Runtimes treat ENOSYS as "old kernel" and do without.
  rules.Deny(ENOSYS, {"io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"});
  for (scmp_datum_t flag :
       {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
        CLONE_NEWNET})  // CLONE_NEWTIME exists in clone3 and unshare only
    rules.Add(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), {Bits(0, flag, flag)});
  // The newest listener of a thread's filters answers: a job must not become its own supervisor.
  rules.Add(SCMP_ACT_ERRNO(EBUSY), SCMP_SYS(seccomp),
            {Bits(1, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_NEW_LISTENER)});
  // Landlock scopes signals and tracing, not limits: an ordinary user's job could choke its runner.
  rules.Add(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), {IsNot(0, 0)});
  for (scmp_datum_t request : {TIOCSTI, 0x541C /* TIOCLINUX */})
    rules.Add(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), {IntIs(1, request)});
  for (int number = kernel::kFirstUnknownSyscall; number <= kernel::kLastUnknownSyscall; ++number)
    rules.Add(SCMP_ACT_ERRNO(ENOSYS), number);
}

}  // namespace

Result<std::vector<sock_filter>> ExportFilter(void* context) {
  UniqueFd file(::memfd_create("writ-filter", MFD_CLOEXEC));
  if (!file) return SysError(errno, "seccomp.export", "cannot make a memory file for the filter");
  if (int rc = seccomp_export_bpf(context, file.get()); rc != 0)
    return SysError(-rc, "seccomp.export", "libseccomp cannot write the filter");
  if (::lseek(file.get(), 0, SEEK_SET) != 0)
    return SysError(errno, "seccomp.export", "cannot rewind the filter");
  WRIT_ASSIGN(std::string bytes, ReadAll(file.get(), BPF_MAXINSNS * sizeof(sock_filter)));
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  return program;
}

Result<std::vector<sock_filter>> CompileRecordingFilter() {
  std::unique_ptr<void, void (*)(void*)> ctx(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (ctx == nullptr)
    return Error{ErrorKind::kUnsupported, "seccomp.init",
                 "libseccomp cannot make a filter on this architecture"};
  seccomp_attr_set(ctx.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  Rules rules(ctx.get());
  rules.Add(SCMP_ACT_NOTIFY, SCMP_SYS(connect));
  if (rules.error() != 0)
    return SysError(rules.error(), "seccomp.rule", "libseccomp refuses the rule for connect");
  return ExportFilter(ctx.get());
}

Result<std::vector<sock_filter>> CompileJobFilter(ConnectRule connect,
                                                  JobSurroundings surroundings) {
  std::unique_ptr<void, void (*)(void*)> ctx(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (ctx == nullptr)
    return Error{ErrorKind::kUnsupported, "seccomp.init",
                 "libseccomp cannot make a filter on this architecture"};
  seccomp_attr_set(ctx.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  seccomp_attr_set(ctx.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree over call numbers

  const bool supervised = connect == ConnectRule::kSupervised;
  Rules rules(ctx.get());
  const bool shared = surroundings == JobSurroundings::kTheHosts;
  AddFamilyRules(rules, surroundings, supervised ? SCMP_ACT_NOTIFY : SCMP_ACT_ERRNO(EACCES));
  if (shared) AddSharedHostRules(rules);
  AddDetourRules(rules);
  AddProcessRules(rules);
  if (supervised) {
    rules.Add(SCMP_ACT_NOTIFY, SCMP_SYS(connect));
    if (shared) rules.Add(SCMP_ACT_NOTIFY, SCMP_SYS(bind));
  }
  if (rules.error() != 0)
    return SysError(
        rules.error(), "seccomp.rule",
        "libseccomp refuses the rule for system call " + std::to_string(rules.failed_syscall()));

  return ExportFilter(ctx.get());
}

}  // namespace writ::backends
