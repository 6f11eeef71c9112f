#include "job_setup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>
#include <vector>

#include "copy_in_place.h"
#include "writ/backends/linux/credentials.h"
#include "writ/backends/linux/keyring.h"
#include "writ/backends/linux/seccomp.h"
#include "writ/backends/linux/terminal.h"
#include "writ/base/close_descriptors.h"

namespace writ::backends::launch {
namespace {

// Only a stage and an errno leave the child: no text with values of the plan.
[[noreturn]] void Fail(int report, std::string_view stage, int err) {
  std::string text = kFailureReport + std::to_string(err) + " " + std::string(stage);
  (void)SendWithFds(report, text, {}).has_value();
  ::_exit(125);
}

void EnterCgroups(const std::vector<std::string>& dirs, int report) {
  for (const std::string& dir : dirs) {
    UniqueFd procs(::open((dir + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs || ::write(procs.get(), "0", 1) != 1) Fail(report, "cgroup", errno);
  }
}

void ResetSignals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);  // EINVAL for KILL, STOP and libc's own
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// None of the three is 0, 1 or 2 itself: those are the launcher's own /dev/null.
void AttachStandardStreams(const ProcessStart& start, int report) {
  if (start.terminal) return;
  UniqueFd null;
  if (start.in < 0) {
    null.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) Fail(report, "stdin", errno);
  }
  if (::dup2(start.in < 0 ? null.get() : start.in, 0) < 0 || ::dup2(start.out, 1) < 0 ||
      ::dup2(start.err, 2) < 0)
    Fail(report, "stdio", errno);
}

// With the job's identity: the device is its own.
void AttachTerminal(const LaunchPlan& plan, const ProcessStart& start, int report) {
  if (!start.terminal) return;
  Terminal terminal;
  if (start.slave < 0) {
    auto opened = OpenTerminal(plan.namespaces ? kOwnTerminals : kHostTerminals, *start.terminal);
    if (!opened) Fail(report, "terminal", opened.error().sys_errno);
    terminal = std::move(opened).value();
  }
  const int slave = start.slave < 0 ? terminal.slave.get() : start.slave;
  if (::ioctl(slave, TIOCSCTTY, 0) != 0) Fail(report, "terminal", errno);
  for (int fd : {0, 1, 2})
    if (::dup2(slave, fd) < 0) Fail(report, "terminal", errno);
  if (start.slave >= 0) return;
  if (auto sent =
          SendWithFds(report, std::string(1, kTerminalReport), {terminal.master.get(), slave});
      !sent)
    Fail(report, "terminal", sent.error().sys_errno);
}

void SetLimit(const ResourceLimit& limit, int report) {
  const auto resource = static_cast<__rlimit_resource_t>(limit.resource);
  rlimit now{};
  if (::getrlimit(resource, &now) != 0) Fail(report, "rlimit", errno);
  // A hard limit that is lower already stays: it is the stricter one and could not be raised.
  rlim_t most = now.rlim_max;
  // What the job may have in flight between sockets is counted with its uid, against the limit of
  // whoever sends: we and later entries must be able to send when it has sent all that it may.
  if (limit.resource == RLIMIT_NOFILE && most != RLIM_INFINITY) most -= most / 2;
  const rlim_t value = most == RLIM_INFINITY ? limit.value : std::min<rlim_t>(most, limit.value);
  rlimit wanted{value, value};
  if (::setrlimit(resource, &wanted) != 0) Fail(report, "rlimit", errno);
}

// All but the one of descriptors, which comes last.
void SetLimits(const std::vector<ResourceLimit>& limits, int report) {
  for (const ResourceLimit& limit : limits)
    if (limit.resource != RLIMIT_NOFILE) SetLimit(limit, report);
}

// Once nothing has to be sent any more.
void SetDescriptorLimit(const std::vector<ResourceLimit>& limits, int report) {
  for (const ResourceLimit& limit : limits)
    if (limit.resource == RLIMIT_NOFILE) SetLimit(limit, report);
}

void LeaveKeyring(SessionKeyring keyring, int report) {
  if (keyring != SessionKeyring::kNew) return;
  if (int err = JoinNewSessionKeyring(); err != 0) Fail(report, "session keyring", err);
}

void TakeIdentity(const LaunchPlan& plan, int report) {
  if (plan.namespaces) {  // init has given everything up; looked at once more
    DropFailure failure = CheckIdentity(plan.namespaces->inside_uid, plan.namespaces->inside_gid);
    if (failure.step != nullptr)
      Fail(report, std::string("identity: ") + failure.step, failure.err);
    return;
  }
  DropFailure failure = plan.identity == IdentityStep::kDrop ? DropIdentity(plan.uid, plan.gid)
                                                             : CheckIdentity(plan.uid, plan.gid);
  if (failure.step != nullptr) Fail(report, std::string("identity: ") + failure.step, failure.err);
}

// Dies with the supervisor should that ever be killed. After the identity: a change of uid clears
// it.
void DieWithSupervisor(pid_t supervisor, int report) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail(report, "parent death signal", errno);
  if (::getppid() != supervisor) Fail(report, "parent death signal", ESRCH);
}

void InstallGuards(const LaunchPlan& plan, int ruleset, int report) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail(report, "no_new_privs", errno);
  if (ruleset >= 0) {
    if (int err = LandlockRestrictSelf(ruleset); err != 0) Fail(report, "landlock", err);
  }
  if (!plan.allow_list.empty()) {
    auto listed = InstallFilter(plan.allow_list, Listener::kNone);
    if (!listed) Fail(report, "seccomp", listed.error().sys_errno);
  }
  if (plan.filter.empty()) return;
  auto listener =
      InstallFilter(plan.filter, plan.supervise_connect ? Listener::kWanted : Listener::kNone);
  if (!listener) Fail(report, "seccomp", listener.error().sys_errno);
  if (!plan.supervise_connect) return;
  if (auto sent = SendWithFds(report, std::string(1, kListenerReport), {listener->get()}); !sent)
    Fail(report, "seccomp listener", sent.error().sys_errno);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

std::string_view PathVariable(const std::vector<std::string>& env) {
  std::string_view path;
  for (const std::string& entry : env) {
    if (entry.rfind("PATH=", 0) == 0) path = std::string_view(entry).substr(5);
  }
  return path;
}

// execvp(3) without its shell fallback: a file without "#!" is not executable here.
int Execute(const ProcessStart& start) {
  std::vector<char*> argv = Pointers(start.argv);
  std::vector<char*> env = Pointers(start.env);
  const std::string& program = start.argv.front();
  if (program.find('/') != std::string::npos) {
    ::execve(program.c_str(), argv.data(), env.data());
    return errno;
  }
  int result = ENOENT;
  std::string_view path = PathVariable(start.env);
  while (!path.empty()) {
    std::string_view dir = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(path.size(), dir.size() + 1));
    if (dir.empty() || dir.front() != '/') continue;  // never the working directory by accident
    std::string file = std::string(dir) + "/" + program;
    ::execve(file.c_str(), argv.data(), env.data());
    if (errno == EACCES)
      result = EACCES;  // remembered: a later directory may have a better one
    else if (errno != ENOENT && errno != ENOTDIR)
      return errno;
  }
  return result;
}

// Not exec'd, so nothing is closed by that: not even the report, whose end says that it began.
[[noreturn]] void RunCopy(const EntryRequest& copy) {
  if (!CloseDescriptors(3)) ::_exit(125);
  ::_exit(CopyInPlace(copy));
}

[[noreturn]] void RunChild(const LaunchPlan& plan, const ProcessStart& start,
                           const std::vector<std::string>& cgroups, int ruleset, int report,
                           pid_t supervisor) {
  EnterCgroups(cgroups, report);
  if (::setsid() < 0) Fail(report, "session", errno);
  ResetSignals();
  AttachStandardStreams(start, report);
  ::umask(022);
  SetLimits(plan.limits, report);
  LeaveKeyring(plan.keyring, report);
  TakeIdentity(plan, report);
  DieWithSupervisor(supervisor, report);
  AttachTerminal(plan, start, report);
  if (start.copy == nullptr && ::chdir(start.cwd.c_str()) != 0) Fail(report, "cwd", errno);
  InstallGuards(plan, ruleset, report);
  SetDescriptorLimit(plan.limits, report);
  if (start.copy != nullptr) RunCopy(*start.copy);
  if (Status kept = CloseDescriptorsOnExec(3); !kept)
    Fail(report, "descriptors", kept.error().sys_errno);
  Fail(report, "exec", Execute(start));
}

// fork(2), the child being a member of that v2 group from its first instruction on. We have one
// thread, so what libc does around its own fork is not missed.
Result<pid_t> ForkInto(const std::string& cgroup, std::vector<std::string>& enter) {
  pid_t pid = -1;
  if (cgroup.empty()) {
    pid = ::fork();
  } else {
    UniqueFd dir(::open(cgroup.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!dir) return SysError(errno, "launch.cgroup", "cannot open the job's cgroup");
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<std::uint64_t>(dir.get());
    pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (pid < 0 && (errno == ENOSYS || errno == EPERM)) {  // a container's filter refuses clone3
      enter.push_back(cgroup);
      pid = ::fork();
    }
  }
  if (pid < 0) return SysError(errno, "launch.fork", "cannot fork the job");
  return pid;
}

}  // namespace

Result<pid_t> ForkProcess(const LaunchPlan& plan, const ProcessStart& start, int ruleset,
                          UniqueFd report) {
  const pid_t parent = ::getpid();
  if (plan.namespaces && start.memory == ProcessStart::Memory::kOurs) {
    // The child uses our memory until its exec or its end, and we stand still meanwhile: copying
    // memory of which next to nothing is needed would be most of what a fork costs. Descriptors,
    // signal handlers, credentials, limits and filters are the child's own in any case, and it
    // never returns from here. Where the supervisor must be able to end a set-up that hangs, only
    // init waits, which it can kill.
    const pid_t pid = ::vfork();
    if (pid == 0) RunChild(plan, start, {}, ruleset, report.get(), parent);
    if (pid > 0) return pid;
    // Before Linux 6.3 nobody shares memory with a child of another time namespace: it is copied.
    if (errno != EINVAL) return SysError(errno, "launch.fork", "cannot fork the job");
  }
  // Groups that the child enters by itself.
  std::vector<std::string> enter;
  if (!plan.namespaces) enter = plan.cgroup_dirs;
  const std::string born_in = plan.namespaces ? std::string() : plan.born_in_cgroup;
  WRIT_ASSIGN(pid_t pid, ForkInto(born_in, enter));
  if (pid == 0) RunChild(plan, start, enter, ruleset, report.get(), parent);
  return pid;
}

}  // namespace writ::backends::launch
