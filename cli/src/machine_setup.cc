#include "machine_setup.h"

#include <unistd.h>

#include "runner_setup.h"
#include "writ/base/paths.h"

namespace writ::cli {
namespace {

std::string BuildsOf(const std::string& dir) {
  return dir + "/snapshot-builds";
}

}  // namespace

backends::MicrovmBackendOptions MachineOptions(const Programs& programs, const std::string& dir,
                                               const runner::RunnerConfig& config) {
  backends::MicrovmBackendOptions out;
  out.launched.launcher = programs.launch;
  out.machine_program = programs.machine;
  out.images_dir = dir;
  out.vmm = config.microvm.vmm;
  out.vmm_program = config.microvm.program;
  out.pages.program = programs.pages;
  out.pages.preload = programs.preload;
  return out;
}

Result<backends::MicrovmBackendOptions> ReadMachineOptions(const std::string& dir) {
  RunnerSetup setup;
  setup.dir = dir;
  WRIT_ASSIGN(const RunnerSettings settings, ReadRunnerSettings(setup));
  WRIT_ASSIGN(const Programs programs, FindPrograms());
  backends::MicrovmBackendOptions out = MachineOptions(programs, RealDir(dir), settings.config);
  out.launched.ahead = backends::LaunchedOptions::Ahead::kNone;
  return out;
}

Result<MachineSetup> MakeMachineSetup(const std::string& dir) {
  MachineSetup out;
  WRIT_ASSIGN(out.options, ReadMachineOptions(dir));
  const std::string real = RealDir(dir);
  out.work_dir = BuildsOf(real);
  WRIT_TRY(MakePassable(real));
  WRIT_TRY(MakePassable(out.work_dir));
  out.identity = {::geteuid(), ::getegid(), "job"};
  if (::geteuid() != 0) return out;
  UidRequest request;
  request.state_dir = out.work_dir;
  request.work_dir = out.work_dir;
  request.range = {FirstUidFor(out.work_dir), 1};
  WRIT_ASSIGN(out.uids, ReserveUids(request));
  out.identity.uid = out.uids.range.first;
  out.identity.gid = out.uids.range.first;
  return out;
}

std::vector<std::string> SweepBuilds(const std::string& dir, backends::microvm::GarbageMode mode) {
  auto builds = OpenDirectory(BuildsOf(RealDir(dir)));
  if (!builds) return {};
  return backends::microvm::SweepHalfMade(builds->get(), mode);
}

}  // namespace writ::cli
