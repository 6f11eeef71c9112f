// ResourceWatch: looks at what a running job uses, on a thread of its own, and says which limit was
// passed. Only looks; ending the job is the watching thread's.
//
// A job that is over within kFirstLook is looked at once, at its end, and costs no thread. Else
// every kWatchInterval: CPU time, out-of-memory kills, refused forks or number of tasks, and one
// statvfs per file system. The disk is measured file by file only when the file systems have lost
// half of what the job has left, or when the last time is long ago; a measurement takes at most a
// quarter of the time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "writ/backends/limits.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/linux/disk_usage.h"
#include "writ/backends/outcome.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

inline constexpr std::chrono::milliseconds kFirstLook{20};

class ResourceWatch {
 public:
  // Whose descendants the job's processes are, and which of those is not the job's (0: none).
  struct Tree {
    pid_t supervisor = 0;
    pid_t init = 0;
    std::uint64_t own_tasks = 0;  // tasks that are not the job's
  };
  // `cgroups` outlives the watch and is not changed meanwhile; the supervisor is not waited for
  // meanwhile. `trees`: what counts as the job's disk, open for reading.
  ResourceWatch(const Limits& limits, const CgroupSet& cgroups, Tree tree,
                std::vector<UniqueFd> trees);
  ~ResourceWatch();
  ResourceWatch(const ResourceWatch&) = delete;
  ResourceWatch& operator=(const ResourceWatch&) = delete;

  // Starts the thread, with its first look. Once; due kFirstLook after the job's start.
  void Begin();
  bool begun() const { return thread_.joinable(); }

  // Readable once a limit was passed. Not drained.
  int event_fd() const { return event_.get(); }

  // Ends the thread, where there is one, and looks a last time, now that the job's tree is dead:
  // what was passed between two looks counts. The first limit that was seen is the one.
  std::optional<PlannedLimit> Stop();
  // After Stop: what the groups and the disk meter have counted goes into `usage`.
  void AddTo(Usage& usage) const;
  // After Stop: the kernel ended a process of the job for memory that the host did not have, not
  // for the job's own limit.
  bool host_was_out_of_memory() const { return host_out_of_memory_; }

 private:
  enum class Look { kWhileRunning, kLast };
  using Time = std::chrono::steady_clock::time_point;

  void Loop(const std::stop_token& stop);
  void LookAtAll(Look look);
  void LookAtMemory();
  void LookAtProcesses();
  void LookAtCpu(Look look);
  void LookAtDisk(Look look);
  bool DiskIsDue(Time now) const;
  std::vector<pid_t> Members() const;
  void Hit(LimitKind kind);

  const Limits limits_;
  const CgroupSet& cgroups_;
  const Tree tree_;
  DiskMeter disk_;
  UniqueFd event_;

  // The thread's own until Stop has joined it.
  std::optional<PlannedLimit> hit_;
  std::optional<DiskUsage> disk_now_;
  DiskUsage disk_most_;
  std::optional<std::chrono::microseconds> cpu_;
  std::chrono::microseconds cpu_seen_{0};  // process by process, the most
  Time disk_time_{};
  std::chrono::steady_clock::duration disk_took_{};
  bool host_out_of_memory_ = false;
  bool stopped_ = false;

  std::mutex mutex_;  // for the condition alone
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace writ::backends
