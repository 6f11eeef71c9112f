#include "own_cgroup.h"

#include <string>

#include "writ/backends/linux/cgroup_delegation.h"
#include "writ/base/log.h"

namespace writ::cli {

void TakeOwnCgroup() {
  using State = backends::CgroupDelegation::State;
  if (Status taken = backends::TakeDelegatedGroup(); !taken)
    log::Warn("runner.cgroup", taken.error().ToString(), {{"code", taken.error().code}});
  const backends::CgroupDelegation now = backends::LookAtDelegation();
  if (now.state == State::kRefused) log::Warn("runner.cgroup", now.reason, {{"hint", now.mend}});
  if (now.state != State::kTaken) return;
  std::string controllers;
  for (const std::string& name : now.controllers)
    controllers += (controllers.empty() ? "" : " ") + name;
  log::Info("runner.cgroup", "jobs' groups are made in the cgroup that was delegated",
            {{"group", now.group}, {"controllers", controllers}});
}

}  // namespace writ::cli
