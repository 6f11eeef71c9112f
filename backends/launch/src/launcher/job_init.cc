#include "job_init.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "entry_forks.h"
#include "job_namespaces.h"
#include "job_setup.h"
#include "oci_runtime.h"
#include "view.h"
#include "view_beside.h"
#include "writ/backends/linux/credentials.h"
#include "writ/base/close_descriptors.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr int kListenBacklog = 512;
constexpr std::uint64_t kMaxEnvironmentBytes = 64u << 20;

class Init {
 public:
  Init(const LaunchPlan& plan, UniqueFd socket) : plan_(plan), socket_(std::move(socket)) {}

  [[noreturn]] void RunInside(UniqueFd listener, UniqueFd told) {
    listener_ = std::move(listener);
    const bool own_kernel = plan_.namespaces->container_kernel == ContainerKernel::kOwn;
    if (own_kernel && plan_.entries == Entries::kAccepted) Part(told);
    EnterOwnUserNamespace();
    BeginUptime();
    TakeIdentity();
    MakeRuleset();
    DropRights();
    if (::write(told.get(), &kInitReady, 1) != 1) Fail("ready", errno);
    told.reset();
    if (!own_kernel) TellReady();
    StartJob();
    Reap();
  }

  [[noreturn]] void Run() {
    CloseOthers();
    AwaitMaps();
    const NamespacePlan& ids = *plan_.namespaces;
    const bool staged = !ids.runtime.empty();
    if (!staged) BeginUptime();
    if (staged) {
      TakeIdentity(0, 0);
    } else {
      TakeIdentity();
    }
    if (::unshare(CLONE_NEWCGROUP) != 0) Fail("cgroup namespace", errno);
    const std::string& name = ids.host_name;
    if (::sethostname(name.data(), name.size()) != 0 || ::setdomainname("", 0) != 0)
      Fail("host name", errno);
    // The job's own, made inside; gVisor makes some for its parts, and the job has none of the
    // host's.
    const bool own_kernel = ids.container_kernel == ContainerKernel::kOwn;
    RefuseFurtherNamespaces(!staged ? "0" : own_kernel ? "16" : "1");
    BringLoopbackUp();
    if (plan_.proxy) Listen();
    if (Status entered = EnterView(plan_.namespaces->view, std::move(lower_trees_)); !entered)
      Fail("view: " + entered.error().message, entered.error().sys_errno);
    if (staged) {
      UniqueFd listener = own_kernel ? UniqueFd() : std::move(listener_);
      const std::string text = RunRuntime(plan_, socket_.get(), std::move(listener),
                                          std::move(supplies_), [this] { TellReady(); });
      if (!text.empty()) Fail("runtime: " + text, 0);
      ::_exit(0);
    }
    MakeRuleset();
    DropRights();
    TellReady();
    StartJob();
    Reap();
  }

 private:
  [[noreturn]] void Fail(std::string_view stage, int err) {
    std::string text = kFailureReport + std::to_string(err) + " " + std::string(stage);
    (void)SendWithFds(socket_.get(), text, {}).has_value();
    ::_exit(125);
  }

  // Returns in the job's init alone. The container's first process waits for that and ends with it;
  // a third is init of what is put beside the job (view_beside.h).
  void Part(UniqueFd& told) {
    auto need = [this](const Status& done) {
      if (!done) Fail(done.error().message, done.error().sys_errno);
    };
    auto words = MakeSeqpacketPair();
    auto ready = MakePipe();
    auto turn = MakePipe();
    if (!words || !ready || !turn) Fail("descriptors", EMFILE);
    need(CopyView());
    pid_t child = ForkWithOwnPids();
    if (child == 0) {
      for (UniqueFd* fd :
           {&told, &words->first, &ready->read_end, &turn->read_end, &turn->write_end})
        fd->reset();
      RunBeside(std::move(words->second), std::move(ready->write_end));
    }
    if (child < 0) Fail("fork", errno);
    words->second.reset();
    ready->write_end.reset();
    char byte = 0;
    if (::read(ready->read_end.get(), &byte, 1) != 1) ::_exit(125);  // it has said why
    need(HideCopy());
    child = ForkWithOwnPids();
    if (child < 0) Fail("fork", errno);
    if (child == 0) {
      beside_ = std::move(words->first);
      turn->write_end.reset();
      if (::read(turn->read_end.get(), &byte, 1) != 1) ::_exit(125);
      return need(ShowOwnProcesses(""));
    }
    told.reset();
    for (int fd : {kStdoutFd, kStderrFd}) ::close(fd);
    words->first.reset();
    // Before the job's init mounts a /proc in which this process is not.
    EnterOwnUserNamespace();
    TakeIdentity();
    DropRights();
    if (::write(turn->write_end.get(), &byte, 1) != 1) Fail("turn", errno);
    socket_.reset();
    int status = 0;
    while (::waitpid(child, &status, __WALL) != child && errno == EINTR) continue;
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
  }

  [[noreturn]] void RunBeside(UniqueFd words, UniqueFd ready) {
    for (int fd : {kStdoutFd, kStderrFd}) ::close(fd);
    if (Status shown = ShowOwnProcesses(kBesideRoot); !shown)
      Fail(shown.error().message, shown.error().sys_errno);
    EnterOwnUserNamespace();
    if (::chroot(kBesideRoot) != 0 || ::chdir("/") != 0) Fail("root beside the job", errno);
    TakeIdentity();
    DropRights();
    socket_ = std::move(words);
    if (::write(ready.get(), &kInitReady, 1) != 1) ::_exit(125);
    ready.reset();
    role_ = Role::kBeside;
    Reap();
  }

  // The supervisor's own goes; what stays open is the socket and the job's output.
  void CloseOthers() {
    constexpr unsigned kFirst = kHighestFd + 1;
    socket_.reset(::fcntl(socket_.get(), F_DUPFD_CLOEXEC, kFirst));
    if (!socket_) ::_exit(125);
    const auto own = static_cast<unsigned>(socket_.get());
    for (int fd : {kControlFd, kStatusFd}) ::close(fd);
    if (own > kFirst && !CloseDescriptors(kFirst, own - 1)) Fail("descriptors", 0);
    if (!CloseDescriptors(own + 1)) Fail("descriptors", 0);
  }

  void AwaitMaps() {
    auto word = ReceiveWithFds(socket_.get(), 16);
    if (!word || word->bytes != kMapped) ::_exit(125);  // the supervisor has said why, or is gone
    lower_trees_ = std::move(word->fds);
    const auto& view = plan_.namespaces->view;
    const auto trees = std::count_if(view.begin(), view.end(), [](const ViewStep& step) {
      return step.kind == ViewStep::Kind::kOverlay && step.lower_owner == LowerOwner::kRoot;
    });
    if (lower_trees_.size() == static_cast<std::size_t>(trees)) return;
    supplies_ = std::move(lower_trees_.back());
    lower_trees_.pop_back();
  }

  // Of one id: the container's root becomes the job's uid. Nobody outside is told: whoever may make
  // the namespace may map itself.
  void EnterOwnUserNamespace() {
    const NamespacePlan& ids = *plan_.namespaces;
    if (::unshare(CLONE_NEWUSER) != 0) Fail("user namespace of the job", errno);
    // gVisor has no such file, and asks for no such word.
    if (ids.container_kernel == ContainerKernel::kHosts) WriteOwn("setgroups", "deny");
    WriteOwn("gid_map", std::to_string(ids.inside_gid) + " 0 1\n");
    WriteOwn("uid_map", std::to_string(ids.inside_uid) + " 0 1\n");
  }

  // Before the identity is taken: what is not dumpable has its files in /proc from root. We stay in
  // the host's time, our children begin in the new one.
  void BeginUptime() {
    if (plan_.namespaces->uptime != Uptime::kFromZero) return;
    if (::unshare(CLONE_NEWTIME) != 0) Fail("time namespace", errno);
    std::string offsets;
    for (const auto& [clock, name] :
         {std::pair{CLOCK_MONOTONIC, "monotonic"}, {CLOCK_BOOTTIME, "boottime"}}) {
      timespec now{};
      if (::clock_gettime(clock, &now) != 0) Fail("time namespace", errno);
      offsets += std::string(name) + " -" + std::to_string(now.tv_sec) + " 0\n";
    }
    WriteOwn("timens_offsets", offsets);
  }

  void WriteOwn(const char* name, const std::string& text) {
    const std::string path = std::string("/proc/self/") + name;
    UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      Fail(path, errno);
  }

  void MakeRuleset() {
    if (plan_.landlock.abi == 0) return;
    auto ruleset = MakeLandlockRuleset(plan_.landlock);
    if (!ruleset) Fail("landlock: " + ruleset.error().message, ruleset.error().sys_errno);
    ruleset_ = std::move(ruleset).value();
  }

  void TakeIdentity() { TakeIdentity(plan_.namespaces->inside_uid, plan_.namespaces->inside_gid); }

  void TakeIdentity(uid_t uid, gid_t gid) {
    DropFailure failure = BecomeMapped(uid, gid);
    if (failure.step != nullptr) Fail(std::string("identity: ") + failure.step, failure.err);
    ::prctl(PR_SET_DUMPABLE, 0);
    // After the identity: a change of uid clears it. A supervisor that went before is noticed by
    // its end of the socket.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail("parent death signal", errno);
  }

  // The filter refuses them too; this holds where a profile has none.
  void RefuseFurtherNamespaces(std::string_view left) {
    UniqueFd file(::open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), left.data(), left.size()) != static_cast<ssize_t>(left.size()))
      Fail("max_user_namespaces", errno);
  }

  void BringLoopbackUp() {
    UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    ::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
    if (!socket || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) Fail("loopback", errno);
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) Fail("loopback", errno);
  }

  void Listen() {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = plan_.proxy->ipv4;
    address.sin_port = htons(plan_.proxy->port);
    if (!listener_ ||
        ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), kListenBacklog) != 0)
      Fail("proxy listener", errno);
  }

  void DropRights() {
    const NamespacePlan& ids = *plan_.namespaces;
    DropFailure failure =
        DropCapabilities(ids.inside_uid, ids.inside_gid,
                         ids.container_kernel == ContainerKernel::kOwn ? CapabilityRules::kGvisor
                                                                       : CapabilityRules::kLinux);
    if (failure.step != nullptr) Fail(std::string("capabilities: ") + failure.step, failure.err);
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail("no_new_privs", errno);
  }

  void TellReady() {
    std::vector<UniqueFd> counted;
    std::vector<int> fds;
    if (listener_) fds.push_back(listener_.get());
    for (const std::string& path : plan_.namespaces->counted) {
      counted.emplace_back(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!counted.back()) Fail("counted directory", errno);
      fds.push_back(counted.back().get());
    }
    if (!SendWithFds(socket_.get(), std::string(1, kInitReady), fds)) ::_exit(125);
    listener_.reset();
  }

  void StartJob() {
    auto word = ReceiveWithFds(socket_.get(), 16);
    if (!word || word->bytes != kStart || word->fds.size() != 2) ::_exit(125);
    auto bytes = ReadAll(word->fds[0].get(), kMaxEnvironmentBytes);
    auto env = bytes ? DecodeEnvironment(*bytes) : std::move(bytes).error();
    if (bytes) ::explicit_bzero(bytes->data(), bytes->size());
    if (!env) Fail("environment", EINVAL);
    const ProcessStart start{.argv = plan_.argv,
                             .env = *env,
                             .cwd = plan_.cwd,
                             .terminal = plan_.terminal,
                             .out = kStdoutFd,
                             .err = kStderrFd,
                             .memory = ProcessStart::Memory::kOurs};
    auto job = ForkProcess(plan_, start, ruleset_.get(), std::move(word->fds[1]));
    for (std::string& entry : *env) ::explicit_bzero(entry.data(), entry.size());
    if (!job) Fail("fork", job.error().sys_errno);
    job_ = *job;
    if (plan_.entries == Entries::kRefused) ruleset_.reset();
    ::close(kStdoutFd);
    ::close(kStderrFd);
  }

  // Until nobody is left. All signals are blocked since before the namespaces.
  [[noreturn]] void Reap() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    UniqueFd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals) Fail("signals", errno);
    for (;;) {
      ReapAll();
      // Signals of the supervisor do not reach into a kernel of its own: they come as words.
      const bool own_kernel = plan_.namespaces->container_kernel == ContainerKernel::kOwn;
      const bool listens = (own_kernel || plan_.entries == Entries::kAccepted) &&
                           (job_ >= 0 || role_ == Role::kBeside);
      pollfd fds[3] = {{signals.get(), POLLIN, 0},
                       {listens ? socket_.get() : -1, POLLIN, 0},
                       {listens ? beside_.get() : -1, POLLIN, 0}};
      if (::poll(fds, 3, -1) < 0 && errno != EINTR) ::_exit(125);
      signalfd_siginfo info{};
      while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
        continue;
      if (fds[1].revents != 0) OnWord();
      if (fds[2].revents != 0) OnWordFromBeside();
    }
  }

  void ReapAll() {
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0 && role_ == Role::kJob) ::_exit(0);
      if (pid <= 0) return;
      if (auto entry = entries_.Reaped(pid, status)) {
        std::string text =
            kEntryEnded + std::to_string(entry->id) + " " + std::to_string(entry->status);
        (void)SendWithFds(socket_.get(), text, {}).has_value();
      }
      if (pid != job_) continue;
      job_ = -1;
      std::string text = kJobEnded + std::to_string(status);
      (void)SendWithFds(socket_.get(), text, {}).has_value();
      // What the job left ends with it. All at once: nobody is left who could fork. Reaped here, so
      // that what they used is counted.
      ::kill(-1, SIGKILL);
    }
  }

  void OnWord() {
    auto word = ReceiveWithFds(socket_.get(), 64);
    if (!word || word->bytes.empty()) ::_exit(125);  // the supervisor is gone, and so are we
    const bool is_enter = word->bytes.front() == kEnter;
    if (beside_) {
      std::vector<int> fds;
      for (const UniqueFd& fd : word->fds) fds.push_back(fd.get());
      Status sent = SendWithFds(beside_.get(), word->bytes, fds);
      if (!sent && is_enter && !word->fds.empty())
        EntryForks::Report(word->fds.front().get(), "beside the job", sent.error().sys_errno);
      if (word->bytes != kTerminate) return;
    }
    if (word->bytes == kTerminate) {
      ::kill(-1, SIGTERM);
      ::kill(-1, SIGCONT);
      return;
    }
    const char* const end = word->bytes.data() + word->bytes.size();
    std::uint64_t id = 0;
    auto [rest, parse] = std::from_chars(word->bytes.data() + 1, end, id);
    if (parse != std::errc()) return;
    if (is_enter) return entries_.Fork(id, std::move(word->fds), ruleset_.get());
    int signal = 0;
    if (word->bytes.front() == kSignalEntry && rest < end &&
        std::from_chars(rest + 1, end, signal).ptr == end)
      entries_.Signal(id, signal);
  }

  void OnWordFromBeside() {
    auto word = ReceiveWithFds(beside_.get(), 64);
    if (!word || word->bytes.empty())
      ::_exit(125);  // nothing ends it but a kill from beside the job
    (void)SendWithFds(socket_.get(), word->bytes, {}).has_value();
  }

  enum class Role { kJob, kBeside };

  const LaunchPlan& plan_;
  Role role_ = Role::kJob;
  UniqueFd socket_;
  UniqueFd beside_;  // to the init of what is put beside the job, where that is another
  UniqueFd listener_;
  UniqueFd ruleset_;
  std::vector<UniqueFd> lower_trees_;
  UniqueFd supplies_;  // for the owner of a machine
  pid_t job_ = -1;     // until it is reaped
  EntryForks entries_{plan_};
};

}  // namespace

void RunInside(const LaunchPlan& plan, UniqueFd socket, UniqueFd listener, UniqueFd told) {
  Init(plan, std::move(socket)).RunInside(std::move(listener), std::move(told));
}

void RunInit(const LaunchPlan& plan, UniqueFd socket) {
  Init(plan, std::move(socket)).Run();
}

}  // namespace writ::backends::launch
