#include "machine_view.h"

#include <utility>

#include "writ/backends/microvm/machine_order.h"
#include "writ/backends/sandbox/system_view.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

}  // namespace

std::vector<ViewStep> PlanMachineView(const MachineView& parts) {
  std::vector<ViewStep> view;
  for (const ViewStep& step : parts.system)
    if (IsSystemProgram(step)) view.push_back(step);
  if (parts.kvm) view.push_back(MakeStep(Kind::kBind, "dev/kvm", "/dev/kvm", BindAccess::kDevice));
  view.push_back(MakeStep(Kind::kProc, "proc"));
  view.push_back(
      MakeStep(Kind::kBind, microvm::kMadePlace + 1, parts.made, BindAccess::kReadWrite));
  view.insert(view.end(), parts.image.begin(), parts.image.end());
  view.push_back(MakeStep(Kind::kBind, kMachineProgramPlace + 1, parts.program));
  if (!parts.preload.empty())
    view.push_back(MakeStep(Kind::kBind, microvm::kPreloadPlace + 1, parts.preload));
  view.push_back(MakeStep(Kind::kFile, microvm::kOrderPlace + 1, parts.order));
  view.back().mode = 0444;
  if (!parts.upper.empty())
    view.push_back(MakeStep(Kind::kBind, microvm::kUpperPlace + 1, parts.upper));
  const std::string inputs = microvm::kInputsPlace + 1;
  for (std::size_t i = 0; i < parts.read_only_trees.size(); ++i)
    view.push_back(
        MakeStep(Kind::kBind, inputs + "/" + std::to_string(i), parts.read_only_trees[i]));
  for (ViewStep step : parts.job) {
    if (step.target != "workspace") continue;
    step.target = microvm::kWorkspacePlace + 1;
    view.push_back(std::move(step));
  }
  return view;
}

}  // namespace writ::backends
