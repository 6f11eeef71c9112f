#include "job_thread.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>

#include "checkpoint.h"
#include "root_job.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::chrono::hours kNoTimeOut(24 * 365);
constexpr std::uint64_t kAllOutput = 1ull << 60;

// Of the image's root; the sandbox shows them already or has its own.
constexpr std::array<std::string_view, 20> kShown = {
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "dev",        "proc",
    "sys", "run", "tmp",  "var", "home",  "root",  "boot",   "mnt", "lost+found", "workspace"};

std::vector<std::string> OtherTrees() {
  std::vector<std::string> trees;
  DIR* list = ::opendir("/");
  if (list == nullptr) return trees;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    struct stat st {};
    if (name.front() == '.' || std::find(kShown.begin(), kShown.end(), name) != kShown.end())
      continue;
    if (::lstat(("/" + name).c_str(), &st) == 0 && S_ISDIR(st.st_mode)) trees.push_back("/" + name);
  }
  ::closedir(list);
  return trees;
}

// A tree may be a single program: what is mounted on is of the same sort.
Status MakePlaceFor(const std::string& source, const std::string& place) {
  struct stat info {};
  if (::stat(source.c_str(), &info) != 0)
    return SysError(errno, "agent.read_only_tree", "cannot find what is shown as " + place);
  const bool single = !S_ISDIR(info.st_mode);
  WRIT_TRY(MakeDirectories(single ? place.substr(0, place.rfind('/')) : place, 0755));
  if (!single) return {};
  UniqueFd file(::open(place.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
  return file ? Status{} : SysError(errno, "agent.read_only_tree", "cannot make " + place);
}

// Bytes on their way to the loop; a host that does not read slows the job.
class ToPipes final : public OutputSink {
 public:
  ToPipes(int out, int err) : out_(out), err_(err) {}
  void OnOutput(backends::Stream stream, std::string_view bytes,
                std::chrono::nanoseconds) override {
    (void)WriteAll(stream == backends::Stream::kStdout ? out_ : err_, bytes).has_value();
  }
  void OnLeftOut(backends::Stream, std::uint64_t) override {}

 private:
  const int out_;
  const int err_;
};

Ended FromOutcome(const Outcome& outcome) {
  Ended ended;
  ended.kind = outcome.kind;
  ended.reason = outcome.reason;
  ended.status = outcome.status;
  ended.duration_ns = static_cast<std::uint64_t>(outcome.duration.count());
  if (outcome.limit) ended.limit = outcome.limit->kind;
  ended.refused_total = outcome.refused_total;
  ended.proxied_total = outcome.proxied_total;
  ended.user_us = static_cast<std::uint64_t>(outcome.usage.user_time.count());
  ended.system_us = static_cast<std::uint64_t>(outcome.usage.system_time.count());
  ended.max_resident_bytes = outcome.usage.max_resident_bytes;
  return ended;
}

Ended NeverRan(const Error& error) {
  Ended ended;
  ended.kind = Outcome::Kind::kSetupFailed;
  ended.reason = error.ToString();
  return ended;
}

}  // namespace

JobThread::JobThread(EventLoop& loop, Backend& backend, JobPlaces places, JobOrder order,
                     Events events)
    : loop_(loop),
      backend_(backend),
      places_(std::move(places)),
      order_(std::move(order)),
      events_(std::move(events)) {
  for (Pipe* pipe : {&out_, &err_})
    if (auto made = MakePipe()) *pipe = std::move(made).value();
  thread_ = std::jthread([this] { Run(); });
}

JobThread::~JobThread() {
  *alive_ = false;
  Kill();
  out_.read_end.reset();
  err_.read_end.reset();
  if (thread_.joinable()) thread_.join();
}

void JobThread::Start(Go go) {
  std::lock_guard lock(mutex_);
  if (!go_) go_ = std::move(go);
  wake_.notify_all();
}

void JobThread::Cancel() {
  stop_.request_stop();
  std::lock_guard lock(mutex_);
  wake_.notify_all();
}

void JobThread::Kill() {
  {
    std::lock_guard lock(mutex_);
    given_up_ = true;
    wake_.notify_all();
  }
  kill_.request_stop();
}

void JobThread::Tell(GuestWord word) {
  loop_.Post([this, alive = alive_, word = std::move(word)] {
    if (!*alive) return;
    if (std::holds_alternative<Ended>(word)) told_end_ = true;
    events_.on_word(word);
  });
}

std::optional<Go> JobThread::AwaitGo() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return go_ || given_up_ || stop_.stop_requested(); });
  if (given_up_ || !go_) return std::nullopt;
  return std::exchange(go_, std::nullopt);
}

void JobThread::Run() {
  auto ended = places_.root_job ? RunStep() : RunJob();
  out_.write_end.reset();
  err_.write_end.reset();
  Tell(ended ? std::move(ended).value() : NeverRan(ended.error()));
}

Status JobThread::ShowTrees(const std::vector<std::string>& trees, const std::string& of,
                            Plan& plan) const {
  for (std::size_t i = 0; i < trees.size(); ++i) {
    if (trees[i] == order_.checkpoint) continue;  // it is in the workspace
    const std::string source = of + "/" + std::to_string(i);
    WRIT_TRY(MakePlaceFor(source, trees[i]));
    if (::mount(source.c_str(), trees[i].c_str(), nullptr, MS_BIND, nullptr) != 0)
      return SysError(errno, "agent.read_only_tree", "cannot show " + trees[i]);
    plan.read_only_trees.push_back(trees[i]);
  }
  return {};
}

Result<Plan> JobThread::MakePlan() {
  Plan plan;
  plan.tier = Tier::kSandbox;
  plan.run_id = order_.run_id;
  plan.argv = order_.argv;
  plan.cwd = order_.cwd;
  plan.workspace = PlainWorkspace{workspace_->path()};
  plan.session_dir = places_.scratch + "/session";
  WRIT_TRY(MakeDirectories(plan.session_dir, 0711));
  plan.home_files = std::move(order_.home_files);
  plan.home_directories = order_.home_directories;
  plan.identity = {kGuestJobUid, kGuestJobUid, order_.user_name};
  plan.limits = order_.limits;
  plan.limits.wall_timeout = kNoTimeOut;
  plan.limits.output = {kAllOutput, 0, 0};
  plan.syscalls = order_.syscalls;
  if (plan.limits.memory_bytes == 0) plan.limits.memory_bytes = places_.job_memory;
  if (order_.proxied) plan.network = ProxiedNetwork{};
  plan.terminal = order_.terminal;
  if (order_.entries) plan.entries = EntryGrant{"the machine's order"};
  if (order_.merged) plan.stderr_to = StderrTo::kStdout;
  plan.read_only_trees = OtherTrees();
  WRIT_TRY(ShowTrees(order_.read_only_trees, places_.inputs, plan));
  WRIT_TRY(ShowTrees(order_.base_trees, places_.base, plan));
  return plan;
}

Status JobThread::MountWorkspace() {
  if (places_.mount_inputs) WRIT_TRY(places_.mount_inputs(order_.on_base));
  std::vector<std::string> layers = {places_.inputs + "/workspace"};
  if (order_.on_base) layers.push_back(places_.base + "/workspace");
  WRIT_ASSIGN(LayeredWorkspace mounted, LayeredWorkspace::Mount(layers, places_.scratch));
  workspace_.emplace(std::move(mounted));
  return TakeCheckpoint();
}

// Before anything of the job is there.
Status JobThread::TakeCheckpoint() const {
  if (order_.checkpoint.empty()) return {};
  const auto& trees = order_.read_only_trees;
  const auto at = std::find(trees.begin(), trees.end(), order_.checkpoint);
  if (at == trees.end())
    return Error{ErrorKind::kInvalid, "agent.checkpoint", "the checkpoint is not in the inputs"};
  return CarryOut(places_.inputs + "/" + std::to_string(at - trees.begin()), workspace_->path(),
                  {kGuestJobUid, kGuestJobUid});
}

Result<Ended> JobThread::RunJob() {
  WRIT_TRY(MountWorkspace());
  WRIT_ASSIGN(Plan plan, MakePlan());
  WRIT_ASSIGN(std::unique_ptr<Job> prepared, backend_.Prepare(std::move(plan)));
  const std::shared_ptr<Job> job = std::move(prepared);
  auto listener = std::make_shared<UniqueFd>();
  if (order_.proxied) {
    WRIT_ASSIGN(*listener, job->TakeProxyListener());
  }
  loop_.Post([this, alive = alive_, listener] {
    if (*alive) events_.on_prepared(std::move(*listener));
  });
  std::optional<Go> go = AwaitGo();
  if (!go)
    return Error{ErrorKind::kCancelled, "agent.given_up", "the job was given up before its start"};
  Environment late;
  for (std::string& entry : go->environment) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos)
      late.secrets.push_back(
          {entry.substr(0, equals), Secret(std::string_view(entry).substr(equals + 1))});
    ::explicit_bzero(entry.data(), entry.size());
  }
  WRIT_TRY(job->Start(std::move(late)));
  std::shared_ptr<TerminalInput> terminal;
  if (order_.terminal) {
    WRIT_ASSIGN(terminal, job->OpenTerminalInput());
  }
  loop_.Post([this, alive = alive_, job, terminal = std::move(terminal)] {
    if (*alive) events_.on_running(job, terminal);
  });
  Tell(Started{});
  ToPipes sink(out_.write_end.get(), err_.write_end.get());
  WatchOptions options;
  options.stop = stop_.get_token();
  options.kill = kill_.get_token();
  options.on_refused_connect = [this](const RefusedConnect& refused) {
    Tell(Refused{refused.program, refused.address, refused.reason});
  };
  const Outcome outcome = job->Watch(sink, options);
  Ended ended = FromOutcome(outcome);
  for (const Leak& leak : job->Dismantle().leaks)
    ended.leaks.push_back(leak.kind + " " + leak.what);
  return ended;
}

// As RunJob, and what it has changed of the root lies in its workspace in the end.
Result<Ended> JobThread::RunStep() {
  WRIT_TRY(MountWorkspace());
  const std::string scratch = places_.scratch + "/root-layer";
  WRIT_TRY(MakeDirectories(scratch, 0755));
  WRIT_ASSIGN(const LayeredWorkspace root, LayeredWorkspace::Mount({places_.image}, scratch));
  auto listener = std::make_shared<UniqueFd>();
  if (order_.proxied) {
    WRIT_ASSIGN(*listener, ListenForProxy());
  }
  loop_.Post([this, alive = alive_, listener] {
    if (*alive) events_.on_prepared(std::move(*listener));
  });
  std::optional<Go> go = AwaitGo();
  if (!go)
    return Error{ErrorKind::kCancelled, "agent.given_up", "the step was given up before its start"};
  Tell(Started{});
  RootJobOrder order{*places_.root_job,
                     order_.argv,
                     go->environment,
                     out_.write_end.get(),
                     (order_.merged ? out_ : err_).write_end.get(),
                     root.path()};
  WRIT_ASSIGN(Ended ended, RunRootJob(order, [this] {
                if (kill_.stop_requested()) return JobWish::kEndNow;
                return stop_.stop_requested() ? JobWish::kEnd : JobWish::kGoOn;
              }));
  for (std::string& entry : go->environment) ::explicit_bzero(entry.data(), entry.size());
  if (!ended.status || ended.status->ShellCode() != 0) return ended;
  WRIT_ASSIGN(UniqueFd changed, root.OpenUpper());
  UniqueFd layer(::open((workspace_->path() + "/" + kLayerName).c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!layer) return SysError(errno, "agent.layer", "cannot make the layer");
  WRIT_TRY(WriteTree(changed.get(), layer.get()));
  return ended;
}

Result<UniqueFd> JobThread::OpenChanges() const {
  if (!told_end_ || !workspace_)
    return Error{ErrorKind::kConflict, "agent.no_changes", "there is no job that has ended"};
  return workspace_->OpenUpper();
}

Result<UniqueFd> JobThread::OpenUpper() const {
  if (told_end_ || !workspace_)
    return Error{ErrorKind::kConflict, "agent.no_job", "there is no job that runs"};
  return workspace_->OpenUpper();
}

}  // namespace writ::backends::microvm
