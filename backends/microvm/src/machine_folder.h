// MachineFolder: the private place of a machine that is no run's: a session and an empty workspace,
// gone with it, or with the next sweep (microvm::SweepHalfMade) where its process was killed.
#pragma once

#include <string>
#include <utility>

#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

class MachineFolder {
 public:
  // `work_dir`: absolute, existing, reachable by the identity.
  static Result<MachineFolder> Make(const std::string& work_dir, const Identity& identity);
  MachineFolder(MachineFolder&& other) noexcept = default;
  MachineFolder& operator=(MachineFolder&&) = delete;
  ~MachineFolder();

  std::string path() const { return work_dir_ + "/" + made_.name; }
  int fd() const { return made_.folder.get(); }
  // The plan of its machine: the places, and nothing of a job but what makes the machine's size.
  Plan PlanOf(const std::string& prefix, const std::string& image, const Identity& identity,
              const Limits& job) const;
  // The tokens of the machine that is there, or of the one that it was restored from; wiped by
  // whoever holds them. Read as what a jailed process may have made of it.
  Result<std::string> ReadTokens() const;

 private:
  MachineFolder(UniqueFd parent, microvm::HalfMade made, std::string work_dir)
      : parent_(std::move(parent)), made_(std::move(made)), work_dir_(std::move(work_dir)) {}
  UniqueFd parent_;
  microvm::HalfMade made_;
  std::string work_dir_;
};

}  // namespace writ::backends
