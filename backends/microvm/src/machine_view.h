// The view of writ-vm and the monitor that it starts: pure.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/job/launched_tier.h"
#include "writ/backends/launch/view_step.h"
#include "writ/backends/plan.h"

namespace writ::backends {

struct MachineView {
  std::vector<launch::ViewStep> system;  // of the sandbox: programs, libraries, devices are taken
  std::vector<launch::ViewStep> image;   // the drives' files at their places
  std::vector<launch::ViewStep> job;     // of the sandbox: the workspace is taken
  std::string program;                   // writ-vm
  std::string order;                     // bytes of the machine's order
  std::string made;                      // directory of the host for what is made
  std::vector<std::string> read_only_trees;
  // What of the workspace is above its base, where `image` has that; empty: it is packed whole.
  std::string upper;
  bool kvm = false;
  std::string preload;  // libwrit-uffd.so; empty: not needed
};

inline constexpr char kMachineProgramPlace[] = "/machine/writ-vm";

std::vector<launch::ViewStep> PlanMachineView(const MachineView& parts);

}  // namespace writ::backends
