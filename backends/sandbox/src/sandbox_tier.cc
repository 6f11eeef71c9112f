#include "writ/backends/sandbox/sandbox_tier.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "writ/backends/job/launched_backend.h"
#include "writ/backends/sandbox/system_view.h"
#include "writ/backends/sandbox/view_planning.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

// "yes", or why not, in a line "WORD=yes" or "WORD=no WHY".
std::string AnswerOf(const std::string& answers, const std::string& word) {
  const std::string start = word + "=";
  for (std::size_t at = 0; at < answers.size();) {
    const std::size_t end = std::min(answers.find('\n', at), answers.size());
    if (answers.compare(at, start.size(), start) == 0) {
      const std::string answer = answers.substr(at + start.size(), end - at - start.size());
      return answer.starts_with("no ") ? answer.substr(3) : answer;
    }
    at = end + 1;
  }
  return "no answer";
}

std::string MendFor(const std::string& reason) {
  if (reason.find("user namespace") != std::string::npos ||
      reason.find("the job's namespaces") != std::string::npos)
    return "sysctl user.max_user_namespaces (greater than 0), kernel.unprivileged_userns_clone=1 "
           "where it is there, kernel.apparmor_restrict_unprivileged_userns=0 or a profile for "
           "writ-launch that allows userns; or run the runner as root";
  if (reason.find("proc") != std::string::npos)
    return "a container that masks parts of /proc keeps its users from mounting one: run it with "
           "--security-opt systempaths=unconfined";
  return "Linux 5.12 or newer with user, mount, pid, net, ipc, uts and cgroup namespaces";
}

// Three folders on a disk, for an overlay to be tried with; gone with it.
class OverlayPlace {
 public:
  OverlayPlace() {
    char* real = ::realpath("/var/tmp", nullptr);
    parent_ = real != nullptr ? real : "/tmp";
    std::free(real);
    std::string pattern = parent_ + "/writ-probe-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) return;
    path_ = pattern;
    ::chmod(path_.c_str(), 0711);
    for (const char* name : {"/lower", "/upper", "/work"}) {
      const std::string dir = path_ + name;
      (void)::mkdir(dir.c_str(), 0700);
      if (::geteuid() == 0 && name != std::string_view("/lower"))
        (void)!::chown(dir.c_str(), launch::kProbeUid, launch::kProbeUid);
    }
  }
  ~OverlayPlace() {
    if (path_.empty()) return;
    if (auto parent = OpenDirectory(parent_))
      (void)RemoveTreeBeneath(parent->get(), path_.substr(path_.rfind('/') + 1)).has_value();
  }
  OverlayPlace(const OverlayPlace&) = delete;
  OverlayPlace& operator=(const OverlayPlace&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string parent_;
  std::string path_;
};

}  // namespace

HostFeatures SandboxTier::Probe() const {
  HostFeatures features = ProbeHost(options_.launched, JobSurroundings::kNamespaces);
  if (!features.launcher_problem.empty()) return features;
  const OverlayPlace place;
  const std::string answers = AskLauncher(
      options_.launched.launcher, {"--probe-namespaces", place.path()}, features.launcher_problem);
  NamespaceFeatures& found = features.namespaces;
  const std::string usable = AnswerOf(answers, "namespaces");
  found.usable = usable == "yes";
  if (!found.usable) {
    found.reason = usable;
    // Of a disk the kernel is not speaking here.
    if (usable.find(std::strerror(ENOSPC)) != std::string::npos)
      found.reason += ": as many user namespaces as user.max_user_namespaces allows are there";
    found.mend = MendFor(usable);
    return features;
  }
  found.time = AnswerOf(answers, "time") == "yes";
  const std::string overlay = AnswerOf(answers, "overlay");
  found.overlay = overlay == "yes";
  if (!found.overlay) found.no_overlay_reason = overlay;
  features.system_view = SystemView();
  features.surroundings_view = SurroundingsView();
  return features;
}

Capabilities SandboxTier::Describe(const HostFeatures& f) const {
  Capabilities c = DescribeLauncher(f, Tier::kSandbox, std::string(Name()));
  if (c.usable && !f.namespaces.usable) {
    c.usable = false;
    c.unusable_reason = "the job cannot have namespaces of its own: " + f.namespaces.reason;
    c.unusable_mend = f.namespaces.mend;
  }
  c.files.enforcement = c.usable ? Enforcement::kKernel : Enforcement::kNone;
  c.network.enforcement = c.files.enforcement;
  c.processes.enforcement = c.files.enforcement;
  if (c.usable) {
    const std::string landlock =
        f.landlock_abi > 0 ? ", landlock abi " + std::to_string(f.landlock_abi) : "";
    const std::string uid = f.root ? ", uid of its own" : "";
    c.files.mechanism = "mount namespace, root of its own" + landlock + uid;
    c.network.mechanism = "network namespace with loopback alone";
    c.processes.mechanism = "pid namespace" + uid;
    if (!f.user_notification) {
      c.network.reason =
          "attempts to reach another place fail and are not recorded: " + f.no_notification_reason;
      c.network.mend = "Linux 5.9 or newer with seccomp user notification";
    }
  } else {
    for (AspectCapability* aspect : {&c.files, &c.network, &c.processes})
      aspect->reason = c.unusable_reason;
  }
  c.syscalls = DescribeSyscalls(f);
  c.resources = DescribeResources(f);
  if (f.namespaces.overlay)
    c.overlay_workspace = OverlayWorkspace::kUserXattr;
  else
    c.no_overlay_reason = f.namespaces.no_overlay_reason;
  c.notes = {
      "the job runs on the host's kernel",
      "HOME lies in memory and counts as the job's memory and disk",
      f.namespaces.overlay
          ? "the workspace can be an overlay (userxattr)"
          : "the workspace is a plain directory: " + f.namespaces.no_overlay_reason,
  };
  if (!f.namespaces.time) c.notes.push_back("the host's uptime can be seen: no time namespaces");
  return c;
}

Status SandboxTier::CheckPlan(const Plan& plan, const HostFeatures& features) const {
  if (std::holds_alternative<WorkspaceMount>(plan.workspace) && !features.namespaces.overlay)
    return Unsupported(Tier::kSandbox, "no_overlay",
                       "this host cannot mount an overlay in a user namespace: " +
                           features.namespaces.no_overlay_reason,
                       "Linux 5.11 or newer with CONFIG_OVERLAY_FS, or plain workspaces");
  if (plan.tier != Tier::kSandbox || images_.Wanted(plan).empty()) return {};
  auto image = images_.Find(plan);
  return image ? Status() : Status(std::move(image).error());
}

Result<HeldRoot> SandboxTier::Hold(const Plan& plan) const {
  if (images_.Wanted(plan).empty()) return HeldRoot();
  std::vector<std::string> places = OwnFilesOfEtc();
  places.insert(places.end(), plan.read_only_trees.begin(), plan.read_only_trees.end());
  return images_.Hold(plan, places);
}

JobPaths SandboxTier::PathsOf(const Plan& plan) const {
  return {"/workspace", "/home/" + plan.identity.user_name, "/tmp"};
}

launch::LaunchPlan SandboxTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                           const LaunchFacts& facts) const {
  launch::LaunchPlan out = PlanCommon(plan, features, facts);
  const JobPaths paths = PathsOf(plan);
  launch::NamespacePlan namespaces;
  namespaces.inside_uid = kInsideUid;
  namespaces.inside_gid = kInsideGid;
  namespaces.host_name = kHostName;
  namespaces.uptime =
      features.namespaces.time ? launch::Uptime::kFromZero : launch::Uptime::kOfTheHost;
  std::vector<launch::ViewStep> system = features.system_view;
  if (!facts.root_image.empty()) {
    system = facts.root_view;
    system.insert(system.end(), features.surroundings_view.begin(),
                  features.surroundings_view.end());
  }
  namespaces.view = PlanView(plan, paths, system,
                             facts.root_image.empty() ? Programs::kOfTheHost : Programs::kOfAnImage,
                             features.root ? launch::LowerOwner::kRoot : launch::LowerOwner::kJob);
  namespaces.counted = {paths.home, "/dev/shm"};
  out.namespaces = std::move(namespaces);
  out.landlock.abi = features.landlock_abi;
  if (out.landlock.abi > 0) {
    out.landlock.tcp = TcpRules::kNone;
    out.landlock.paths.push_back({"/", PathAccess::kReadExecute, IfMissing::kFail});
    out.landlock.paths.push_back({"/dev", PathAccess::kDevice, IfMissing::kFail});
    out.landlock.paths.push_back({"/proc", PathAccess::kDevice, IfMissing::kFail});
    for (const std::string& place : WritablePlaces(paths))
      out.landlock.paths.push_back({place, PathAccess::kReadWrite, IfMissing::kFail});
  }
  return out;
}

std::unique_ptr<Backend> MakeSandboxBackend(SandboxBackendOptions options) {
  auto tier = std::make_unique<SandboxTier>(options);
  return MakeLaunchedBackend(std::move(tier), std::move(options.launched));
}

}  // namespace writ::backends
