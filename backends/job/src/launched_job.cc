#include "writ/backends/job/launched_job.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <utility>

#include "writ/backends/job/base_environment.h"
#include "writ/backends/job/entry_planning.h"
#include "writ/backends/job/launch_facts.h"
#include "writ/backends/job/launch_planning.h"
#include "writ/backends/job/left_tree.h"
#include "writ/backends/job/limit_holders.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/launch/inside.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/linux/process_mark.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/backends/linux/terminal.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

using std::chrono::steady_clock;

constexpr int kListenBacklog = 512;
constexpr int kPipeBytes =
    256 * 1024;  // fewer wake-ups for a job that writes much; a wish, not a need
// The launcher bounds its own set-up by 15 s and its killing by 10 s; past these it is not
// answering.
constexpr std::chrono::seconds kStartBound{20};
constexpr std::chrono::seconds kEndBound{15};

// In a network namespace of the job's own every port is free.

Error SetupError(const launch::SetupFailedMessage& failed) {
  if (auto none_left = NoTerminalLeft(failed.stage, failed.err)) return *none_left;
  Error error = failed.err != 0 ? SysError(failed.err, "job.setup_failed",
                                           "the job's set-up failed at " + failed.stage)
                                : Error{ErrorKind::kInternal, "job.setup_failed",
                                        "the job's set-up failed at " + failed.stage};
  return error;
}

}  // namespace

LaunchedJob::LaunchedJob(Plan plan, const LaunchedTier& tier, HostFound found, Launchers& launchers)
    : plan_(std::move(plan)),
      tier_(tier),
      found_(std::move(found)),
      features_(*found_.features),
      launchers_(launchers),
      paths_(tier.PathsOf(plan_)),
      outside_(tier.OutsideLimits(plan_)) {}

Result<std::unique_ptr<LaunchedJob>> LaunchedJob::Make(Plan plan, const LaunchedTier& tier,
                                                       HostFound found, Launchers& launchers) {
  std::unique_ptr<LaunchedJob> job(
      new LaunchedJob(std::move(plan), tier, std::move(found), launchers));
  if (auto acquired = job->Acquire(); !acquired)
    return std::move(acquired).error();  // ~LaunchedJob undoes what was done
  return job;
}

LaunchedJob::~LaunchedJob() {
  Dismantle();
}

Status LaunchedJob::Acquire() {
  WRIT_ASSIGN(root_, tier_.Hold(plan_));
  WRIT_ASSIGN(session_dir_, OpenDirectory(plan_.session_dir));
  WRIT_TRY(CheckPlaces());
  WRIT_TRY(OpenStatusFile());
  made_dirs_ =
      true;  // also half-made ones are removed; nothing else makes these names in a run's directory
  WRIT_TRY(MakePrivateDirs(session_dir_.get(), plan_,
                           tier_.Surroundings() == JobSurroundings::kNamespaces
                               ? HomePlace::kInTheView
                               : HomePlace::kOnDisk));
  WRIT_TRY(tier_.Furnish(plan_, features_, session_dir_.get(), root_));
  WRIT_TRY(OpenWrittenTrees());
  WRIT_TRY(MakeCgroups());
  if (std::holds_alternative<ProxiedNetwork>(plan_.network)) WRIT_TRY(MakeProxyListener());
  Status engaged = EngageLauncher();
  if (engaged) engaged = AwaitReady();
  if (!engaged && !setup_failed_)
    setup_failed_ = launch::SetupFailedMessage{engaged.error().code, engaged.error().sys_errno};
  return engaged;
}

Status LaunchedJob::CheckPlaces() const {
  WRIT_TRY(CheckReachable(plan_.session_dir, plan_.identity));
  const auto* plain = std::get_if<PlainWorkspace>(&plan_.workspace);
  const auto* mount = std::get_if<WorkspaceMount>(&plan_.workspace);
  if (plain != nullptr) WRIT_TRY(CheckWritableDirectory(plain->dir, plan_.identity));
  if (mount != nullptr) {
    // As root the supervisor opens the lower tree, which may be the runner's alone.
    if (!features_.root) WRIT_TRY(CheckReachable(mount->lower, plan_.identity));
    WRIT_TRY(CheckWritableDirectory(mount->upper, plan_.identity));
    WRIT_TRY(GiveDirectory(mount->work, plan_.identity));
  }
  if (!plan_.cwd.empty()) {
    Status found =
        Error{ErrorKind::kInvalid, "plan.cwd_missing",
              "the working directory " + plan_.cwd + " is not a directory of the workspace",
              "name one that the checkout has, relative to its top; an empty folder is in "
              "no commit"};
    for (const std::string* tree :
         {plain ? &plain->dir : &mount->upper, plain ? &plain->dir : &mount->lower}) {
      WRIT_ASSIGN(UniqueFd workspace, OpenDirectory(*tree));
      if (OpenBeneath(workspace.get(), plan_.cwd, O_RDONLY | O_DIRECTORY)) found = {};
    }
    WRIT_TRY(std::move(found));
  }
  for (const std::string& tree : plan_.read_only_trees)
    WRIT_TRY(CheckReachable(tree, plan_.identity));
  return {};
}

// Before the job runs: it may close its directories to a runner that is not root. What is in the
// job's view alone comes with Ready.
Status LaunchedJob::OpenWrittenTrees() {
  const auto* plain = std::get_if<PlainWorkspace>(&plan_.workspace);
  WRIT_ASSIGN(UniqueFd workspace,
              OpenDirectory(plain ? plain->dir : std::get<WorkspaceMount>(plan_.workspace).upper));
  written_trees_.push_back(std::move(workspace));
  for (const char* name : {kHomeName, kTmpName}) {
    if (name == std::string_view(kHomeName) && tier_.Surroundings() == JobSurroundings::kNamespaces)
      continue;
    WRIT_ASSIGN(UniqueFd tree, OpenBeneath(session_dir_.get(), name, O_RDONLY | O_DIRECTORY));
    written_trees_.push_back(std::move(tree));
  }
  return {};
}

Status LaunchedJob::MakeCgroups() {
  groups_ = PlanGroups(plan_, tier_, features_);
  WRIT_ASSIGN(cgroups_, CgroupSet::Create(groups_));
  return {};
}

Status LaunchedJob::OpenStatusFile() {
  status_file_.reset(
      ::openat(session_dir_.get(), kStatusName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!status_file_) return SysError(errno, "job.status_file", "cannot make the run's status file");
  if (::flock(status_file_.get(), LOCK_EX | LOCK_NB) != 0) {
    status_file_.reset();
    return Error{ErrorKind::kConflict, "job.session_in_use",
                 "another job runs in this session directory"};
  }
  if (::ftruncate(status_file_.get(), 0) != 0)
    return SysError(errno, "job.status_file", "cannot empty the run's status file");
  return {};
}

Status LaunchedJob::MakeProxyListener() {
  if (tier_.Surroundings() == JobSurroundings::kNamespaces) {
    proxy_ = sockaddr_in{};
    proxy_->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    proxy_->sin_port = htons(kProxyPortInside);
    return {};  // the launcher makes it, and hands it out with Ready
  }
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!listener_ || ::bind(listener_.get(), generic, size) != 0 ||
      ::listen(listener_.get(), kListenBacklog) != 0 ||
      ::getsockname(listener_.get(), generic, &size) != 0)
    return SysError(errno, "job.listener", "cannot make the proxy's listener");
  proxy_ = address;
  return {};
}

Result<UniqueFd> LaunchedJob::TakeProxyListener() {
  if (!proxy_) return Error{ErrorKind::kUnsupported, "job.no_proxy", "the plan has no proxy"};
  if (!listener_)
    return Error{ErrorKind::kConflict, "job.listener_taken",
                 "the proxy's listener was taken already"};
  return std::move(listener_);
}

std::string LaunchedJob::ProxyAddress() const {
  if (!proxy_) return {};
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &proxy_->sin_addr, text, sizeof text);
  return std::string(text) + ":" + std::to_string(ntohs(proxy_->sin_port));
}

std::string LaunchedJob::HomePath() const {
  return paths_.home;
}
std::string LaunchedJob::WorkspacePath() const {
  return paths_.workspace;
}

// What is said of it comes from a process in the machine's jail: taken as words, and no more.
std::optional<MachineStart> LaunchedJob::StartOfMachine() const {
  if (machine_.empty()) return std::nullopt;
  MachineStart out;
  out.not_served = root_.no_pages;
  std::string_view said = machine_;
  // Of the two it is the one that we have asked for.
  out.pooled = root_.machine != nullptr;
  if ((said == (out.pooled ? launch::kStartedPooled : launch::kStartedRestored) ||
       said == launch::kMachineHeld) &&
      !root_.snapshot.empty()) {
    out.snapshot = root_.snapshot;
    out.memory = root_.served ? MachineStart::Memory::kServed : MachineStart::Memory::kCopied;
    return out;
  }
  out.pooled = false;
  const std::string cold = launch::kStartedCold;
  if (said.starts_with(cold + " ")) out.not_restored = said.substr(cold.size() + 1);
  for (char& c : out.not_restored)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = ' ';
  return out;
}

LaunchFacts LaunchedJob::Facts() const {
  std::optional<launch::ProxyTarget> proxy;
  if (proxy_) proxy = launch::ProxyTarget{proxy_->sin_addr.s_addr, ntohs(proxy_->sin_port)};
  return MakeFacts(plan_, tier_, features_, groups_, proxy, root_);
}

Status LaunchedJob::EngageLauncher() {
  const launch::LaunchPlan plan = tier_.PlanLaunch(plan_, features_, Facts());
  machine_of_own_ = plan.namespaces && launch::HasMachine(*plan.namespaces);
  if (machine_of_own_ ||
      (plan.namespaces && plan.namespaces->container_kernel == launch::ContainerKernel::kOwn))
    terminals_ = LaunchedEntries::Terminals::kRelayed;
  WRIT_ASSIGN(UniqueFd memfd, MakeSealedMemfd("writ-plan", launch::EncodeLaunchPlan(plan)));
  WRIT_ASSIGN(Pipe out, MakePipe());
  Pipe err;
  if (plan_.stderr_to == StderrTo::kOwnStream) {
    WRIT_ASSIGN(err, MakePipe());
  }
  const std::string word = launch::EncodeMessage(launch::JobMessage{});
  std::vector<int> with = {memfd.get(), status_file_.get(), out.write_end.get(),
                           err.write_end ? err.write_end.get() : out.write_end.get()};
  if (root_.supplies) with.push_back(root_.supplies.get());
  // One that waited may have been killed meanwhile; it has done nothing, so another one can.
  for (;;) {
    WRIT_ASSIGN(WaitingLauncher launcher, launchers_.Take());
    supervisor_ = std::move(launcher.process);
    control_ = std::move(launcher.control);
    spawned_ = true;
    mark_ = ProcessMark::Of(supervisor_.pid());
    Status sent = SendWithFds(control_.get(), word, with);
    if (sent) break;
    if (launcher.fresh) return sent;
  }
  root_.supplies.reset();  // the owner's alone: with it they end
  out_ = std::move(out.read_end);
  err_ = std::move(err.read_end);
  for (const UniqueFd* fd : {&out_, &err_}) {
    if (!*fd) continue;
    ::fcntl(fd->get(), F_SETPIPE_SZ, kPipeBytes);
    ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  return {};
}

Result<launch::Message> LaunchedJob::AwaitWord(std::vector<UniqueFd>& fds) {
  auto fail = [this](launch::SetupFailedMessage failed) {
    setup_failed_ = std::move(failed);
    return SetupError(*setup_failed_);
  };
  const auto bound =
      steady_clock::now() + std::max(std::chrono::milliseconds(kStartBound), tier_.StartBound());
  for (;;) {
    pollfd fd{control_.get(), POLLIN, 0};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
    int ready = ::poll(&fd, 1, static_cast<int>(std::max<std::int64_t>(0, left)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return fail({"the launcher did not answer", ETIMEDOUT});
    auto received = ReceiveWithFds(control_.get(), launch::kMaxMessageBytes);
    auto message = received && !received->bytes.empty() ? launch::DecodeMessage(received->bytes)
                                                        : Result<launch::Message>(Error{});
    if (!message) return fail({"the launcher went away", 0});
    if (auto* failed = std::get_if<launch::SetupFailedMessage>(&*message)) return fail(*failed);
    fds = std::move(received->fds);
    return message;
  }
}

Status LaunchedJob::AwaitReady() {
  std::vector<UniqueFd> fds;
  WRIT_ASSIGN(launch::Message word, AwaitWord(fds));
  const auto* ready = std::get_if<launch::ReadyMessage>(&word);
  const bool inside = tier_.Surroundings() == JobSurroundings::kNamespaces;
  // The proxy's listener, then the places to be measured, of which there is one at least.
  const std::size_t listeners = inside && proxy_ ? 1 : 0;
  if (ready == nullptr || (inside ? fds.size() <= listeners : !fds.empty()))
    return Error{ErrorKind::kInternal, "job.setup_failed", "the launcher gave another answer"};
  init_ = ready->init;
  machine_ = ready->machine;
  if (!inside) return {};
  // Counted before the job is there: a runtime may have threads, and more later.
  own_tasks_ = std::min(tier_.OwnTasks(), TreeTasks(supervisor_.pid()) + kTaskSlack / 4);
  if (proxy_) listener_ = std::move(fds.front());
  // Of a machine for somebody else's job, one place and then what is handed out of it.
  const std::size_t places = machine_ == launch::kMachineHeld ? listeners + 1 : fds.size();
  for (std::size_t at = listeners; at < fds.size(); ++at)
    (at < places ? written_trees_ : machine_fds_).push_back(std::move(fds[at]));
  return {};
}

Status LaunchedJob::Start(Environment late) {
  if (started_ || dismantled_)
    return Error{ErrorKind::kInternal, "job.started_twice", "the job was started before"};
  started_ = true;
  start_time_ = steady_clock::now();
  if (Status sent = SendGo(late); !sent) {
    setup_failed_ = launch::SetupFailedMessage{sent.error().code, sent.error().sys_errno};
    return sent;
  }
  std::vector<UniqueFd> fds;
  WRIT_ASSIGN(launch::Message word, AwaitWord(fds));
  if (auto* ended = std::get_if<launch::EndedMessage>(&word)) {
    ended_ = *ended;
    return {};
  }
  if (plan_.terminal && !machine_of_own_) {
    if (fds.size() != 2)
      return Error{ErrorKind::kInternal, "job.setup_failed", "the launcher gave no terminal"};
    terminal_master_ = std::move(fds[0]);
    // Held, so that the output does not end when a process lets go of the terminal.
    terminal_slave_ = std::move(fds[1]);
    ::fcntl(terminal_master_.get(), F_SETFL, ::fcntl(terminal_master_.get(), F_GETFL) | O_NONBLOCK);
    WRIT_ASSIGN(out_, terminal_master_.Duplicate());
    err_.reset();
  }
  if (plan_.entries) entries_->Open(control_.get(), terminals_);
  if (machine_of_own_) stillness_->Open(control_.get());
  return {};
}

Status LaunchedJob::SendGo(const Environment& late) {
  std::vector<std::string> entries =
      BuildEnvironment({paths_.home, paths_.tmp, plan_.identity.user_name, plan_.run_id,
                        plan_.terminal ? kSomeTerminal : kNoTerminal},
                       plan_.env, late);
  std::string bytes = launch::EncodeEnvironment(entries);
  WipeEnvironment(entries);
  auto memfd = MakeSealedMemfd("writ-environment", bytes);
  ::explicit_bzero(bytes.data(), bytes.size());
  if (!memfd) return std::move(memfd).error();
  std::vector<int> with = {memfd->get()};
  Pipe typed;
  SocketPair sizes;
  if (plan_.terminal && machine_of_own_) {
    WRIT_ASSIGN(typed, MakePipe());
    WRIT_ASSIGN(sizes, MakeSeqpacketPair());
    ::fcntl(typed.write_end.get(), F_SETFL, O_NONBLOCK);
    with.insert(with.end(), {typed.read_end.get(), sizes.second.get()});
    typed_ = std::move(typed.write_end);
    sizes_ = std::move(sizes.first);
  }
  return SendWithFds(control_.get(), launch::EncodeMessage(launch::GoMessage{}), with);
}

Result<std::unique_ptr<Entry>> LaunchedJob::Enter(EntryPlan plan) {
  if (!plan_.entries)
    return Error{ErrorKind::kDenied, "job.entry_denied",
                 "nothing may be put into this session: no operator granted it"};
  if (stillness_->still())
    return Error{ErrorKind::kConflict, "job.paused", "the job's machine stands still",
                 "writ resume RUN"};
  WRIT_ASSIGN(launch::EntryRequest request, PlanEntry(plan_, std::move(plan), paths_));
  auto entry = entries_->Enter(request);
  for (std::string& variable : request.environment)
    ::explicit_bzero(variable.data(), variable.size());
  return entry;
}

Status LaunchedJob::Pause() {
  return machine_of_own_ ? stillness_->Turn(LaunchedStillness::To::kStill) : Job::Pause();
}

Status LaunchedJob::Resume() {
  return machine_of_own_ ? stillness_->Turn(LaunchedStillness::To::kRunning) : Job::Resume();
}

Result<std::unique_ptr<TerminalInput>> LaunchedJob::OpenTerminalInput() {
  class Input final : public TerminalInput {
   public:
    explicit Input(UniqueFd master) : master_(std::move(master)) {}
    int fd() const override { return master_.get(); }
    Status Resize(TerminalSize size) override { return ResizeTerminal(master_.get(), size); }

   private:
    UniqueFd master_;
  };
  class RelayedInput final : public TerminalInput {
   public:
    RelayedInput(UniqueFd typed, UniqueFd sizes)
        : typed_(std::move(typed)), sizes_(std::move(sizes)) {}
    int fd() const override { return typed_.get(); }
    Status Resize(TerminalSize size) override { return SendTerminalSize(sizes_.get(), size); }

   private:
    UniqueFd typed_;
    UniqueFd sizes_;
  };
  if (typed_) {
    WRIT_ASSIGN(UniqueFd typed, typed_.Duplicate());
    WRIT_ASSIGN(UniqueFd sizes, sizes_.Duplicate());
    return std::unique_ptr<TerminalInput>(
        std::make_unique<RelayedInput>(std::move(typed), std::move(sizes)));
  }
  if (!terminal_master_)
    return Error{ErrorKind::kUnsupported, "job.no_terminal", "the job has no terminal",
                 "ask for one in the contract: execution.terminal, `writ run --tty`"};
  WRIT_ASSIGN(UniqueFd master, terminal_master_.Duplicate());
  return std::unique_ptr<TerminalInput>(std::make_unique<Input>(std::move(master)));
}

void LaunchedJob::Tell(const launch::Message& message) {
  if (!control_) return;
  std::string bytes = launch::EncodeMessage(message);
  // A launcher that has left already is no error.
  (void)::send(control_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void LaunchedJob::EndSupervisor(Dismantled& result) {
  entries_->Close();
  stillness_->Close();
  if (!spawned_) {
    result.tree_dead_verified = true;  // nothing ever ran
    return;
  }
  const auto bound = steady_clock::now() + kEndBound;
  if (!ended_ && !setup_failed_) {
    Tell(launch::CancelMessage{});
    if (started_) Tell(launch::CancelMessage{});  // the second one ends the grace
    std::vector<RefusedConnect> ignored;
    for (;;) {
      pollfd fd{control_.get(), POLLIN, 0};
      auto left = std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
      int ready = left > 0 ? ::poll(&fd, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0 || !OnControl(ignored, {}) || ended_ || setup_failed_) break;
    }
  }
  control_.reset();  // the launcher leaves now in any case
  auto left = std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now());
  auto status = supervisor_.Wait(std::max(left, std::chrono::milliseconds(1000)));
  if (!status || !*status) {
    result.errors.push_back("the supervisor did not leave in time and was killed");
    supervisor_ = Child();
  }
  result.tree_dead_verified =
      (ended_ && ended_->tree_dead != 0) || (setup_failed_ && status && *status);
}

// Where the supervisor did not live to say that the tree is dead.
void LaunchedJob::CheckNobodyLeft(Dismantled& result) {
  if (result.tree_dead_verified) return;
  LeftTree left{.run_id = plan_.run_id, .uid = plan_.identity.uid};
  if (started_) left.supervisor = mark_;
  std::vector<Leak> found = EndLeftTree(left);
  result.tree_dead_verified = found.empty();
  result.leaks.insert(result.leaks.end(), found.begin(), found.end());
}

std::string LaunchedJob::Leftovers() const {
  return mark_ ? JobMark{*mark_, plan_.identity.uid}.Text() : std::string();
}

Dismantled LaunchedJob::Dismantle() {
  if (dismantled_) return *dismantled_;
  Dismantled result;
  EndSupervisor(result);
  out_.reset();
  err_.reset();
  terminal_master_.reset();
  terminal_slave_.reset();
  typed_.reset();
  sizes_.reset();
  listener_.reset();
  // Nobody leaves a cgroup that root made: once it could be removed, the tree is dead even where
  // the supervisor did not live to say so.
  const bool had_cgroup = features_.root && !cgroups_.directories().empty();
  for (std::string& dir : cgroups_.Remove()) result.leaks.push_back({"cgroup", std::move(dir)});
  if (had_cgroup && result.leaks.empty()) result.tree_dead_verified = true;
  CheckNobodyLeft(result);
  if (made_dirs_) {
    for (std::string& error : RemovePrivateDirs(session_dir_.get())) {
      result.leaks.push_back({"directory", error.substr(0, error.find(':'))});
      result.errors.push_back(std::move(error));
    }
  }
  written_trees_.clear();
  status_file_.reset();
  session_dir_.reset();
  tier_.OnEnd(plan_, root_);
  if (root_.machine) {
    Dismantled machine = root_.machine->End();
    result.tree_dead_verified = result.tree_dead_verified && machine.tree_dead_verified;
    std::move(machine.leaks.begin(), machine.leaks.end(), std::back_inserter(result.leaks));
    std::move(machine.errors.begin(), machine.errors.end(), std::back_inserter(result.errors));
  }
  for (UniqueFd* held : {&root_.lock, &root_.snapshot_lock, &root_.supplies_back}) held->reset();
  dismantled_ = result;
  return result;
}

}  // namespace writ::backends
