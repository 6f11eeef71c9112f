// Cgroups: limits for a whole job, and a kill that no fork outruns - where they are writable.
//
// Both generations are looked at, because a host may mount v2 without controllers and keep memory
// and pids in v1. Groups are made below the cgroup that this process is in, or beside it in a v2
// group that was taken over (cgroup_delegation.h), so its own limits hold on.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "writ/base/result.h"

namespace writ::backends {

// What can be had here, found by making a group, setting its limits and removing it again.
struct CgroupSupport {
  std::string pids_base;     // directory to make groups in; empty: no pids limit
  std::string memory_base;   // empty: no memory limit
  std::string cpu_base;      // empty: no limit of the CPUs used at once
  std::string io_base;       // empty: no limit of what is read and written a second
  std::string cpuacct_base;  // v1 accounting, looked for only where v2 does not count
  std::string kill_base;     // a v2 directory whose groups have cgroup.kill; empty: none
  std::string freezer_base;  // v1 freezer, looked for only where there is no cgroup.kill
  bool pids_is_v2 = false;
  bool memory_is_v2 = false;
  bool cpu_is_v2 = false;
  bool io_is_v2 = false;
  std::vector<std::string> disks;  // "MAJOR:MINOR" of every disk of this host, for io_base
  std::string reason;              // why memory or pids are missing; empty: they are not
  std::string mend;
  // Every directory in which groups are made, each once.
  std::vector<std::string> Bases() const;
  // What of it is not there any more: a directory, or a controller that v2 no longer hands on.
  // Empty: all is.
  std::string Lost() const;
};
enum class CgroupGenerations { kBoth, kOnlyV1 };  // the second one for tests
CgroupSupport ProbeCgroups(CgroupGenerations generations = CgroupGenerations::kBoth);

// What the groups of one job hold it to. 0: not limited.
struct CgroupLimits {
  std::uint64_t processes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t cpu_millis = 0;           // thousandths of a CPU
  std::uint64_t io_bytes_per_second = 0;  // read, and as much written, at each disk
};

// The groups of one job: which are made, and what is written into them. Pure.
struct CgroupPlan {
  struct Write {
    std::string file;
    std::string value;
    enum class Where { kNeeded, kIfThere } where = Where::kNeeded;
  };
  std::vector<std::string> directories;  // in the order of their making, each once
  std::vector<Write> writes;
  // Which of the directories is for what; empty: none.
  std::string v2;  // with cgroup.kill: a process can be born in it
  std::string memory;
  std::string pids;
  std::string freezer;
  std::string cpuacct;
  bool memory_is_v2 = false;
};
CgroupPlan PlanCgroups(const CgroupSupport& support, const std::string& name,
                       const CgroupLimits& limits);

// What the kernel says about out-of-memory kills in a group.
struct MemoryEvents {
  std::uint64_t kills = 0;       // processes of the group that the kernel ended for memory
  std::uint64_t limit_hits = 0;  // times the group was at its own limit; 0 with kills: the host's
};
struct IoBytes {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
};

// One job's groups. Owns the directories: the destructor removes what is empty. The reading
// methods may be called from another thread than the owner's as long as that does not call Remove.
class CgroupSet {
 public:
  static Result<CgroupSet> Create(const CgroupPlan& plan);

  CgroupSet() = default;
  CgroupSet(CgroupSet&& other) noexcept;
  CgroupSet& operator=(CgroupSet&& other) noexcept;
  ~CgroupSet();

  const std::vector<std::string>& directories() const { return made_; }
  bool memory_is_v2() const { return dirs_.memory_is_v2; }

  // nullopt: not counted here.
  std::optional<std::uint64_t> PeakMemoryBytes() const;
  std::optional<MemoryEvents> OutOfMemory() const;
  // v2, with or without its controller, else v1 cpuacct.
  std::optional<std::chrono::microseconds> CpuTime() const;
  bool cpu_time_is_v2() const { return !dirs_.v2.empty(); }
  std::optional<IoBytes> Io() const;                  // v2 with the io controller
  std::optional<std::uint64_t> RefusedForks() const;  // by the limit of tasks
  std::optional<std::uint64_t> Tasks() const;
  // Process ids of all members; nullopt where no group holds the whole job.
  std::optional<std::vector<pid_t>> Members() const;

  // Kills all members (cgroup.kill or one by one) and removes the directories; what could not be
  // removed is returned. A directory that is gone had no member left.
  std::vector<std::string> Remove();

 private:
  CgroupPlan dirs_;
  std::vector<std::string> made_;
};

// v1: stops all members of a freezer group, so that none can fork while the rest is killed; and
// lets them go on (to die). False where the group is not there.
enum class Freeze { kFrozen, kThawed };
bool SetFreezer(const std::string& directory, Freeze state);

// Kills what is in the group and removes it; empty on success. For groups of an earlier process, by
// their directory.
bool KillAndRemoveCgroup(const std::string& directory);

}  // namespace writ::backends
