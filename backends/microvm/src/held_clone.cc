#include "held_clone.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "writ/backends/job/left_tree.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/microvm/machine_order.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"
#include "writ/protocol/json.h"

namespace writ::backends {
namespace {

using std::chrono::steady_clock;

constexpr char kPrefix[] = "pool-";
constexpr char kMarkName[] = "mark";  // its run id and JobMark, one a line
constexpr std::uint64_t kMaxMark = 4096;
constexpr std::chrono::milliseconds kAnswerBound{1000};
constexpr std::size_t kMaxAnswer = 64 * 1024;
constexpr std::size_t kControl = 0;
constexpr std::size_t kChannel = 1;

MicrovmBackendOptions ForClones(MicrovmBackendOptions options) {
  options.pool = {};
  options.launched.ahead = LaunchedOptions::Ahead::kNone;
  return options;
}

bool EndLeftClone(const std::string& mark, const HostFeatures& features) {
  const auto line = mark.find('\n');
  const auto left =
      line == std::string::npos ? std::nullopt : JobMark::Parse(mark.substr(line + 1));
  const std::string run_id = mark.substr(0, line);
  if (!left || !run_id.starts_with(kPrefix) || run_id.find('/') != std::string::npos) return true;
  bool gone = true;
  for (const std::string& base : features.cgroups.Bases())
    gone = KillAndRemoveCgroup(base + "/writ-" + run_id) && gone;
  LeftTree tree{.run_id = run_id, .uid = left->uid.value_or(::geteuid())};
  if (OfThisBoot(left->supervisor)) tree.supervisor = left->supervisor;
  return EndLeftTree(tree).empty() && gone;
}

}  // namespace

PoolUids::PoolUids(const PoolOptions& options) : lent_(::geteuid() == 0) {
  for (unsigned i = 0; lent_ && i < options.uids; ++i) free_.insert(options.first_uid + i);
}

std::optional<Identity> PoolUids::Take() {
  if (!lent_) return Identity{::geteuid(), ::getegid(), "job"};
  std::lock_guard lock(mutex_);
  if (free_.empty()) return std::nullopt;
  const uid_t uid = *free_.begin();
  free_.erase(free_.begin());
  return Identity{uid, static_cast<gid_t>(uid), "job"};
}

void PoolUids::GiveBack(uid_t uid) {
  if (!lent_) return;
  std::lock_guard lock(mutex_);
  free_.insert(uid);
}

CloneMaker::CloneMaker(const MicrovmBackendOptions& options, std::shared_ptr<PageSupply> pages,
                       const HostFeatures& features, const Capabilities& capabilities)
    : features_(std::make_shared<const HostFeatures>(features)),
      capabilities_(capabilities),
      tier_(ForClones(options), std::move(pages)),
      launchers_(ForClones(options).launched) {}

Result<std::unique_ptr<HeldClone>> HeldClone::Make(std::shared_ptr<CloneMaker> maker,
                                                   std::shared_ptr<PoolUids> uids,
                                                   const PoolOptions& options,
                                                   const std::string& image,
                                                   const MachineSize& size) {
  const std::optional<Identity> identity = uids->Take();
  if (!identity)
    return Error{ErrorKind::kOverloaded, "microvm.pool_uids",
                 "there is no uid for another machine"};
  auto folder = MachineFolder::Make(options.dir, *identity);
  if (!folder) {
    uids->GiveBack(identity->uid);
    return std::move(folder).error();
  }
  std::unique_ptr<HeldClone> out(
      new HeldClone(std::move(maker), std::move(uids), identity->uid, std::move(folder).value()));
  out->size_ = size;
  Plan plan = out->folder_->PlanOf(kPrefix, image, *identity, JobLimitsOf(size));
  plan.helper_uid = options.helper_uid;
  const std::string run_id = plan.run_id;
  CloneMaker& with = *out->maker_;
  auto job = LaunchedJob::Make(std::move(plan), with.tier(), with.found(), with.launchers());
  if (!job) {
    out->ended_ = Dismantled{};
    out->ended_->leaks = EndLeftTree({.run_id = run_id, .uid = identity->uid});
    if (out->ended_->leaks.empty()) out->uids_->GiveBack(identity->uid);
    return std::move(job).error();
  }
  out->job_ = std::move(job).value();
  WRIT_TRY(
      WriteFileAtomic(out->folder_->fd(), kMarkName, run_id + "\n" + out->job_->Leftovers(), 0600));
  const auto start = out->job_->StartOfMachine();
  out->fds_ = out->job_->TakeMachine();
  if (!start || start->snapshot.empty() || out->fds_.size() <= kChannel || out->fds_.size() > 3)
    return Error{ErrorKind::kInternal, "microvm.pool_machine", "a machine was not handed out"};
  out->snapshot_ = start->snapshot;
  out->not_served_ = start->not_served;
  WRIT_ASSIGN(std::string tokens, out->folder_->ReadTokens());
  out->tokens_ = Secret::Consume(tokens);
  return out;
}

std::vector<int> HeldClone::Watched() const {
  std::vector<int> out;
  for (const UniqueFd& fd : fds_) out.push_back(fd.get());
  return out;
}

// Events of before were read by its maker; one that comes now is no answer, and it is not taken.
bool HeldClone::Answers() {
  for (const UniqueFd& fd : fds_) {
    pollfd ready{fd.get(), POLLIN, 0};
    if (::poll(&ready, 1, 0) != 0) return false;
  }
  const int control = fds_[kControl].get();
  if (!SendWithFds(control, "{\"execute\":\"query-status\"}\n", {})) return false;
  const auto bound = steady_clock::now() + kAnswerBound;
  std::string said;
  while (said.size() < kMaxAnswer && !said.ends_with('\n')) {
    pollfd ready{control, POLLIN, 0};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) <= 0) return false;
    char buffer[4096];
    const ssize_t count = ::read(control, buffer, sizeof buffer);
    if (count <= 0) return false;
    said.append(buffer, static_cast<std::size_t>(count));
  }
  auto answer = json::Parse(said, {.max_depth = 16, .max_bytes = kMaxAnswer});
  const json::Value* state = answer ? answer->Find("return") : nullptr;
  return state != nullptr && state->FindString("status").value_or("") == "paused";
}

Status HeldClone::GiveTo(int supplies) {
  std::string word = microvm::kHeldWord + std::string(tokens_.Reveal());
  std::vector<int> fds = Watched();
  Status sent = SendWithFds(supplies, word, fds);
  ::explicit_bzero(word.data(), word.size());
  tokens_ = Secret();
  fds_.clear();  // the owner's alone: with it they end
  return sent;
}

Dismantled HeldClone::End() {
  if (ended_) return *ended_;
  Dismantled out;
  out.tree_dead_verified = true;
  fds_.clear();
  if (job_) out = job_->Dismantle();
  folder_.reset();
  if (out.tree_dead_verified && out.leaks.empty()) uids_->GiveBack(uid_);
  ended_ = out;
  return out;
}

void EndLeftClones(const std::string& dir, const HostFeatures& features) {
  auto parent = OpenDirectory(dir);
  if (!parent) return;
  for (const std::string& name : NamesIn(parent->get()).value_or({})) {
    auto folder = OpenBeneath(parent->get(), name, O_RDONLY | O_DIRECTORY);
    if (!folder || ::flock(folder->get(), LOCK_EX | LOCK_NB) != 0) continue;
    auto file = OpenBeneath(folder->get(), kMarkName, O_RDONLY | O_NONBLOCK);
    auto mark = file ? ReadAll(file->get(), kMaxMark) : std::move(file).error();
    const bool gone = !mark || EndLeftClone(*mark, features);
    if (gone) (void)RemoveTreeBeneath(parent->get(), name).has_value();
  }
}

}  // namespace writ::backends
