// What belongs to the host as a whole: its devices, its settings, its groups. Where an attempt
// could change something it writes back what it read.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "attack.h"

namespace writ::hostile {
namespace {

// The null device in a file's place is a mask, not the file.
Result OpensAny(std::initializer_list<const char*> paths, int flags) {
  for (const char* path : paths) {
    const int fd = ::open(HostPath(path).c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st {};
    if (fd < 0 || ::fstat(fd, &st) != 0) continue;
    if (!S_ISCHR(st.st_mode) || st.st_rdev != ::makedev(1, 3)) return Result::kGotThrough;
  }
  return Result::kRefused;
}

// The same bytes again: through, and nothing has changed.
Result RewritesAny(std::initializer_list<const char*> paths) {
  for (const char* path : paths) {
    const std::string file = HostPath(path);
    char text[4096] = "x";
    const int in = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t got = in >= 0 ? ::read(in, text, sizeof text) : 0;
    const int out = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    if (out >= 0 && ::write(out, text, got > 0 ? static_cast<std::size_t>(got) : 1) > 0)
      return Result::kGotThrough;
  }
  return Result::kRefused;
}

Result Kvm() {
  return OpensAny({"/dev/kvm"}, O_RDWR);
}
Result PhysicalMemory() {
  return OpensAny({"/dev/mem", "/dev/port"}, O_RDONLY);
}
Result LoopDevice() {
  return OpensAny({"/dev/loop-control", "/dev/loop0"}, O_RDWR);
}
Result BlockDevice() {
  return OpensAny({"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda", "/dev/dm-0"}, O_RDONLY);
}
Result Fuse() {
  return OpensAny({"/dev/fuse", "/dev/cuse"}, O_RDWR);
}
Result Tunnel() {
  return OpensAny({"/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"}, O_RDWR);
}
Result Console() {
  return OpensAny({"/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/input/event0"},
                  O_RDWR);
}
Result KernelMessages() {
  return OpensAny({"/dev/kmsg"}, O_RDONLY);
}
Result KernelByProc() {
  return OpensAny({"/proc/kcore", "/proc/kmsg"}, O_RDONLY);
}
Result Passwords() {
  return OpensAny({"/etc/shadow", "/etc/gshadow", "/root/.ssh/id_rsa", "/etc/ssl/private/key.pem"},
                  O_RDONLY);
}
Result DebugFileSystem() {
  return OpensAny({"/sys/kernel/debug/tracing/trace_marker", "/sys/kernel/tracing/trace_marker"},
                  O_WRONLY);
}

Result CorePattern() {
  return RewritesAny({"/proc/sys/kernel/core_pattern"});
}
Result UeventHelper() {
  return RewritesAny({"/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug"});
}
Result ModprobePath() {
  return RewritesAny({"/proc/sys/kernel/modprobe", "/proc/sys/kernel/poweroff_cmd"});
}
Result ReleaseAgent() {
  return RewritesAny({"/sys/fs/cgroup/pids/release_agent", "/sys/fs/cgroup/memory/release_agent",
                      "/sys/fs/cgroup/cpu/release_agent"});
}
Result Sysctl() {
  return RewritesAny({"/proc/sys/vm/swappiness", "/proc/sys/kernel/randomize_va_space"});
}
Result NetworkSysctl() {
  return RewritesAny({"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range"});
}
Result LastPid() {
  return RewritesAny({"/proc/sys/kernel/ns_last_pid"});
}
Result BinaryFormats() {
  return OpensAny({"/proc/sys/fs/binfmt_misc/register"}, O_WRONLY);
}
Result SysRq() {
  return OpensAny({"/proc/sysrq-trigger"}, O_WRONLY);
}
Result PowerState() {
  return OpensAny({"/sys/power/state", "/sys/power/disk"}, O_WRONLY);
}
Result HugePages() {
  return RewritesAny({"/proc/sys/vm/nr_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled"});
}
// Out of its groups, away from their limits.
Result LeaveCgroup() {
  for (const char* file :
       {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs"}) {
    const int fd = ::open(HostPath(file).c_str(), O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && ::write(fd, "0", 1) == 1) return Result::kGotThrough;
  }
  return Result::kRefused;
}
Result RaiseCgroupLimit() {
  return RewritesAny({"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max",
                      "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                      "/sys/fs/cgroup/unified/cgroup.freeze"});
}

Result MakesNode(mode_t type, dev_t device) {
  ::unlink("node");
  return From(::mknod("node", type | 0600, device) == 0);
}
Result CharacterNode() {
  return MakesNode(S_IFCHR, ::makedev(1, 1));
}
Result BlockNode() {
  return MakesNode(S_IFBLK, ::makedev(7, 0));
}
// What an overlay takes for "this file is gone". Everybody may make one.
Result WhiteoutNode() {
  return MakesNode(S_IFCHR, ::makedev(0, 0));
}

}  // namespace

const std::vector<Attack>& HostAttacks() {
  static const std::vector<Attack> attacks = {
      {"dev-kvm", Kvm},
      {"dev-mem", PhysicalMemory},
      {"dev-loop", LoopDevice},
      {"dev-block", BlockDevice},
      {"dev-fuse", Fuse},
      {"dev-tun", Tunnel},
      {"dev-console", Console},
      {"dev-kmsg", KernelMessages},
      {"proc-kernel", KernelByProc},
      {"read-passwords", Passwords},
      {"debugfs", DebugFileSystem},
      {"core-pattern", CorePattern},
      {"uevent-helper", UeventHelper},
      {"modprobe-path", ModprobePath},
      {"release-agent", ReleaseAgent},
      {"sysctl", Sysctl},
      {"sysctl-net", NetworkSysctl},
      {"ns-last-pid", LastPid},
      {"binfmt-misc", BinaryFormats},
      {"sysrq", SysRq},
      {"power-state", PowerState},
      {"huge-pages", HugePages},
      {"leave-cgroup", LeaveCgroup},
      {"raise-cgroup-limit", RaiseCgroupLimit},
      {"mknod-char", CharacterNode},
      {"mknod-block", BlockNode},
      {"mknod-whiteout", WhiteoutNode},
  };
  return attacks;
}

}  // namespace writ::hostile
