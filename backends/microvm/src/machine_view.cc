#include "machine_view.h"

#include <utility>

#include "writ/backends/microvm/machine_order.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

ViewStep Step(Kind kind, std::string target, std::string source = {}) {
  ViewStep step;
  step.kind = kind;
  step.target = std::move(target);
  step.source = std::move(source);
  return step;
}

// Programs, libraries, device nodes. No data of the host.
bool MonitorNeeds(const ViewStep& step) {
  if (step.kind == Kind::kBind && step.access == BindAccess::kDevice) return true;
  if (step.kind != Kind::kBind && step.kind != Kind::kSymlink) return false;
  for (const char* name : {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32",
                           "etc/ld.so.cache", "etc/alternatives"})
    if (step.target == name) return true;
  return false;
}

}  // namespace

std::vector<ViewStep> PlanMachineView(const MachineView& parts) {
  std::vector<ViewStep> view;
  for (const ViewStep& step : parts.system)
    if (MonitorNeeds(step)) view.push_back(step);
  if (parts.kvm) {
    view.push_back(Step(Kind::kBind, "dev/kvm", "/dev/kvm"));
    view.back().access = BindAccess::kDevice;
  }
  view.push_back(Step(Kind::kProc, "proc"));
  view.push_back(Step(Kind::kBind, microvm::kMadePlace + 1, parts.made));
  view.back().access = BindAccess::kReadWrite;
  view.insert(view.end(), parts.image.begin(), parts.image.end());
  view.push_back(Step(Kind::kBind, kMachineProgramPlace + 1, parts.program));
  view.push_back(Step(Kind::kFile, microvm::kOrderPlace + 1, parts.order));
  view.back().mode = 0444;
  const std::string inputs = microvm::kInputsPlace + 1;
  for (std::size_t i = 0; i < parts.read_only_trees.size(); ++i)
    view.push_back(Step(Kind::kBind, inputs + "/" + std::to_string(i), parts.read_only_trees[i]));
  for (ViewStep step : parts.job) {
    if (step.target != "workspace") continue;
    step.target = microvm::kWorkspacePlace + 1;
    view.push_back(std::move(step));
  }
  return view;
}

}  // namespace writ::backends
