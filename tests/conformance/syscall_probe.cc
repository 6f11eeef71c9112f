// syscall_probe WORD...: makes one system call per word, as a job would, and prints "WORD ERRNO"
// (0: it was carried out). Every call is harmless to whoever makes it.
#include <linux/aio_abi.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace {

constexpr char kKeyName[] = "writ-test-key";

long Shm() {
  const int id = ::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
  if (id >= 0) ::shmctl(id, IPC_RMID, nullptr);
  return id;
}
long Aio() {
  aio_context_t context = 0;
  const long done = ::syscall(SYS_io_setup, 1, &context);
  if (done == 0) ::syscall(SYS_io_destroy, context);
  return done;
}
long AskPersonality() {
  return ::personality(0xffffffff);
}
long SetPersonality() {
  return ::personality(ADDR_NO_RANDOMIZE);
}
long Trace() {
  return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
}
long UserNamespace() {
  return ::unshare(CLONE_NEWUSER);
}
long Mount() {
  return ::mount("none", "/tmp", "tmpfs", 0, nullptr);
}
// Whether the session keyring holds a key that the test has put into its own.
long SessionKey() {
  return ::syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", kKeyName, 0);
}
long UnknownCall() {
  return ::syscall(900);
}

struct Probe {
  const char* word;
  long (*make)();
};
constexpr Probe kProbes[] = {{"shm", Shm},
                             {"aio", Aio},
                             {"ask-personality", AskPersonality},
                             {"set-personality", SetPersonality},
                             {"trace", Trace},
                             {"user-namespace", UserNamespace},
                             {"mount", Mount},
                             {"session-key", SessionKey},
                             {"unknown", UnknownCall}};

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    for (const Probe& probe : kProbes) {
      if (::strcmp(probe.word, argv[i]) != 0) continue;
      errno = 0;
      const long result = probe.make();
      ::printf("%s %d\n", argv[i], result >= 0 ? 0 : errno);
    }
  }
  return 0;
}
