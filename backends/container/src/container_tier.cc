#include "container_tier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "image_view.h"
#include "oci_config.h"
#include "runtime.h"
#include "staged_view.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/backends/job/launched_backend.h"
#include "writ/backends/sandbox/view_planning.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

constexpr char kImport[] =
    "bring it in with `writ image import PATH`, or name one of `writ image ls`";

// A folder on a disk for the trial, gone with it.
class TrialPlace {
 public:
  TrialPlace() {
    std::string pattern = "/var/tmp/writ-probe-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) return;
    path_ = pattern;
    ::chmod(path_.c_str(), 0711);
    ::mkdir((path_ + "/root").c_str(), 0755);
    ::mkdir((path_ + "/root/etc").c_str(), 0755);
  }
  ~TrialPlace() {
    if (path_.empty()) return;
    if (auto parent = OpenDirectory("/var/tmp"))
      (void)RemoveTreeBeneath(parent->get(), path_.substr(path_.rfind('/') + 1)).has_value();
  }
  TrialPlace(const TrialPlace&) = delete;
  TrialPlace& operator=(const TrialPlace&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

launch::LaunchPlan TrialPlan(const HostFeatures& features, const std::string& launcher,
                             const std::vector<launch::ViewStep>& root_view) {
  launch::LaunchPlan plan;
  plan.argv = {"-"};  // never started
  plan.identity = features.root ? launch::IdentityStep::kDrop : launch::IdentityStep::kCheck;
  plan.uid = features.root ? launch::kProbeUid : ::geteuid();
  plan.gid = features.root ? launch::kProbeUid : ::getegid();
  launch::NamespacePlan namespaces;
  namespaces.view = StagedView(features, launcher, kHostName, root_view, {});
  namespaces.runtime = RuntimeCommand(features.runtime, "trial", 4);
  plan.namespaces = std::move(namespaces);
  return plan;
}

void TryContainer(const std::string& launcher, HostFeatures& features) {
  const TrialPlace place;
  auto view = ImageView(place.path() + "/root", {});
  auto dir = OpenDirectory(place.path());
  if (!view || !dir) {
    features.runtime.reason = "no folder for a trial can be made in /var/tmp";
    return;
  }
  const std::string bytes = EncodeLaunchPlan(TrialPlan(features, launcher, *view));
  Status written = WriteFileAtomic(dir->get(), "plan", bytes, 0600);
  const std::string answer = written
                                 ? AskLauncher(launcher, {"--probe-plan", place.path() + "/plan"},
                                               features.launcher_problem)
                                 : "plan=no folder for a trial";
  features.runtime.usable = answer == "plan=yes\n";
  if (features.runtime.usable) return;
  const std::string start = "plan=no ";
  features.runtime.reason = answer.starts_with(start)
                                ? answer.substr(start.size(), answer.size() - start.size() - 1)
                                : "the trial gave no answer";
  features.runtime.mend =
      "another version or another runtime (crun, runc); the sandbox tier needs none";
}

}  // namespace

ContainerTier::ContainerTier(ContainerBackendOptions options)
    : options_(std::move(options)), store_(options_.images_dir), sandbox_(options_.launched) {}

HostFeatures ContainerTier::Probe() const {
  HostFeatures features = sandbox_.Probe();
  features.runtime = FindRuntime(options_.runtime);
  own_tasks_ = RuntimeTasks(features.runtime);
  if (features.namespaces.usable && features.launcher_problem.empty() &&
      features.runtime.reason.empty())
    TryContainer(options_.launched.launcher, features);
  return features;
}

Capabilities ContainerTier::Describe(const HostFeatures& f) const {
  Capabilities c = sandbox_.Describe(f);
  c.tier = Tier::kContainer;
  c.backend = std::string(Name());
  if (!f.runtime.version.empty()) c.version += ", " + f.runtime.name + " " + f.runtime.version;
  if (c.usable && !f.runtime.usable) {
    c.usable = false;
    c.unusable_reason = "no container can be made: " + f.runtime.reason;
    c.unusable_mend = f.runtime.mend;
    for (AspectCapability* aspect : {&c.files, &c.network, &c.processes}) {
      *aspect = {};
      aspect->reason = c.unusable_reason;
    }
  }
  if (c.usable) c.files.mechanism = "container of " + f.runtime.name + ", " + c.files.mechanism;
  c.notes.push_back("the runtime has no cgroup of its own: limits are held from outside it");
  return c;
}

Result<image::ImageRecord> ContainerTier::FindImage(const Plan& plan) const {
  const std::string& wanted = plan.image.empty() ? options_.default_image : plan.image;
  if (wanted.empty())
    return Unsupported(Tier::kContainer, "no_image",
                       "the contract names no image and this runner has no default",
                       "name one as execution.image, or as container.image in runner.json");
  auto record = store_.Find(wanted);
  if (record) return record;
  if (record.error().kind == ErrorKind::kNotFound)
    return Unsupported(Tier::kContainer, "image_unknown", "this runner has no image " + wanted,
                       kImport);
  return std::move(record).error();
}

Status ContainerTier::CheckPlan(const Plan& plan, const HostFeatures& features) const {
  WRIT_TRY(sandbox_.CheckPlan(plan, features));
  auto image = FindImage(plan);
  return image ? Status() : Status(std::move(image).error());
}

Result<HeldRoot> ContainerTier::Hold(const Plan& plan) const {
  WRIT_ASSIGN(image::ImageRecord record, FindImage(plan));
  const std::string digest = image::ImageDigestText(record.id);
  WRIT_ASSIGN(image::HeldImage held, store_.Hold(digest));
  HeldRoot out;
  out.lock = std::move(held.lock);
  out.digest = digest;
  WRIT_ASSIGN(out.view, ImageView(held.root, plan.read_only_trees));
  return out;
}

launch::LaunchPlan ContainerTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                             const LaunchFacts& facts) const {
  launch::LaunchPlan out = sandbox_.PlanLaunch(plan, features, facts);
  const auto owner = features.root ? launch::LowerOwner::kRoot : launch::LowerOwner::kJob;
  std::vector<launch::ViewStep> job_view = PlanView(plan, PathsOf(plan), {}, owner);
  for (const std::string& tree : plan.read_only_trees) {
    if (!tree.starts_with("/usr/")) continue;  // those are in the job's view already
    launch::ViewStep step;
    step.kind = launch::ViewStep::Kind::kBind;
    step.target = tree.substr(1);
    step.source = tree;
    job_view.push_back(std::move(step));
  }
  out.namespaces->view =
      StagedView(features, options_.launched.launcher, kHostName, facts.root_view, job_view);
  out.namespaces->runtime = RuntimeCommand(features.runtime, "job", out.proxy ? 5 : 4);
  return out;
}

std::unique_ptr<Backend> MakeContainerBackend(ContainerBackendOptions options) {
  const LaunchedOptions launched = options.launched;
  return MakeLaunchedBackend(std::make_unique<ContainerTier>(std::move(options)), launched);
}

}  // namespace writ::backends
