#include "writ/backends/job/launched_backend.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "writ/backends/job/host_features.h"
#include "writ/backends/job/launch_facts.h"
#include "writ/backends/job/launch_plan_json.h"
#include "writ/backends/job/launch_planning.h"
#include "writ/backends/job/launched_job.h"
#include "writ/backends/job/left_tree.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/launch/messages.h"
#include "writ/backends/linux/process_mark.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/canonical.h"

namespace writ::backends {
namespace {

constexpr std::chrono::milliseconds kLockPoll{10};

// Waits for the lock that a supervisor holds until it has left.
Status AwaitLock(int fd, std::chrono::milliseconds timeout) {
  const auto start = std::chrono::steady_clock::now();
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return SysError(errno, "job.lock", "cannot lock the status file");
    if (std::chrono::steady_clock::now() - start >= timeout)
      return Error{
          ErrorKind::kUnavailable, "job.supervisor_still_there",
          "the run's supervisor is still there after " + std::to_string(timeout.count()) + " ms"};
    std::this_thread::sleep_for(kLockPoll);
  }
  return {};
}

// What the run's supervisor wrote down before it left; nullopt: nothing. `session` is the run's
// directory.
Result<std::optional<launch::Message>> ReadStatus(int session, const std::optional<JobMark>& mark,
                                                  std::chrono::milliseconds timeout) {
  UniqueFd status(::openat(session, kStatusName, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!status && errno == ENOENT) return std::optional<launch::Message>();
  if (!status) return SysError(errno, "job.status_file", "cannot open the run's status file");
  Status left = AwaitLock(status.get(), timeout);
  if (!left && mark && KillMarked(mark->supervisor)) left = AwaitLock(status.get(), timeout);
  WRIT_TRY(std::move(left));
  auto bytes = ReadAll(status.get(), launch::kMaxMessageBytes);
  if (!bytes || bytes->empty()) return std::optional<launch::Message>();
  auto message = launch::DecodeMessage(*bytes);
  return message ? std::optional(std::move(*message)) : std::nullopt;
}

std::optional<Outcome> OutcomeOfLast(const launch::Message& last) {
  if (const auto* ended = std::get_if<launch::EndedMessage>(&last)) return OutcomeOf(*ended);
  if (const auto* failed = std::get_if<launch::SetupFailedMessage>(&last))
    return OutcomeOf(*failed);
  return std::nullopt;
}

// After a failed set-up nothing of the job ever ran.
bool SaysTreeDead(const launch::Message& last) {
  if (const auto* ended = std::get_if<launch::EndedMessage>(&last)) return ended->tree_dead != 0;
  return std::holds_alternative<launch::SetupFailedMessage>(last);
}

class LaunchedBackend final : public Backend {
 public:
  LaunchedBackend(std::unique_ptr<LaunchedTier> tier, LaunchedOptions options)
      : tier_(std::move(tier)), options_(std::move(options)), launchers_(options_) {}

  std::string_view Name() const override { return tier_->Name(); }
  Tier GetTier() const override { return tier_->GetTier(); }

  const Capabilities& Probe() override { return *Found().capabilities; }

  const Capabilities& ProbeAgain() override {
    std::lock_guard lock(mutex_);
    Look();
    return *found_.capabilities;
  }

  Status Alive() override {
    const HostFound found = Found();
    auto gone = [](const std::string& what, std::string hint) {
      return Error{ErrorKind::kUnavailable, "job.gone", what + " is not there any more",
                   std::move(hint)};
    };
    if (::access(options_.launcher.c_str(), X_OK) != 0)
      return gone("writ-launch", "install it again, or restart the runner");
    if (const std::string lost = found.features->cgroups.Lost(); !lost.empty())
      return gone("the cgroup " + lost, "restart the runner, so that it looks again");
    return {};
  }

  std::optional<WaitingMachines> Waiting() override { return tier_->Waiting(); }
  void ForgetWaiting() override { tier_->ForgetWaiting(); }

  Status Check(const Plan& plan) override { return CheckWith(plan, Found()); }

  Result<std::string> PrintPlan(const Plan& plan) override {
    const HostFound found = Found();
    WRIT_TRY(CheckWith(plan, found));
    WRIT_ASSIGN(const HeldRoot root, tier_->Hold(plan));
    const HostFeatures& features = *found.features;
    const CgroupPlan groups = PlanGroups(plan, *tier_, features);
    const LaunchFacts facts =
        MakeFacts(plan, *tier_, features, groups, PlanProxy(plan, *tier_), root);
    json::Object out{{"cgroups", CgroupPlanJson(groups)},
                     {"launch", LaunchPlanJson(tier_->PlanLaunch(plan, features, facts))}};
    if (!root.digest.empty()) out.Set("image", root.digest);
    return json::CanonicalBytes(json::Value(std::move(out)));
  }

  Result<std::unique_ptr<Job>> Prepare(Plan plan) override {
    HostFound found = Found();
    WRIT_TRY(CheckWith(plan, found));
    auto job = LaunchedJob::Make(std::move(plan), *tier_, std::move(found), launchers_);
    if (!job)
      return std::move(job).error().With("preparing a job in the " +
                                         std::string(TierName(tier_->GetTier())) + " tier");
    return std::unique_ptr<Job>(std::move(job).value());
  }

  Result<Recovered> Recover(const LeftJob& left, std::chrono::milliseconds timeout) override {
    const std::shared_ptr<const HostFeatures> features = Found().features;
    const std::optional<JobMark> mark = JobMark::Parse(left.leftovers);
    Recovered recovered;
    Dismantled& dismantled = recovered.dismantled;
    // A folder that is not there is gone, and so is what stood in it; any other error is one (L43).
    // Processes and cgroups are not found through it.
    Result<UniqueFd> dir = OpenDirectory(left.session_dir);
    if (!dir && dir.error().sys_errno != ENOENT) return std::move(dir).error();
    bool told_dead = mark && !OfThisBoot(mark->supervisor);
    if (dir) {
      WRIT_ASSIGN(const std::optional<launch::Message> last, ReadStatus(dir->get(), mark, timeout));
      if (last) recovered.outcome = OutcomeOfLast(*last);
      told_dead = told_dead || (last && SaysTreeDead(*last));
    }
    for (const std::string& base : features->cgroups.Bases()) {
      std::string group = base + "/writ-" + left.run_id;
      if (!KillAndRemoveCgroup(group)) dismantled.leaks.push_back({"cgroup", group});
    }
    LeftTree tree{.run_id = left.run_id, .uid = mark && mark->uid ? *mark->uid : left.identity.uid};
    recovered.uid = tree.uid;
    if (mark && !told_dead) tree.supervisor = mark->supervisor;
    for (Leak& leak : EndLeftTree(tree)) dismantled.leaks.push_back(std::move(leak));
    dismantled.tree_dead_verified = dismantled.leaks.empty();
    if (!dir) return recovered;
    for (std::string& error : RemovePrivateDirs(dir->get())) {
      dismantled.leaks.push_back({"directory", error.substr(0, error.find(':'))});
      dismantled.errors.push_back(std::move(error));
    }
    return recovered;
  }

 private:
  HostFound Found() {
    std::lock_guard lock(mutex_);
    if (!found_.features) Look();
    return found_;
  }
  // `mutex_` is held.
  void Look() {
    auto features = std::make_shared<const HostFeatures>(tier_->Probe());
    Capabilities fresh = tier_->Describe(*features);
    // Callers keep references: what differs is added, and nothing is taken away.
    auto same = std::find_if(described_.begin(), described_.end(),
                             [&](const Capabilities& each) { return each == fresh; });
    found_ = {std::move(features),
              same != described_.end() ? &*same : &described_.emplace_back(std::move(fresh))};
  }
  Status CheckWith(const Plan& plan, const HostFound& found) const {
    WRIT_TRY(CheckCommon(plan, *found.capabilities, *found.features,
                         tier_->HoldersOf(plan.limits, *found.features)));
    WRIT_TRY(CheckLeastMemory(plan, tier_->LeastMemory(*found.features)));
    return tier_->CheckPlan(plan, *found.features);
  }

  const std::unique_ptr<LaunchedTier> tier_;
  const LaunchedOptions options_;
  std::mutex mutex_;  // guards both below
  HostFound found_;   // of the last look
  std::list<Capabilities> described_;
  Launchers launchers_;
};

}  // namespace

std::unique_ptr<Backend> MakeLaunchedBackend(std::unique_ptr<LaunchedTier> tier,
                                             LaunchedOptions options) {
  return std::make_unique<LaunchedBackend>(std::move(tier), std::move(options));
}

}  // namespace writ::backends
