#include "staged_view.h"

#include <utility>

#include "oci_config.h"
#include "runtime.h"
#include "writ/backends/launch/inside.h"
#include "writ/backends/sandbox/system_view.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

constexpr char kLauncherPlace[] = "/.writ/launch";

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
                                 const std::vector<ViewStep>& root_view,
                                 const std::vector<ViewStep>& job_view,
                                 const MemoryPlace& shared_memory, launch::Entries entries) {
  std::vector<ViewStep> view;
  for (const ViewStep& step : features.system_view)
    if (IsSystemProgram(step)) view.push_back(step);
  view.push_back(MakeStep(Kind::kBind, kRuntimePlace, features.runtime.path));
  view.push_back(MakeStep(Kind::kProc, "proc"));  // whole: a masked one forbids to mount another
  view.push_back(MakeStep(Kind::kTmpfs, "run"));
  // crun looks here first and refuses a host with both generations; runc wants to find one.
  const bool own_kernel = KernelOf(features.runtime) == launch::ContainerKernel::kOwn;
  if (features.runtime.name == "runc")
    view.push_back(MakeStep(Kind::kBind, "sys/fs/cgroup", "/sys/fs/cgroup"));
  else
    view.push_back(MakeStep(Kind::kDirectory, "sys/fs/cgroup"));
  if (own_kernel)
    view.push_back(MakeStep(Kind::kTmpfs, "tmp"));  // gVisor builds a root of its own there
  view.insert(view.end(), root_view.begin(), root_view.end());
  for (const char* name : {"rootfs/proc", "rootfs/dev", "rootfs/run"})
    view.push_back(MakeStep(Kind::kDirectory, name));
  view.push_back(MakeStep(Kind::kBind, "rootfs/sys/devices/system/cpu", "/sys/devices/system/cpu"));
  view.back().if_missing = IfMissing::kSkip;
  view.push_back(MakeStep(Kind::kBind, std::string("rootfs") + kLauncherPlace, launcher));
  if (own_kernel && entries == launch::Entries::kAccepted)
    view.push_back(MakeStep(Kind::kDirectory, std::string("rootfs") + launch::kBesideRoot));
  std::vector<ConfigBind> binds;
  if (own_kernel) {  // one of its own would be in that kernel alone, where nobody counts it
    ViewStep shm = MakeStep(Kind::kTmpfs, "rootfs/dev/shm");
    shm.mode = 01777;
    shm.bytes = shared_memory.bytes;
    shm.inodes = shared_memory.files;
    view.push_back(std::move(shm));
    binds.push_back({"/dev/shm", "/rootfs/dev/shm", ConfigBind::Access::kWritableTree});
  }
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
  view.push_back(MakeStep(
      Kind::kFile, std::string(kBundlePlace) + "/config.json",
      OciConfig(kLauncherPlace, binds, KernelOf(features.runtime), shared_memory, entries)));
  return view;
}

}  // namespace writ::backends
