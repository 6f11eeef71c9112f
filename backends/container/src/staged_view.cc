#include "staged_view.h"

#include <utility>

#include "oci_config.h"
#include "runtime.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

constexpr char kLauncherPlace[] = "/.writ/launch";

ViewStep Step(Kind kind, std::string target, std::string source = {}) {
  ViewStep step;
  step.kind = kind;
  step.target = std::move(target);
  step.source = std::move(source);
  return step;
}

// Of the system's view: programs, libraries, device nodes. No data of the host.
bool RuntimeNeeds(const ViewStep& step) {
  if (step.kind == Kind::kBind && step.access == BindAccess::kDevice) return true;
  if (step.kind != Kind::kBind && step.kind != Kind::kSymlink) return false;
  for (const char* name :
       {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc/ld.so.cache"})
    if (step.target == name) return true;
  return false;
}

// The roots of what the job writes: HOME, TMPDIR, workspace.
bool IsWritableTree(const ViewStep& step) {
  return step.kind == Kind::kTmpfs || step.kind == Kind::kOverlay ||
         (step.kind == Kind::kBind && step.access == BindAccess::kReadWrite);
}

bool IsOwnFileOfEtc(const ViewStep& step) {
  return step.kind == Kind::kFile && step.target.starts_with("etc/");
}

}  // namespace

std::vector<ViewStep> StagedView(const HostFeatures& features, const std::string& launcher,
                                 const std::string& host_name,
                                 const std::vector<ViewStep>& root_view,
                                 const std::vector<ViewStep>& job_view) {
  std::vector<ViewStep> view;
  for (const ViewStep& step : features.system_view)
    if (RuntimeNeeds(step)) view.push_back(step);
  view.push_back(Step(Kind::kBind, kRuntimePlace, features.runtime.path));
  view.push_back(Step(Kind::kProc, "proc"));  // whole: a masked one forbids to mount another
  view.push_back(Step(Kind::kTmpfs, "run"));
  // crun looks here first and refuses a host with both generations; runc wants to find one.
  const bool own_kernel = KernelOf(features.runtime) == launch::ContainerKernel::kOwn;
  if (features.runtime.name == "runc")
    view.push_back(Step(Kind::kBind, "sys/fs/cgroup", "/sys/fs/cgroup"));
  else
    view.push_back(Step(Kind::kDirectory, "sys/fs/cgroup"));
  if (own_kernel)
    view.push_back(Step(Kind::kTmpfs, "tmp"));  // gVisor builds a root of its own there
  view.insert(view.end(), root_view.begin(), root_view.end());
  for (const char* name : {"rootfs/proc", "rootfs/dev", "rootfs/run"})
    view.push_back(Step(Kind::kDirectory, name));
  view.push_back(Step(Kind::kBind, "rootfs/sys/devices/system/cpu", "/sys/devices/system/cpu"));
  view.back().if_missing = IfMissing::kSkip;
  view.push_back(Step(Kind::kBind, std::string("rootfs") + kLauncherPlace, launcher));
  std::vector<ConfigBind> binds;
  for (ViewStep step : job_view) {
    if (IsOwnFileOfEtc(step)) {
      binds.push_back({"/" + step.target, "/job/" + step.target});
      step.target = "job/" + step.target;
    } else {
      if (own_kernel && IsWritableTree(step))
        binds.push_back(
            {"/" + step.target, "/rootfs/" + step.target, ConfigBind::Access::kWritableTree});
      step.target = "rootfs/" + step.target;
    }
    view.push_back(std::move(step));
  }
  view.push_back(Step(Kind::kFile, std::string(kBundlePlace) + "/config.json",
                      OciConfig(kLauncherPlace, host_name, binds, KernelOf(features.runtime))));
  return view;
}

}  // namespace writ::backends
