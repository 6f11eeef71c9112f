#include "engine/readiness.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plan/private_places.h"
#include "writ/backends/linux/machine.h"
#include "writ/runner/plan.h"
#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

void LookAtDisk(const RunnerConfig& config, int sessions_dir,
                std::vector<ReadinessProblem>& problems) {
  struct statvfs disk {};
  if (fstatvfs(sessions_dir, &disk) != 0 || faccessat(sessions_dir, ".", W_OK | X_OK, 0) != 0) {
    problems.push_back({"ready.work_dir", "the work directory cannot be written",
                        "check its owner, mode and mount", true});
    return;
  }
  std::uint64_t free_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free_bytes < config.limits.min_free_disk_bytes)
    problems.push_back(
        {"ready.disk",
         "the work directory has " + std::to_string(free_bytes >> 20) + " MiB left, below the " +
             std::to_string(config.limits.min_free_disk_bytes >> 20) + " MiB that are kept free",
         "make room, or lower limits.minFreeDiskBytes", true});
  if (disk.f_files != 0 && disk.f_favail < 1000)
    problems.push_back(
        {"ready.inodes", "the work directory has no inodes left", "make room", true});
}

// A run whose memory is limited gets all of it or none: a claim that the machine has no memory for
// would end in the kernel's choice of a victim.
void LookAtMemory(const RunnerConfig& config, const backends::MachineCapacity& machine,
                  std::vector<ReadinessProblem>& problems) {
  if (machine.available_memory_bytes == 0) return;  // not known
  const std::uint64_t needed =
      std::max(config.limits.min_free_memory_bytes, config.limits.memory_bytes);
  if (machine.memory_bytes < needed)
    problems.push_back({"ready.memory",
                        "a run may use " + std::to_string(needed >> 20) +
                            " MiB of memory, and this machine has " +
                            std::to_string(machine.memory_bytes >> 20) + " MiB",
                        "lower limits.memoryBytes", true});
  else if (machine.available_memory_bytes < needed)
    problems.push_back(
        {"ready.memory",
         "this machine has " + std::to_string(machine.available_memory_bytes >> 20) +
             " MiB of memory left, and a run needs " + std::to_string(needed >> 20) + " MiB",
         "end what uses it, or lower limits.memoryBytes or limits.minFreeMemoryBytes", true});
}

// An agent whose path the operator wrote down is one that runs will ask for. The mock agent comes
// with every installation: that it is out of reach concerns the runs that ask for it.
bool IsConfigured(const RunnerConfig& config, const AgentProfile& profile) {
  return config.agent_paths.contains(std::string(profile.kind));
}

// A job of another uid enters its session by name through every folder above it.
void LookAtPath(const RunnerConfig& config, std::vector<ReadinessProblem>& problems) {
  if (!config.uid_range) return;
  std::string at = config.work_dir + "/sessions";
  while (!at.empty()) {
    struct stat info {};
    if (stat(at.c_str(), &info) == 0 && (info.st_mode & 0001) == 0) {
      problems.push_back({"ready.path",
                          "jobs cannot enter " + at + ", which is on the way to their sessions",
                          "chmod o+x it, or set workDir elsewhere", true});
      return;
    }
    at.resize(at.rfind('/'));
  }
}

// A job with our uid can take modes away from what is ours; the next start sets them back.
void LookAtOwnFolders(const RunnerConfig& config, std::vector<ReadinessProblem>& problems) {
  const std::string& state = config.state_dir;
  const std::string& work = config.work_dir;
  for (const std::string& path : {state, state + "/identity", state + "/journal", work,
                                  work + "/sessions", work + "/cache", work + "/checkouts"}) {
    if (access(path.c_str(), R_OK | W_OK | X_OK) == 0 || errno == ENOENT) continue;
    problems.push_back({"ready.own_folder",
                        "the runner may not enter and write " + path + ", which is its own",
                        "chmod u+rwx it and the folders above it; a start of the runner does that "
                        "where they are its own",
                        true});
    return;
  }
}

void LookAtBackends(backends::BackendRegistry& registry, Depth depth,
                    std::vector<ReadinessProblem>& problems) {
  bool any = false;
  for (backends::Backend* backend : registry.All()) {
    const backends::Capabilities& can = backend->Probe();
    if (can.usable) {
      Status alive = backend->Alive();
      any = any || alive.has_value();
      if (!alive)
        problems.push_back({"ready.backend", alive.error().message, alive.error().hint, false});
    }
    if (!can.usable && depth == Depth::kWhole)
      problems.push_back({"ready.backend",
                          "backend " + can.backend + " cannot be used: " + can.unusable_reason,
                          can.unusable_mend, false});
  }
  if (!any)
    problems.push_back(
        {"ready.no_backend", "no backend can be used on this host", "see writ doctor", true});
}

}  // namespace

std::vector<ReadinessProblem> LookAtReadiness(const RunnerConfig& config,
                                              backends::BackendRegistry& registry, int sessions_dir,
                                              Depth depth) {
  std::vector<ReadinessProblem> problems;
  LookAtOwnFolders(config, problems);
  LookAtDisk(config, sessions_dir, problems);
  LookAtMemory(config, backends::ProbeMachine(), problems);
  LookAtPath(config, problems);
  if (Status hidden = CheckOutOfView(config); !hidden)
    problems.push_back(
        {"ready.private_in_view", hidden.error().message, hidden.error().hint, true});
  if (access(config.egress_proxy.c_str(), X_OK) != 0)
    problems.push_back({"ready.egress_proxy", "the egress proxy's program cannot be executed",
                        "check egressProxy in the runner's configuration", true});
  // The one run's own tier is looked at when it is chosen, and no other.
  if (config.only_run.empty()) LookAtBackends(registry, depth, problems);
  for (const AgentProfile& profile : AllProfiles()) {
    if (!profile.spawnable || profile.program.empty()) continue;
    const bool configured = IsConfigured(config, profile);
    if (depth == Depth::kBeforeClaim && !configured) continue;
    InstalledAgent agent = LocateFor(config, profile);
    if (!agent.lack.empty())
      problems.push_back(
          {"ready.agent." + std::string(profile.kind), agent.lack, agent.hint, configured});
  }
  return problems;
}

std::vector<ReadinessProblem> LookAtHost(const RunnerConfig& config,
                                         backends::BackendRegistry& registry) {
  // Where nothing was made yet, the folder in which it would be.
  std::string at = config.work_dir + "/sessions";
  UniqueFd dir;
  for (;;) {
    dir = UniqueFd(open(at.empty() ? "/" : at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir || at.empty()) break;
    at.resize(at.rfind('/'));
  }
  return LookAtReadiness(config, registry, dir.get(), Depth::kWhole);
}

}  // namespace writ::runner
