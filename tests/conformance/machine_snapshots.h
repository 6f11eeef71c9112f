// A folder with the guest image of tests and snapshots of its own, for tests of the microvm tier.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/snapshot_build.h"

namespace writ::test {

class MachineSnapshots {
 public:
  MachineSnapshots();
  ~MachineSnapshots();
  MachineSnapshots(const MachineSnapshots&) = delete;
  MachineSnapshots& operator=(const MachineSnapshots&) = delete;

  const std::string& dir() const { return dir_; }
  // Of the programs of this build, and these images and snapshots.
  backends::MicrovmBackendOptions Options() const;
  backends::microvm::SnapshotStore store() const {
    return backends::microvm::SnapshotStoreOf(dir_);
  }
  // As a user's would be, by a monitor with this test's uid. `memory_bytes`: of its jobs.
  Result<backends::microvm::SnapshotRecord> Build(
      std::vector<std::string> warm_up, std::uint64_t memory_bytes = 0,
      const std::function<void(const std::string&)>& told = {}, unsigned cpus = 1) const;
  // Where builds happen; empty when none does.
  std::string work_dir() const { return dir_ + "/builds"; }

 private:
  std::string dir_;
};

// Of the programs of this build.
backends::MicrovmBackendOptions MachineOptions(const std::string& images_dir);

}  // namespace writ::test
