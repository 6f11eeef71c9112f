// writ-launch: sets one job up, stays beside it, ends its whole tree, and leaves.
//
// Contract with the backend that starts it, with one descriptor, 3: a control socket (SEQPACKET)
// whose end-of-file means that the backend is gone.
//   in   Job, for which it may wait for long (a backend keeps one ahead of its next job; until then
//        it holds nothing else and has done nothing): with the launch plan (launch_plan.h) on a
//        sealed memfd, read once; the status file, locked by the backend, whose lock goes when this
//        process goes; the write ends of the job's stdout and stderr, handed on and closed here;
//        supplies for the owner of a machine, handed on unread.
//   out  in this order: Ready (with the proxy's listener where the job's network namespace has one)
//        or SetupFailed; then, after Go has come with the environment: Started or SetupFailed;
//        Refused (any number); Ended - which comes only when no descendant of the job is left or
//        kKillBound has passed. The same last message stands in the status file.
//   between Started and Ended, where the plan accepts entries: Enter and SignalEntry come in,
//        EntryStarted, EntryFailed and EntryEnded go out. What is put in is forked by the job's own
//        parent and goes through the same steps as the job (entry_forks.h); nothing enters the
//        job's namespaces from outside.
// The order of the set-up. Without namespaces, RunChild in job_setup.cc: cgroup, session, signals,
// stdio, umask, limits, session keyring, identity, death signal, terminal, working directory,
// no_new_privs, Landlock, seccomp, exec. With namespaces, job_init.cc before it and ahead of Ready:
// user, mount, pid, ipc, uts and network namespace, id maps, cgroups, time namespace, identity,
// death signal, cgroup namespace, host name, no further user namespaces, loopback, proxy listener,
// view (view_step.h), Landlock rules, capabilities; the job then starts from a process that has no
// rights left. With an OCI runtime the same init makes the view that the runtime needs, with room
// for one more user namespace, and starts the runtime in it (oci_runtime.h); the container's first
// process is `--inside`, which makes the job's own user and time namespaces and goes on at
// Landlock;
// `--inside-own-kernel` does the same under gVisor, whose kernel has neither Landlock nor more,
// and where entries are accepted first parts them from the job (view_beside.h).
// A step that fails ends the job before exec with the step's name and errno; nothing is skipped.
// Guarantees: whatever the job does - double forks, sessions of its own, ignored and stopped
// signals - its tree is dead within term_grace + kKillBound of a time-out, a cancel, the end of its
// first process, or the death of the backend; a pid namespace dies with the supervisor, too.
// Single-threaded; no secret comes here before Go, and none stays after exec.
// `--probe`, `--probe-namespaces` and `--probe-plan` try what the host gives (probe.h); `--hook`
// keeps an operator's hook (hook_warden.h). Exit: 0 told or written down, or no job ever came, 1
// not, 2 wrong use.
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "hook_warden.h"
#include "oci_runtime.h"
#include "probe.h"
#include "supervisor.h"
#include "writ/base/close_descriptors.h"
#include "writ/base/file.h"

namespace {

constexpr std::uint64_t kMaxPlanBytes = 64u << 20;

int Usage() {
  (void)writ::WriteAll(2,
                       "writ-launch is started by writ, with a socket as descriptor 3. By hand: "
                       "writ-launch --probe\n")
      .has_value();
  return 2;
}

// The descriptors of the job where the rest of this program looks for them.
bool PutInPlace(std::vector<writ::UniqueFd>& fds) {
  namespace launch = writ::backends::launch;
  constexpr int kAbove = launch::kHighestFd + 1;
  // Out of the way of the places first: any of them may have come as any number.
  for (writ::UniqueFd& fd : fds) {
    fd.reset(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kAbove));
    if (!fd) return false;
  }
  return ::dup3(fds[1].get(), launch::kStatusFd, O_CLOEXEC) >= 0 &&
         ::dup3(fds[2].get(), launch::kStdoutFd, O_CLOEXEC) >= 0 &&
         ::dup3(fds[3].get(), launch::kStderrFd, O_CLOEXEC) >= 0;
}

struct Ordered {
  std::string plan;
  writ::UniqueFd supplies;
};

// Empty: the backend has gone, or wants no job of this process any more.
std::optional<Ordered> AwaitOrder() {
  namespace launch = writ::backends::launch;
  auto received = writ::ReceiveWithFds(launch::kControlFd, launch::kMaxMessageBytes);
  if (!received || received->fds.size() < launch::kJobDescriptors ||
      received->fds.size() > launch::kJobDescriptors + 1)
    return std::nullopt;
  auto message = launch::DecodeMessage(received->bytes);
  if (!message || !std::holds_alternative<launch::JobMessage>(*message) ||
      !PutInPlace(received->fds))
    return std::nullopt;
  auto bytes = writ::ReadAll(received->fds.front().get(), kMaxPlanBytes);
  if (!bytes) return std::nullopt;
  Ordered out{std::move(bytes).value(), {}};
  if (received->fds.size() > launch::kJobDescriptors)
    out.supplies = std::move(received->fds.back());
  return out;
}

int FailSetup(const std::string& stage) {
  namespace launch = writ::backends::launch;
  auto message = launch::EncodeMessage(launch::SetupFailedMessage{stage, 0});
  (void)writ::SendWithFds(launch::kControlFd, message, {}).has_value();
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  namespace launch = writ::backends::launch;
  writ::RaiseDescriptorLimit();
  if (argc == 2 && std::string_view(argv[1]) == "--probe") return launch::RunProbe();
  if (argc >= 2 && std::string_view(argv[1]) == "--hook") return launch::RunHookWarden(argc, argv);
  if (argc == 3 && std::string_view(argv[1]) == "--probe-namespaces")
    return launch::RunNamespaceProbe(argv[2]);
  if (argc == 3 && std::string_view(argv[1]) == "--probe-plan")
    return launch::RunPlanProbe(argv[2]);
  if (argc == 2 && std::string_view(argv[1]) == "--inside")
    return launch::RunInsideContainer(launch::ContainerKernel::kHosts);
  if (argc == 2 && std::string_view(argv[1]) == "--inside-own-kernel")
    return launch::RunInsideContainer(launch::ContainerKernel::kOwn);
  struct stat st {};
  if (argc != 1 || ::fstat(launch::kControlFd, &st) != 0 || !S_ISSOCK(st.st_mode)) return Usage();
  if (!writ::CloseDescriptors(launch::kControlFd + 1) ||
      !writ::CloseDescriptorsOnExec(launch::kControlFd, launch::kControlFd))
    return FailSetup("descriptors");
  ::prctl(PR_SET_DUMPABLE, 0);  // the job's secrets pass through here

  std::optional<Ordered> order = AwaitOrder();
  if (!order) return 0;
  auto plan = launch::DecodeLaunchPlan(order->plan);
  ::explicit_bzero(order->plan.data(), order->plan.size());
  if (!plan) return FailSetup(plan.error().code);
  return launch::Supervisor(std::move(plan).value(), std::move(order->supplies)).Run();
}
