#include "probe.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "connect_supervision.h"
#include "job_namespaces.h"
#include "job_setup.h"
#include "writ/backends/linux/credentials.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr std::chrono::seconds kBound{10};

std::vector<sock_filter> ConnectOnlyFilter() {
  return {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
}

// As a job would: another uid where we are root, the filter, one connection. Exit code 0: it was
// made.
[[noreturn]] void TryAsJob(const sockaddr_in& target, int report) {
  if (::geteuid() == 0 && DropIdentity(kProbeUid, kProbeUid).step != nullptr) ::_exit(10);
  ::prctl(PR_SET_DUMPABLE, 1);  // as after an exec
  // Who waits in the kernel for an answer to its call ends with whoever would give it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) ::_exit(13);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(11);
  auto listener = InstallFilter(ConnectOnlyFilter(), Listener::kWanted);
  if (!listener || !SendWithFds(report, "L", {listener->get()})) ::_exit(12);
  listener->reset();
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) ::_exit(14);
  ::_exit(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) == 0
              ? 0
              : 15);
}

std::string WhyNot(int code) {
  switch (code) {
    case 10:
      return "the probe cannot drop root";
    case 11:
      return "no_new_privs is refused";
    case 12:
      return "the kernel refuses a filter with a notification listener";
    case 13:
      return "a process cannot ask to end with its parent";
    case 14:
      return "no TCP socket can be made";
    default:
      return "a connection cannot be made for another process (pidfd_getfd or ptrace rules)";
  }
}

// Empty: it works.
std::string TrySupervisedConnect() {
  if (!KernelKnowsUserNotification())
    return "the kernel has no seccomp user notification (5.6 or newer is needed)";
  UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof target;
  if (!server || ::bind(server.get(), reinterpret_cast<sockaddr*>(&target), sizeof target) != 0 ||
      ::listen(server.get(), 1) != 0 ||
      ::getsockname(server.get(), reinterpret_cast<sockaddr*>(&target), &size) != 0)
    return "no loopback listener can be made";
  auto pair = MakeSeqpacketPair();
  if (!pair) return "no socket pair can be made";
  pid_t pid = ::fork();
  if (pid < 0) return "cannot fork";
  if (pid == 0) {
    pair->first.reset();
    TryAsJob(target, pair->second.get());
  }
  pair->second.reset();
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  auto report = ReceiveWithFds(pair->first.get(), 16);
  if (report && report->fds.size() == 1) {
    ConnectSupervision supervision(
        std::move(report->fds.front()), ProxyTarget{target.sin_addr.s_addr, ntohs(target.sin_port)},
        ConnectSupervision::Network::kOfTheHost, [](const RefusedMessage&) {});
    const auto until = std::chrono::steady_clock::now() + kBound;
    std::vector<pollfd> fds;
    while (std::chrono::steady_clock::now() < until) {
      fds.assign(1, {pidfd.get(), POLLIN, 0});
      supervision.AddPollFds(fds);
      if (::poll(fds.data(), static_cast<nfds_t>(fds.size()), 1000) < 0 && errno != EINTR) break;
      supervision.OnPoll(fds.data() + 1, fds.size() - 1);
      if (fds[0].revents != 0) break;
    }
  }
  siginfo_t info{};
  ::kill(pid, SIGKILL);  // our child, not yet reaped; no effect on one that has ended
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0)
    return "the probe's process is lost";
  if (info.si_code == CLD_EXITED && info.si_status == 0) return "";
  return WhyNot(info.si_code == CLD_EXITED ? info.si_status : -1);
}

LaunchPlan SmallNamespacePlan() {
  LaunchPlan plan;
  plan.argv = {"-"};  // never started
  const bool root = ::geteuid() == 0;
  plan.identity = root ? IdentityStep::kDrop : IdentityStep::kCheck;
  plan.uid = root ? kProbeUid : ::geteuid();
  plan.gid = root ? kProbeUid : ::getegid();
  plan.proxy = ProxyTarget{htonl(INADDR_LOOPBACK), 3128};
  NamespacePlan namespaces;
  auto add = [&namespaces](ViewStep::Kind kind, std::string target, std::string source) {
    ViewStep step;
    step.kind = kind;
    step.target = std::move(target);
    step.source = std::move(source);
    namespaces.view.push_back(std::move(step));
  };
  add(ViewStep::Kind::kBind, "usr", "/usr");
  add(ViewStep::Kind::kProc, "proc", "");
  add(ViewStep::Kind::kDevpts, "dev/pts", "");
  add(ViewStep::Kind::kTmpfs, "tmp", "");
  namespaces.view.push_back(namespaces.view.back());
  namespaces.view.back().kind = ViewStep::Kind::kBind;
  namespaces.view.back().target = "dev/null";
  namespaces.view.back().source = "/dev/null";
  namespaces.view.back().access = BindAccess::kDevice;
  plan.namespaces = std::move(namespaces);
  return plan;
}

// "yes", or "no " and why.
std::string TryNamespaces(const LaunchPlan& plan) {
  auto why = [](int err, const std::string& stage) {
    return "no " + stage + (err != 0 ? ": " + std::string(std::strerror(err)) : "");
  };
  auto init = StartInit(plan, -1);
  if (!init) return why(init.error().sys_errno, init.error().message);
  auto word = ReceiveWithFds(init->socket.get(), 4096);
  std::string answer = "no answer from inside";
  if (word && word->bytes.size() == 1 && word->bytes.front() == kInitReady) answer = "yes";
  if (word && word->bytes.size() > 1 && word->bytes.front() == kFailureReport) {
    const std::size_t blank = word->bytes.find(' ');
    answer = why(std::atoi(word->bytes.c_str() + 1), word->bytes.substr(blank + 1));
  }
  init->socket.reset();  // init leaves, and its namespaces with it
  ::kill(init->pid, SIGKILL);
  siginfo_t info{};
  (void)::waitid(P_PID, static_cast<id_t>(init->pid), &info, WEXITED);
  return answer;
}

bool HoldsCapability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  return ::syscall(SYS_capget, &header, data) == 0 &&
         (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
}

}  // namespace

int RunNamespaceProbe(const std::string& dir) {
  LaunchPlan plan = SmallNamespacePlan();
  plan.namespaces->uptime = Uptime::kFromZero;
  const std::string time = TryNamespaces(plan);
  std::string namespaces = time;
  if (time != "yes") {
    plan.namespaces->uptime = Uptime::kOfTheHost;
    namespaces = TryNamespaces(plan);
  }
  std::string overlay = "no namespaces";
  if (namespaces == "yes") {
    ViewStep step;
    step.kind = ViewStep::Kind::kOverlay;
    step.target = "mnt";
    step.source = dir + "/lower";
    step.upper = dir + "/upper";
    step.work = dir + "/work";
    if (::geteuid() == 0) step.lower_owner = LowerOwner::kRoot;
    plan.namespaces->view.push_back(std::move(step));
    overlay = TryNamespaces(plan);
    if (overlay != "yes" && ::geteuid() == 0 && !HoldsCapability(CAP_SYS_ADMIN))
      overlay += ": this is root without CAP_SYS_ADMIN";
  }
  const std::string text =
      "namespaces=" + namespaces + "\noverlay=" + overlay + "\ntime=" + time + "\n";
  return WriteAll(1, text) ? 0 : 1;
}

int RunPlanProbe(const std::string& path) {
  constexpr std::uint64_t kMaxPlanBytes = 64u << 20;
  for (int fd : {kStdoutFd, kStderrFd})  // what a job would write to
    if (::dup2(0, fd) < 0) return 1;
  auto bytes = ReadFile(path, kMaxPlanBytes);
  auto plan = bytes ? DecodeLaunchPlan(*bytes) : std::move(bytes).error();
  const std::string answer =
      plan && plan->namespaces ? TryNamespaces(*plan) : std::string("no readable plan");
  return WriteAll(1, "plan=" + answer + "\n") ? 0 : 1;
}

int RunProbe() {
  std::string why = TrySupervisedConnect();
  std::string line = why.empty() ? "user_notification=yes\n" : "user_notification=no " + why + "\n";
  return WriteAll(1, line) ? 0 : 1;
}

}  // namespace writ::backends::launch
