#include "writ/backends/linux/allow_list.h"

#include <seccomp.h>
#include <sys/personality.h>

#include <cerrno>
#include <memory>

#include "filter_export.h"

namespace writ::backends {
namespace {

constexpr const char* kFiles[] = {"access",
                                  "chdir",
                                  "chmod",
                                  "chown",
                                  "close",
                                  "close_range",
                                  "copy_file_range",
                                  "creat",
                                  "dup",
                                  "dup2",
                                  "dup3",
                                  "faccessat",
                                  "faccessat2",
                                  "fadvise64",
                                  "fallocate",
                                  "fchdir",
                                  "fchmod",
                                  "fchmodat",
                                  "fchown",
                                  "fchownat",
                                  "fcntl",
                                  "fdatasync",
                                  "fgetxattr",
                                  "flistxattr",
                                  "flock",
                                  "fremovexattr",
                                  "fsetxattr",
                                  "fstat",
                                  "fstatfs",
                                  "fsync",
                                  "ftruncate",
                                  "futimesat",
                                  "getcwd",
                                  "getdents",
                                  "getdents64",
                                  "getxattr",
                                  "inotify_add_watch",
                                  "inotify_init",
                                  "inotify_init1",
                                  "inotify_rm_watch",
                                  "ioctl",
                                  "lchown",
                                  "lgetxattr",
                                  "link",
                                  "linkat",
                                  "listxattr",
                                  "llistxattr",
                                  "lremovexattr",
                                  "lseek",
                                  "lsetxattr",
                                  "lstat",
                                  "mkdir",
                                  "mkdirat",
                                  "mknod",
                                  "mknodat",
                                  "newfstatat",
                                  "open",
                                  "openat",
                                  "openat2",
                                  "pread64",
                                  "preadv",
                                  "preadv2",
                                  "pwrite64",
                                  "pwritev",
                                  "pwritev2",
                                  "read",
                                  "readahead",
                                  "readlink",
                                  "readlinkat",
                                  "readv",
                                  "removexattr",
                                  "rename",
                                  "renameat",
                                  "renameat2",
                                  "rmdir",
                                  "sendfile",
                                  "setxattr",
                                  "splice",
                                  "stat",
                                  "statfs",
                                  "statx",
                                  "symlink",
                                  "symlinkat",
                                  "sync",
                                  "sync_file_range",
                                  "syncfs",
                                  "tee",
                                  "truncate",
                                  "umask",
                                  "unlink",
                                  "unlinkat",
                                  "utime",
                                  "utimensat",
                                  "utimes",
                                  "write",
                                  "writev",
                                  "cachestat",
                                  "fchmodat2"};

constexpr const char* kMemory[] = {
    "brk",           "madvise",          "membarrier", "memfd_create", "mincore",
    "mlock",         "mlock2",           "mmap",       "mprotect",     "mremap",
    "msync",         "munlock",          "munmap",     "pkey_alloc",   "pkey_free",
    "pkey_mprotect", "map_shadow_stack",
};

constexpr const char* kProcesses[] = {"alarm",
                                      "arch_prctl",
                                      "capget",
                                      "capset",
                                      "clone",
                                      "execve",
                                      "execveat",
                                      "exit",
                                      "exit_group",
                                      "fork",
                                      "futex",
                                      "futex_waitv",
                                      "get_robust_list",
                                      "get_thread_area",
                                      "getcpu",
                                      "getegid",
                                      "geteuid",
                                      "getgid",
                                      "getgroups",
                                      "getitimer",
                                      "getpgid",
                                      "getpgrp",
                                      "getpid",
                                      "getppid",
                                      "getpriority",
                                      "getresgid",
                                      "getresuid",
                                      "getrlimit",
                                      "getrusage",
                                      "getsid",
                                      "gettid",
                                      "getuid",
                                      "ioprio_get",
                                      "ioprio_set",
                                      "kill",
                                      "nanosleep",
                                      "pause",
                                      "pidfd_open",
                                      "pidfd_send_signal",
                                      "prctl",
                                      "prlimit64",
                                      "process_mrelease",
                                      "restart_syscall",
                                      "rseq",
                                      "rt_sigaction",
                                      "rt_sigpending",
                                      "rt_sigprocmask",
                                      "rt_sigqueueinfo",
                                      "rt_sigreturn",
                                      "rt_sigsuspend",
                                      "rt_sigtimedwait",
                                      "rt_tgsigqueueinfo",
                                      "sched_get_priority_max",
                                      "sched_get_priority_min",
                                      "sched_getaffinity",
                                      "sched_getattr",
                                      "sched_getparam",
                                      "sched_getscheduler",
                                      "sched_rr_get_interval",
                                      "sched_setaffinity",
                                      "sched_yield",
                                      "seccomp",
                                      "set_robust_list",
                                      "set_thread_area",
                                      "set_tid_address",
                                      "setfsgid",
                                      "setfsuid",
                                      "setgid",
                                      "setgroups",
                                      "setitimer",
                                      "setpgid",
                                      "setpriority",
                                      "setregid",
                                      "setresgid",
                                      "setresuid",
                                      "setreuid",
                                      "setrlimit",
                                      "setsid",
                                      "setuid",
                                      "sigaltstack",
                                      "sysinfo",
                                      "tgkill",
                                      "time",
                                      "times",
                                      "tkill",
                                      "uname",
                                      "vfork",
                                      "wait4",
                                      "waitid",
                                      "landlock_add_rule",
                                      "landlock_create_ruleset",
                                      "landlock_restrict_self"};

constexpr const char* kTimeAndEvents[] = {"clock_getres",
                                          "clock_gettime",
                                          "clock_nanosleep",
                                          "epoll_create",
                                          "epoll_create1",
                                          "epoll_ctl",
                                          "epoll_ctl_old",
                                          "epoll_pwait",
                                          "epoll_pwait2",
                                          "epoll_wait",
                                          "epoll_wait_old",
                                          "eventfd",
                                          "eventfd2",
                                          "getrandom",
                                          "gettimeofday",

                                          "pipe",
                                          "pipe2",
                                          "poll",
                                          "ppoll",
                                          "pselect6",
                                          "select",
                                          "signalfd",
                                          "signalfd4",
                                          "timer_create",
                                          "timer_delete",
                                          "timer_getoverrun",
                                          "timer_gettime",
                                          "timer_settime",
                                          "timerfd_create",
                                          "timerfd_gettime",
                                          "timerfd_settime"};

constexpr const char* kSockets[] = {
    "accept",     "accept4", "bind",       "connect",  "getpeername", "getsockname",
    "getsockopt", "listen",  "recvfrom",   "recvmmsg", "recvmsg",     "sendmmsg",
    "sendmsg",    "sendto",  "setsockopt", "shutdown", "socket",      "socketpair"};

// What a profile for build and package tools has beside.
constexpr const char* kForBuilds[] = {
    // System V IPC and message queues: fakeroot, databases under test.
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat",
    "shmctl", "shmdt", "shmget",
    // Asynchronous I/O, placement, scheduling, locked memory: databases, runtimes, benchmarks.
    "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
    "get_mempolicy", "set_mempolicy", "mbind", "mlockall", "munlockall", "sched_setattr",
    "sched_setparam", "sched_setscheduler",
    // Old and odd: setarch, chronyc, ulockmgr and their like.
    "personality", "adjtimex", "clock_adjtime", "remap_file_pages", "ustat", "vmsplice",
    "memfd_secret"};

// Programs look which one they have, and 32-bit builds name themselves so.
constexpr scmp_datum_t kHarmlessPersonalities[] = {PER_LINUX, PER_LINUX32, 0xffffffff};

// Refused with EPERM by the job's filter: in this list, so that its answer is the one.
constexpr const char* kAnsweredByTheOther[] = {"ptrace",
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
                                               "mount",
                                               "umount2",
                                               "pivot_root",
                                               "chroot",
                                               "name_to_handle_at",
                                               "open_by_handle_at"};

}  // namespace

Result<std::vector<sock_filter>> CompileAllowList(AllowList list) {
  std::unique_ptr<void, void (*)(void*)> ctx(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), seccomp_release);
  if (ctx == nullptr)
    return Error{ErrorKind::kUnsupported, "seccomp.init",
                 "libseccomp cannot make a filter on this architecture"};
  seccomp_attr_set(ctx.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  seccomp_attr_set(ctx.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  int error = 0;
  auto allow = [&ctx, &error](const auto& names) {
    for (const char* name : names) {
      const int number = seccomp_syscall_resolve_name(name);
      if (number < 0) continue;  // not of this architecture, or newer than the library
      if (int rc = seccomp_rule_add(ctx.get(), SCMP_ACT_ALLOW, number, 0); rc != 0) error = -rc;
    }
  };
  allow(kFiles);
  allow(kMemory);
  allow(kProcesses);
  allow(kTimeAndEvents);
  allow(kSockets);
  allow(kAnsweredByTheOther);
  if (list == AllowList::kBuild) allow(kForBuilds);
  for (scmp_datum_t personality : kHarmlessPersonalities) {
    if (list == AllowList::kBuild) break;
    scmp_arg_cmp asked{0, SCMP_CMP_EQ, personality, 0};
    if (int rc = seccomp_rule_add(ctx.get(), SCMP_ACT_ALLOW, SCMP_SYS(personality), 1, asked);
        rc != 0)
      error = -rc;
  }
  if (error != 0) return SysError(error, "seccomp.rule", "libseccomp refuses the list of calls");
  return ExportFilter(ctx.get());
}

}  // namespace writ::backends
