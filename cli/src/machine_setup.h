// How machines are made here, for commands that make one that is no run's.
#pragma once

#include <string>
#include <vector>

#include "home.h"
#include "uid_reservation.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"
#include "writ/runner/config.h"

namespace writ::cli {

// As runs of a runner with this configuration get theirs.
backends::MicrovmBackendOptions MachineOptions(const Programs& programs, const std::string& dir,
                                               const runner::RunnerConfig& config);
// The same of runner.json in `dir`, or of the defaults.
Result<backends::MicrovmBackendOptions> ReadMachineOptions(const std::string& dir);

struct MachineSetup {
  backends::MicrovmBackendOptions options;
  backends::Identity identity;  // as root: of a uid that is held by `uids`
  UidReservation uids;
  std::string work_dir;
};
Result<MachineSetup> MakeMachineSetup(const std::string& dir);

// What builds that were killed have left in the setup's work_dir.
std::vector<std::string> SweepBuilds(const std::string& dir, backends::microvm::GarbageMode mode);

}  // namespace writ::cli
