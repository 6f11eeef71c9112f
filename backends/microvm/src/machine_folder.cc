#include "machine_folder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "writ/backends/job/private_dirs.h"
#include "writ/backends/microvm/machine_order.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {

Result<MachineFolder> MachineFolder::Make(const std::string& work_dir, const Identity& identity) {
  WRIT_ASSIGN(UniqueFd parent, OpenDirectory(work_dir));
  WRIT_ASSIGN(microvm::HalfMade made, microvm::MakeHalfMade(parent.get(), 0711));
  MachineFolder out(std::move(parent), std::move(made), work_dir);
  for (const char* name : {"session", "workspace"})
    if (::mkdirat(out.made_.folder.get(), name, 0711) != 0)
      return SysError(errno, "microvm.machine_folder", "cannot make a folder for the machine");
  WRIT_TRY(GiveDirectory(out.path() + "/workspace", identity));
  return out;
}

MachineFolder::~MachineFolder() {
  if (parent_ && made_.folder) (void)RemoveTreeBeneath(parent_.get(), made_.name).has_value();
}

Plan MachineFolder::PlanOf(const std::string& prefix, const std::string& image,
                           const Identity& identity, const Limits& job) const {
  Plan plan;
  plan.tier = Tier::kMicrovm;
  plan.run_id = prefix + HexEncode(RandomBytes(6));
  plan.argv = {"true"};
  plan.workspace = PlainWorkspace{path() + "/workspace"};
  plan.session_dir = path() + "/session";
  plan.image = image;
  plan.identity = identity;
  plan.limits.memory_bytes = job.memory_bytes;
  plan.limits.cpu_millis = job.cpu_millis;
  plan.limits.wall_timeout = std::chrono::hours(24);  // bounded by its start
  return plan;
}

Result<std::string> MachineFolder::ReadTokens() const {
  const std::string name = std::string("session/") + kTmpName + "/" + microvm::kSnapshotName;
  WRIT_ASSIGN(const UniqueFd folder, OpenBeneath(fd(), name, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(const UniqueFd file,
              OpenBeneath(folder.get(), microvm::kSnapshotTokens, O_RDONLY | O_NONBLOCK));
  return ReadAll(file.get(), microvm::kMaxTokensBytes);
}

}  // namespace writ::backends
