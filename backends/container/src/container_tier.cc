#include "container_tier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <utility>

#include "oci_config.h"
#include "runtime.h"
#include "staged_view.h"
#include "writ/backends/job/launched_backend.h"
#include "writ/backends/sandbox/view_planning.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

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
  namespaces.view = StagedView(features, launcher, root_view, {}, SharedMemoryPlace({}),
                               launch::Entries::kRefused);
  namespaces.runtime = RuntimeCommand(features.runtime, "trial", 4);
  namespaces.container_kernel = KernelOf(features.runtime);
  plan.namespaces = std::move(namespaces);
  return plan;
}

void TryContainer(const std::string& launcher, HostFeatures& features) {
  const TrialPlace place;
  auto view = ImageView({Tier::kContainer, kImagePlace}, place.path() + "/root", {});
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

// The receipt's words (L47).
void DescribeGvisor(const HostFeatures& f, Capabilities& c) {
  std::erase_if(c.notes, [](const std::string& note) {
    return note.find("host's kernel") != std::string::npos ||
           note.find("uptime") != std::string::npos;
  });
  c.notes.push_back(
      "the job's system calls are carried out by gVisor's kernel; what that asks of the host's is "
      "held by its own filter");
  c.notes.push_back(
      "gVisor uses the host kernel's sockets, inside the empty network namespace in which the "
      "proxy's listener is the only one");
  c.pty = false;  // its descriptors would have to come out
  if (!c.usable) return;
  c.syscalls.mechanism += ", in a kernel of its own (gVisor " + f.runtime.version + ", ptrace)";
  c.network.mechanism += ", sockets of the host's kernel there (gVisor's host networking)";
  c.network.mend = "crun or runc record them";
}

// What the job's own kernel has not. It takes the job's filters as the host's does, but asks nobody
// about a call.
void TakeAwayTheHostsKernel(HostFeatures& features) {
  features.landlock_abi = 0;
  features.user_notification = false;
  features.no_notification_reason = "the job's system calls are gVisor's";
  CompileFilters(JobSurroundings::kNamespaces, features);
  features.keyrings = false;
  features.namespaces.time = false;
}

}  // namespace

ContainerTier::ContainerTier(ContainerBackendOptions options)
    : options_(std::move(options)),
      images_({Tier::kContainer, kImagePlace}, options_.images_dir, options_.default_image),
      sandbox_({.launched = options_.launched}) {}

HostFeatures ContainerTier::Probe() const {
  HostFeatures features = sandbox_.Probe();
  features.runtime = FindRuntime(options_.runtime);
  own_tasks_ = RuntimeTasks(features.runtime);
  if (KernelOf(features.runtime) == launch::ContainerKernel::kOwn) TakeAwayTheHostsKernel(features);
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
  if (KernelOf(f.runtime) == launch::ContainerKernel::kOwn) DescribeGvisor(f, c);
  c.notes.push_back("the runtime has no cgroup of its own: limits are held from outside it");
  return c;
}

std::uint64_t ContainerTier::LeastMemory(const HostFeatures& features) const {
  return RuntimeMemory(features.runtime);
}

Status ContainerTier::CheckPlan(const Plan& plan, const HostFeatures& features) const {
  WRIT_TRY(sandbox_.CheckPlan(plan, features));
  if (images_.Wanted(plan).empty())
    return Unsupported(
        Tier::kContainer, "no_image", "the contract names no image and this runner has no default",
        "name one with --image (the contract's execution.image), or as container.image in "
        "runner.json; `writ image ls` lists those that there are");
  auto image = images_.Find(plan);
  return image ? Status() : Status(std::move(image).error());
}

Result<HeldRoot> ContainerTier::Hold(const Plan& plan) const {
  return images_.Hold(plan, plan.read_only_trees);
}

launch::LaunchPlan ContainerTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                             const LaunchFacts& facts) const {
  launch::LaunchPlan out = sandbox_.PlanLaunch(plan, features, facts);
  const auto owner = features.root ? launch::LowerOwner::kRoot : launch::LowerOwner::kJob;
  const std::vector<launch::ViewStep> job_view =
      PlanView(plan, PathsOf(plan), {}, Programs::kOfAnImage, owner);
  out.namespaces->view = StagedView(features, options_.launched.launcher, facts.root_view, job_view,
                                    SharedMemoryPlace(plan.limits), out.entries);
  out.namespaces->runtime = RuntimeCommand(features.runtime, "job", out.proxy ? 5 : 4);
  out.namespaces->container_kernel = KernelOf(features.runtime);
  if (out.namespaces->container_kernel == launch::ContainerKernel::kOwn) {
    for (std::string& path : out.namespaces->counted)
      path = std::string("/") + kImagePlace + path.substr(1);
  }
  return out;
}

std::unique_ptr<Backend> MakeContainerBackend(ContainerBackendOptions options) {
  const LaunchedOptions launched = options.launched;
  return MakeLaunchedBackend(std::make_unique<ContainerTier>(std::move(options)), launched);
}

}  // namespace writ::backends
