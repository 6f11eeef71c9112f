// Cgroups: limits for a whole job, and a kill that no fork outruns - where they are writable.
//
// Both generations are looked at, because a host may mount v2 without controllers and keep memory
// and pids in v1. Groups are made below the cgroup that this process is in, so its own limits hold
// on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

// What can be had here, found by making a group, setting its limits and removing it again.
struct CgroupSupport {
  std::string pids_base;    // directory to make groups in; empty: no pids limit
  std::string memory_base;  // empty: no memory limit
  std::string kill_base;    // a v2 directory whose groups have cgroup.kill; empty: none
  bool pids_is_v2 = false;
  bool memory_is_v2 = false;
  std::string reason;  // why something is missing
};
CgroupSupport ProbeCgroups();

// One job's groups. Owns the directories: the destructor removes what is empty.
class CgroupSet {
 public:
  struct Limits {
    std::uint64_t processes = 0;     // 0 = none
    std::uint64_t memory_bytes = 0;  // 0 = none
  };
  static Result<CgroupSet> Create(const CgroupSupport& support, const std::string& name,
                                  const Limits& limits);

  CgroupSet() = default;
  CgroupSet(CgroupSet&& other) noexcept;
  CgroupSet& operator=(CgroupSet&& other) noexcept;
  ~CgroupSet();

  const std::vector<std::string>& directories() const { return directories_; }
  // The one of them with cgroup.kill, in which a process can be born; empty: none.
  const std::string& v2_directory() const { return v2_directory_; }
  std::uint64_t PeakMemoryBytes() const;  // 0 where it is not counted
  std::uint64_t OutOfMemoryKills() const;
  // Kills all members (cgroup.kill or one by one) and removes the directories; what could not be
  // removed is returned.
  std::vector<std::string> Remove();

 private:
  std::vector<std::string> directories_;
  std::string v2_directory_;
  std::string memory_dir_;
  bool memory_is_v2_ = false;
};

// Kills what is in the group and removes it; empty on success. For groups of an earlier process, by
// their directory.
bool KillAndRemoveCgroup(const std::string& directory);

}  // namespace writ::backends
