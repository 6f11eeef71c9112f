#include "supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <utility>

#include "writ/backends/linux/cgroup.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMaxRefusedMessages = 64;
constexpr std::uint64_t kRusageBlock = 512;
constexpr std::uint64_t kMaxEnvironmentBytes = 64u << 20;
constexpr std::chrono::milliseconds kLeaveBound{2000};  // then a container is killed from outside
constexpr std::chrono::milliseconds kKillPass{3};       // between two passes over the tree

std::uint64_t Microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1000000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

int PollTimeout(steady_clock::time_point until) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(until - steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
}

}  // namespace

Supervisor::Supervisor(LaunchPlan plan, UniqueFd supplies)
    : plan_(std::move(plan)),
      supplies_(std::move(supplies)),
      entries_(
          plan_,
          [this](const Message& message, const std::vector<int>& fds) {
            if (!backend_gone_)
              (void)SendWithFds(kControlFd, EncodeMessage(message), fds).has_value();
          },
          [this](UniqueFd listener) { return Supervise(std::move(listener)); }) {}

int Supervisor::Run() {
  auto give_up = [this](const Error& error) {
    setup_failure_ = SetupFailedMessage{error.message, error.sys_errno};
    StartKilling();
    Loop();
    return Finish(*setup_failure_);
  };
  if (auto prepared = Prepare(); !prepared) return give_up(prepared.error());
  auto environment = AwaitGo();
  if (!environment) return give_up(environment.error());
  if (auto started = StartJob(std::move(environment).value()); !started)
    return give_up(started.error());
  const SetupResult result = AwaitExec();
  report_.reset();
  if (result == SetupResult::kRunning) {
    std::vector<int> fds;
    if (terminal_[0]) fds = {terminal_[0].get(), terminal_[1].get()};
    (void)SendWithFds(kControlFd,
                      EncodeMessage(StartedMessage{plan_.namespaces ? init_.pid : job_}), fds)
        .has_value();
    for (UniqueFd& fd : terminal_) fd.reset();
    deadline_ = started_ + std::chrono::milliseconds(plan_.wall_timeout_ms);
  } else {
    StartKilling();
  }
  Loop();
  if (setup_failure_) return Finish(*setup_failure_);
  JudgeMachine();
  ended_.tree_dead = children_left_ ? 0 : 1;
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);  // all that were reaped, orphans included
  ended_.user_us = Microseconds(usage.ru_utime);
  ended_.system_us = Microseconds(usage.ru_stime);
  ended_.max_resident_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  ended_.read_bytes = static_cast<std::uint64_t>(usage.ru_inblock) * kRusageBlock;
  ended_.written_bytes = static_cast<std::uint64_t>(usage.ru_oublock) * kRusageBlock;
  if (guest_) {
    ended_.refused_total = guest_->refused_total;
    ended_.proxied_total = guest_->proxied_total;
  }
  if (connects_) {
    ended_.refused_total = connects_->refused_total();
    ended_.proxied_total = connects_->proxied_total();
  }
  ended_.refused_total += entries_.refused_total();
  ended_.proxied_total += entries_.proxied_total();
  return Finish(ended_);
}

Status Supervisor::Prepare() {
  WRIT_TRY(BecomeSubreaper());
  sigset_t all;
  sigfillset(&all);
  if (::sigprocmask(SIG_SETMASK, &all, nullptr) != 0)
    return SysError(errno, "launch.signals", "cannot block signals");
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, SIGTERM);  // the service manager stops us together with the runner
  signals_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return SysError(errno, "launch.signals", "cannot make a signal descriptor");
  std::vector<UniqueFd> handed_out;
  if (plan_.namespaces) {
    WRIT_ASSIGN(init_, StartInit(plan_, supplies_.get()));
    supplies_.reset();
    WRIT_TRY(AwaitInit(handed_out));
  } else if (plan_.landlock.abi > 0) {
    WRIT_ASSIGN(ruleset_, MakeLandlockRuleset(plan_.landlock));
  }
  std::vector<int> fds;
  for (const UniqueFd& fd : handed_out) fds.push_back(fd.get());
  return SendWithFds(kControlFd,
                     EncodeMessage(ReadyMessage{plan_.namespaces ? init_.pid : 0, machine_}), fds);
}

std::chrono::milliseconds Supervisor::SetupBound() const {
  const std::uint64_t own = plan_.namespaces ? plan_.namespaces->ready_bound_ms : 0;
  return own == 0 ? kSetupBound : std::chrono::milliseconds(own);
}

Status Supervisor::AwaitInit(std::vector<UniqueFd>& handed_out) {
  const Time bound = steady_clock::now() + SetupBound();
  for (;;) {
    pollfd fds[2] = {{init_.socket.get(), POLLIN, 0}, {kControlFd, 0, 0}};
    int ready = ::poll(fds, 2, PollTimeout(bound));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return SysError(ETIMEDOUT, "launch.init", "the set-up took too long");
    if ((fds[1].revents & (POLLHUP | POLLERR)) != 0) {
      backend_gone_ = true;
      return Error{ErrorKind::kUnavailable, "launch.orphaned", "the runner went away"};
    }
    auto word = ReceiveWithFds(init_.socket.get(), 4096);
    if (!word) return std::move(word).error();
    if (!word->bytes.empty() && word->bytes.size() <= 1 + kMaxMachineStart &&
        word->bytes.front() == kInitReady) {
      machine_ = word->bytes.substr(1);
      handed_out = std::move(word->fds);
      return {};
    }
    if (word->bytes.empty())
      return Error{ErrorKind::kInternal, "launch.init",
                   "the namespaces' init ended without a word"};
    OnFailureReport(word->bytes);
    return SysError(setup_failure_->err, "launch.init", setup_failure_->stage);
  }
}

// No bound of ours: the backend may have more to do. Its end of the socket tells when it is gone.
Result<UniqueFd> Supervisor::AwaitGo() {
  for (;;) {
    auto received = ReceiveWithFds(kControlFd, kMaxMessageBytes);
    if (!received || received->bytes.empty()) {
      backend_gone_ = true;
      return Error{ErrorKind::kUnavailable, "launch.not_started", "the job was never started"};
    }
    auto message = DecodeMessage(received->bytes);
    if (!message) continue;
    const bool typed = plan_.terminal && plan_.namespaces && HasMachine(*plan_.namespaces);
    if (std::holds_alternative<GoMessage>(*message) && received->fds.size() == (typed ? 3u : 1u)) {
      if (typed) {
        typed_.push_back(std::move(received->fds[1]));
        typed_.push_back(std::move(received->fds[2]));
      }
      return std::move(received->fds.front());
    }
    return Error{ErrorKind::kUnavailable, "launch.not_started", "the job was never started"};
  }
}

Status Supervisor::StartJob(UniqueFd environment) {
  WRIT_ASSIGN(SocketPair pair, MakeSeqpacketPair());
  report_ = std::move(pair.first);
  started_ = steady_clock::now();
  if (plan_.namespaces) {
    std::vector<int> with = {environment.get(), pair.second.get()};
    for (const UniqueFd& fd : typed_) with.push_back(fd.get());
    WRIT_TRY(SendWithFds(init_.socket.get(), kStart, with));
    typed_.clear();
  } else {
    WRIT_ASSIGN(std::string bytes, ReadAll(environment.get(), kMaxEnvironmentBytes));
    auto env = DecodeEnvironment(bytes);
    ::explicit_bzero(bytes.data(), bytes.size());
    if (!env) return std::move(env).error();
    const ProcessStart start{.argv = plan_.argv,
                             .env = *env,
                             .cwd = plan_.cwd,
                             .terminal = plan_.terminal,
                             .out = kStdoutFd,
                             .err = kStderrFd};
    auto job = ForkProcess(plan_, start, ruleset_.get(), std::move(pair.second));
    for (std::string& entry : *env) ::explicit_bzero(entry.data(), entry.size());
    if (!job) return std::move(job).error();
    job_ = *job;
    if (plan_.entries == Entries::kRefused) ruleset_.reset();
  }
  // The write ends are the job's alone from here: its pipes end when its last process does.
  ::close(kStdoutFd);
  ::close(kStderrFd);
  return {};
}

// Reports of the child until exec closes its end. Only control end-of-file and the bound end it
// early.
Supervisor::SetupResult Supervisor::AwaitExec() {
  const Time bound = started_ + SetupBound();
  for (;;) {
    pollfd fds[2] = {{report_.get(), POLLIN, 0}, {kControlFd, 0, 0}};
    int ready = ::poll(fds, 2, PollTimeout(bound));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      setup_failure_ = SetupFailedMessage{"the set-up took too long", ETIMEDOUT};
      return SetupResult::kEnded;
    }
    if ((fds[1].revents & (POLLHUP | POLLERR)) != 0) {
      backend_gone_ = true;
      ended_.cause = EndedMessage::Cause::kOrphaned;
      return SetupResult::kEnded;
    }
    if (fds[0].revents == 0) continue;
    auto report = ReceiveWithFds(report_.get(), 512);
    if (!report) {
      setup_failure_ = SetupFailedMessage{"report", report.error().sys_errno};
      return SetupResult::kEnded;
    }
    if (report->bytes.empty()) break;
    if (report->bytes.front() == kListenerReport && report->fds.size() == 1) {
      connects_ = Supervise(std::move(report->fds.front()));
      continue;
    }
    if (report->bytes.front() == kTerminalReport && report->fds.size() == 2) {
      for (std::size_t i : {0, 1}) terminal_[i] = std::move(report->fds[i]);
      continue;
    }
    OnFailureReport(report->bytes);
    return SetupResult::kEnded;
  }
  if (plan_.supervise_connect && connects_ == nullptr) {
    setup_failure_ = SetupFailedMessage{"the job ended before its set-up did", 0};
    return SetupResult::kEnded;
  }
  return SetupResult::kRunning;
}

std::unique_ptr<ConnectSupervision> Supervisor::Supervise(UniqueFd listener) {
  return std::make_unique<ConnectSupervision>(
      std::move(listener), plan_.proxy,
      plan_.namespaces ? ConnectSupervision::Network::kOfItsOwn
                       : ConnectSupervision::Network::kOfTheHost,
      [this](const RefusedMessage& refused) { OnRefused(refused); });
}

void Supervisor::OnFailureReport(const std::string& text) {
  auto [err, stage] = ReadFailureReport(text);
  const bool cannot_run = err == ENOENT || err == ENOTDIR || err == EACCES || err == ENOEXEC ||
                          err == EISDIR || err == EPERM || err == ELOOP || err == ENAMETOOLONG ||
                          err == E2BIG || err == ETXTBSY || err == EINVAL || err == ELIBBAD;
  if (stage == "exec" && cannot_run) {
    ended_.cause = EndedMessage::Cause::kExecFailed;
    ended_.exec_errno = err;
    return;
  }
  setup_failure_ = SetupFailedMessage{stage, err};
}

void Supervisor::Loop() {
  Time kill_bound{};
  std::vector<pollfd> fds;
  while (children_left_) {
    Time until = deadline_;
    if (phase_ == Phase::kKilling) {
      if (kill_bound == Time{}) kill_bound = steady_clock::now() + kKillBound;
      if (steady_clock::now() >= kill_bound) return;
      KillPass();
      ReapAll();
      if (!children_left_) return;
      until = steady_clock::now() + kKillPass;
    }
    fds.clear();
    fds.push_back({signals_.get(), POLLIN, 0});
    fds.push_back({backend_gone_ ? -1 : kControlFd, POLLIN, 0});
    fds.push_back({init_.socket.get(), POLLIN, 0});
    if (connects_) connects_->AddPollFds(fds);
    entries_.AddPollFds(fds);
    int ready = ::poll(fds.data(), static_cast<nfds_t>(fds.size()), PollTimeout(until));
    if (ready < 0 && errno != EINTR) return;
    if (ready <= 0) {
      if (phase_ != Phase::kKilling && steady_clock::now() >= deadline_) OnDeadline();
      continue;
    }
    if (connects_) connects_->OnPoll(fds.data() + 3, fds.size() - 3);
    entries_.OnPoll(fds.data() + 3, fds.size() - 3);
    if (fds[2].revents != 0) OnInit();
    if (fds[1].revents != 0) OnControl();
    if (fds[0].revents != 0) {
      signalfd_siginfo info{};
      while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        if (info.ssi_signo == SIGTERM) End(EndedMessage::Cause::kCancel);
      }
      ReapAll();
    }
    if (phase_ != Phase::kKilling && steady_clock::now() >= deadline_) OnDeadline();
  }
}

void Supervisor::ReapAll() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) {
      children_left_ = false;  // ECHILD
      return;
    }
    if (pid == 0) return;
    if (init_.socket && pid == init_.pid) {
      OnInit();  // its last word came before its end
      init_.socket.reset();
      StartKilling();
    }
    entries_.OnReaped(pid, status);
    if (pid != job_) continue;
    job_ = -1;
    OnJobEnded(status);
  }
}

// What init says while the job runs: how it ended.
void Supervisor::OnInit() {
  pollfd ready{init_.socket.get(), POLLIN, 0};
  while (init_.socket && ::poll(&ready, 1, 0) > 0) {
    auto word = ReceiveWithFds(init_.socket.get(), kMaxMessageBytes);
    if (!word || word->bytes.empty()) {
      init_.socket.reset();
      return;
    }
    if (word->bytes.front() == kFailureReport) OnFailureReport(word->bytes);
    if (word->bytes.front() == kEntryEnded) entries_.OnInitWord(word->bytes);
    if (word->bytes.front() == kGuestWord) OnGuestWord(word->bytes);
    if (word->bytes.front() == kGuestDone) guest_done_ = true;
    if (word->bytes.front() == kStill && word->bytes.size() > 1 && !backend_gone_)
      Send(StillMessage{word->bytes[1] == '1' ? std::uint8_t{1} : std::uint8_t{0},
                        word->bytes.substr(2, kMaxWhy)},
           MSG_DONTWAIT);
    int status = 0;
    const char* end = word->bytes.data() + word->bytes.size();
    if (word->bytes.front() == kJobEnded &&
        std::from_chars(word->bytes.data() + 1, end, status).ptr == end)
      OnJobEnded(status);
  }
}

// The first verdict wins: what the guest says of the end stands where nobody outside has ended it.
void Supervisor::OnGuestWord(const std::string& bytes) {
  auto message = DecodeMessage(std::string_view(bytes).substr(1));
  if (!message) return;
  if (const auto* refused = std::get_if<RefusedMessage>(&*message)) OnRefused(*refused);
  const auto* ended = std::get_if<EndedMessage>(&*message);
  if (ended == nullptr) return;
  if (ended_.cause == EndedMessage::Cause::kItself) {
    ended_.cause = ended->cause;
    ended_.limit = ended->limit;
    ended_.exec_errno = ended->exec_errno;
    ended_.note = ended->note;
  }
  guest_ = *ended;
}

// Whatever ended the machine before its owner said that all is out - a crash, a bound, the runner's
// death -, the job's own end is not the run's: part of what it did is missing.
void Supervisor::JudgeMachine() {
  using Cause = EndedMessage::Cause;
  if (!plan_.namespaces || !HasMachine(*plan_.namespaces) || guest_done_) return;
  if (ended_.cause != Cause::kItself) return;
  ended_.cause = Cause::kMachineEnded;
  if (ended_.note.empty())
    ended_.note = ended_.observed != 0 ? "what the job changed was not brought out of its machine"
                                       : "the job's machine ended without a word";
}

void Supervisor::OnJobEnded(int status) {
  auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now() - started_);
  ended_.duration_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(1, took.count()));
  if (ended_.cause != EndedMessage::Cause::kExecFailed && !setup_failure_) {
    ended_.observed = 1;
    ended_.signalled = WIFSIGNALED(status) ? 1 : 0;
    ended_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    ended_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  if (plan_.namespaces && !plan_.namespaces->runtime.empty() && phase_ != Phase::kKilling) {
    // The container's init ends what is left and goes, and then the runtime: reaped by each other,
    // what they used is counted. Killed with their reaper it would not be.
    phase_ = Phase::kLeaving;
    const std::uint64_t own = plan_.namespaces->leave_bound_ms;
    deadline_ = steady_clock::now() + (own == 0 ? kLeaveBound : std::chrono::milliseconds(own));
    return;
  }
  StartKilling();  // what the job left behind ends with it
}

void Supervisor::OnControl() {
  auto received = ReceiveWithFds(kControlFd, kMaxMessageBytes);
  if (!received || received->bytes.empty()) {
    backend_gone_ = true;
    if (phase_ == Phase::kRunning) ended_.cause = EndedMessage::Cause::kOrphaned;
    StartKilling();
    return;
  }
  auto message = DecodeMessage(received->bytes);
  if (!message) return;
  if (std::holds_alternative<CancelMessage>(*message)) End(EndedMessage::Cause::kCancel);
  if (std::holds_alternative<DeadlineMessage>(*message)) End(EndedMessage::Cause::kDeadline);
  // While it is being ended nothing comes in; the backend hears of the end.
  if (const auto* enter = std::get_if<EnterMessage>(&*message); enter && phase_ == Phase::kRunning)
    entries_.Enter(enter->id, std::move(received->fds), ruleset_.get(), init_.socket.get());
  if (const auto* signal = std::get_if<SignalEntryMessage>(&*message))
    entries_.Signal(*signal, init_.socket.get());
  if (std::holds_alternative<PauseMessage>(*message)) HoldMachine(kPause);
  if (std::holds_alternative<ResumeMessage>(*message)) HoldMachine(kResume);
  if (std::holds_alternative<OutputLimitMessage>(*message)) End(EndedMessage::Cause::kOutputLimit);
  if (std::holds_alternative<LimitPassedMessage>(*message)) {
    if (phase_ == Phase::kRunning) ended_.cause = EndedMessage::Cause::kLimitPassed;
    StartKilling();
  }
}

// Its owner answers. The time limit goes on: it is of the wall, and an end that comes meanwhile is
// heard by the owner, who lets the machine go on for it.
void Supervisor::HoldMachine(const char* word) {
  const bool machine = plan_.namespaces && HasMachine(*plan_.namespaces);
  const char* why = !machine                    ? "the job has no machine"
                    : phase_ != Phase::kRunning ? "the job is being ended"
                    : !init_.socket             ? "the machine is gone"
                                                : nullptr;
  if (why == nullptr && !SendWithFds(init_.socket.get(), word, {}))
    why = "the machine's owner does not listen";
  if (why != nullptr) Send(StillMessage{0, why}, MSG_DONTWAIT);
}

// The first verdict wins; a second wish to end shortens the grace.
void Supervisor::End(EndedMessage::Cause cause) {
  if (phase_ == Phase::kTerminating) StartKilling();
  if (phase_ != Phase::kRunning) return;
  ended_.cause = cause;
  if (plan_.term_grace_ms == 0) return StartKilling();
  phase_ = Phase::kTerminating;
  deadline_ = steady_clock::now() + std::chrono::milliseconds(plan_.term_grace_ms);
  if (plan_.namespaces && plan_.namespaces->container_kernel == ContainerKernel::kOwn) {
    (void)SendWithFds(init_.socket.get(), kTerminate, {}).has_value();
    return;
  }
  SignalDescendants(SIGTERM);
  SignalDescendants(SIGCONT);  // a stopped process hears SIGTERM only when it goes on
}

void Supervisor::OnDeadline() {
  if (phase_ == Phase::kRunning) return End(EndedMessage::Cause::kTimeOut);
  StartKilling();
}

void Supervisor::StartKilling() {
  if (phase_ == Phase::kKilling) return;
  phase_ = Phase::kKilling;
  if (plan_.born_in_cgroup.empty()) return;
  UniqueFd kill(::open((plan_.born_in_cgroup + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (kill) (void)WriteAll(kill.get(), "1").has_value();
}

// Frozen processes cannot fork away from the pass; the signal waits and ends them when they thaw.
void Supervisor::KillPass() {
  const bool frozen = !plan_.freezer.empty() && SetFreezer(plan_.freezer, Freeze::kFrozen);
  SignalDescendants(SIGKILL);
  if (frozen) SetFreezer(plan_.freezer, Freeze::kThawed);
}

void Supervisor::OnRefused(const RefusedMessage& refused) {
  if (refused_sent_ >= kMaxRefusedMessages || backend_gone_) return;
  // Never waits for the backend: a lost record is still counted in the total.
  if (Send(refused, MSG_DONTWAIT)) ++refused_sent_;
}

bool Supervisor::Send(const Message& message, int flags) {
  std::string bytes = EncodeMessage(message);
  return ::send(kControlFd, bytes.data(), bytes.size(), flags | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

int Supervisor::Finish(const Message& last) {
  WriteStatus(last);
  if (!backend_gone_ && Send(last, 0)) return 0;
  // Nobody is there to remove what the backend made outside of the session directory.
  RemoveCgroups();
  return ::fsync(kStatusFd) == 0 ? 0 : 1;
}

void Supervisor::WriteStatus(const Message& message) {
  std::string bytes = EncodeMessage(message);
  if (::ftruncate(kStatusFd, 0) == 0 && ::lseek(kStatusFd, 0, SEEK_SET) == 0)
    (void)WriteAll(kStatusFd, bytes).has_value();
}

void Supervisor::RemoveCgroups() {
  if (!plan_.born_in_cgroup.empty()) KillAndRemoveCgroup(plan_.born_in_cgroup);
  for (const std::string& dir : plan_.cgroup_dirs) KillAndRemoveCgroup(dir);
}

}  // namespace writ::backends::launch
