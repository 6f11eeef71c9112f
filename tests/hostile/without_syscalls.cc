// without_syscalls SET PROGRAM ARGUMENTS...: runs a program, and all that it starts, as on a kernel
// that lacks the system calls of SET: they answer ENOSYS. WRIT_WITHOUT in its environment says SET.
// Exit 77: this host takes no filter.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

const std::map<std::string, std::vector<int>>& Sets() {
  static const std::map<std::string, std::vector<int>> sets = {
      {"openat2", {SYS_openat2}},
      {"clone3", {SYS_clone3}},
      {"close_range", {SYS_close_range}},
      {"landlock",
       {SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self}},
      {"pidfd", {SYS_pidfd_open, SYS_pidfd_send_signal, SYS_pidfd_getfd}},
      {"pidfd_getfd", {SYS_pidfd_getfd}},
      {"mount_setattr", {SYS_mount_setattr}},
      {"move_mount", {SYS_move_mount}},
      {"open_tree", {SYS_open_tree}},
  };
  return sets;
}

bool TakeAway(const std::vector<int>& calls) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (int call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  auto install = [&filter] {
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
  };
  // As root without no_new_privs, so that what this program shows about set-uid stays true.
  return install() || (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && install());
}

}  // namespace

int main(int argc, char** argv) {
  const auto set = argc >= 3 ? Sets().find(argv[1]) : Sets().end();
  if (set == Sets().end()) return 2;
  if (!TakeAway(set->second)) return 77;
  for (int call : set->second) {
    if (::syscall(call, -1, -1, -1, -1, -1, -1) >= 0 || errno != ENOSYS) return 2;
  }
  ::setenv("WRIT_WITHOUT", argv[1], 1);
  ::execv(argv[2], argv + 2);
  return 127;
}
