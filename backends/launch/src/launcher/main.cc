// writ-launch: sets one job up, stays beside it, ends its whole tree, and leaves.
//
// Contract with the backend that starts it:
//   in   descriptor 3  the launch plan (launch_plan.h) on a sealed memfd, read once
//        descriptor 4  control socket (SEQPACKET); its end-of-file means that the backend is gone
//        descriptors 5, 6  write ends of the job's stdout and stderr, handed on and closed here
//        descriptor 7  status file, locked by the backend; the lock goes when this process goes
//   out  on 4, in this order: Ready (with the proxy's listener where the job's network namespace
//   has
//        one) or SetupFailed; then, after Go has come with the environment: Started or SetupFailed;
//        Refused (any number); Ended - which comes only when no descendant of the job is left or
//        kKillBound has passed. The same last message stands in the status file.
//   between Started and Ended, where the plan accepts entries: Enter and SignalEntry come in,
//        EntryStarted, EntryFailed and EntryEnded go out. What is put in is forked by the job's own
//        parent and goes through the same steps as the job (entry_forks.h); nothing enters the
//        job's namespaces from outside.
// The order of the set-up. Without namespaces, RunChild in job_setup.cc: cgroup, session, signals,
// stdio, umask, limits, identity, death signal, terminal, working directory, no_new_privs,
// Landlock, seccomp, exec. With namespaces, job_init.cc before it and ahead of Ready: user, mount,
// pid, ipc, uts and network namespace, id maps, cgroups, identity, death signal, cgroup namespace,
// host name, no further user namespaces, loopback, proxy listener, view (view_step.h), Landlock
// rules, capabilities; the job then starts from a process that has no rights left. With an OCI
// runtime the same init makes the view that the runtime needs, with room for one more user
// namespace, and starts the runtime in it (oci_runtime.h); the container's first process is
// `--inside`, which makes the job's own user namespace and goes on at Landlock.
// A step that fails ends the job before exec with the step's name and errno; nothing is skipped.
// Guarantees: whatever the job does - double forks, sessions of its own, ignored and stopped
// signals - its tree is dead within term_grace + kKillBound of a time-out, a cancel, the end of its
// first process, or the death of the backend; a pid namespace dies with the supervisor, too.
// Single-threaded; no secret comes here before Go, and none stays after exec.
// `--probe`, `--probe-namespaces` and `--probe-plan` try what the host gives (probe.h); `--hook`
// keeps an operator's hook (hook_warden.h). Exit: 0 told or written down, 1 not, 2 wrong use.
#include <linux/close_range.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "hook_warden.h"
#include "oci_runtime.h"
#include "probe.h"
#include "supervisor.h"
#include "writ/base/file.h"

namespace {

constexpr std::uint64_t kMaxPlanBytes = 64u << 20;

int Usage() {
  (void)writ::WriteAll(2,
                       "writ-launch is started by writ, with descriptors 3 to 7 open. By hand: "
                       "writ-launch --probe\n")
      .has_value();
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  namespace launch = writ::backends::launch;
  if (argc == 2 && std::string_view(argv[1]) == "--probe") return launch::RunProbe();
  if (argc >= 2 && std::string_view(argv[1]) == "--hook") return launch::RunHookWarden(argc, argv);
  if (argc == 3 && std::string_view(argv[1]) == "--probe-namespaces")
    return launch::RunNamespaceProbe(argv[2]);
  if (argc == 3 && std::string_view(argv[1]) == "--probe-plan")
    return launch::RunPlanProbe(argv[2]);
  if (argc == 2 && std::string_view(argv[1]) == "--inside") return launch::RunInsideContainer();
  struct stat st {};
  if (argc != 1 || ::fstat(launch::kPlanFd, &st) != 0 || ::fstat(launch::kControlFd, &st) != 0 ||
      ::fstat(launch::kStatusFd, &st) != 0)
    return Usage();
  ::syscall(SYS_close_range, launch::kStatusFd + 1, ~0u, 0);
  ::syscall(SYS_close_range, launch::kPlanFd, launch::kStatusFd, CLOSE_RANGE_CLOEXEC);
  ::prctl(PR_SET_DUMPABLE, 0);  // the job's secrets pass through here

  auto bytes = writ::ReadAll(launch::kPlanFd, kMaxPlanBytes);
  if (!bytes) return Usage();
  ::close(launch::kPlanFd);
  auto plan = launch::DecodeLaunchPlan(*bytes);
  ::explicit_bzero(bytes->data(), bytes->size());
  if (!plan) {
    auto message = launch::EncodeMessage(launch::SetupFailedMessage{plan.error().code, 0});
    (void)writ::SendWithFds(launch::kControlFd, message, {}).has_value();
    return 1;
  }
  return launch::Supervisor(std::move(plan).value()).Run();
}
