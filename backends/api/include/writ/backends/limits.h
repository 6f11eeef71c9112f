// Limits of one run: what each is, who set it, what holds it on this host, and which one was hit.
//
// Every limit that was passed ends the run with its own reason ("limit.memory", ...), except for
// open files and the size of one file, which the kernel refuses call by call (EMFILE, EFBIG,
// SIGXFSZ), and the shares of CPU and disks, which only make a job slower. What only the supervisor
// watches is passed by what a job does between two looks (kWatchInterval), and then ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace writ::backends {

enum class LimitKind {
  kWall,       // ms, from start to end
  kCpu,        // ms of all CPUs together, of the whole tree
  kMemory,     // bytes, of the whole tree where a cgroup counts it
  kProcesses,  // tasks (threads count)
  kOpenFiles,  // descriptors of one process
  kDisk,       // bytes on disk in workspace, HOME and TMPDIR, deleted files that are open included
  kDiskFiles,  // inodes in the same places
  kOutput,     // bytes on stdout and stderr together
  kCpuShare,   // thousandths of a CPU, of the whole tree
  kIo,         // bytes a second read, and as many written, of the whole tree at each disk
};
// "wall", "cpu", "memory", "processes", "openFiles", "disk", "diskFiles", "output", "cpuShare",
// "io".
std::string_view LimitName(LimitKind kind);
// The stable code of a run that it ended: "limit.wall", ..., "limit.openFiles"; both limits of the
// disk are "limit.disk".
std::string_view LimitCode(LimitKind kind);
// "ms", "bytes", "tasks", "descriptors", "files", "millicpus", "bytesPerSecond".
std::string_view LimitUnit(LimitKind kind);

// Who decided. A limit of the contract that nothing here can hold is refused (L4); one of the
// operator or of the pool is held as well as this host can, and the receipt says by what.
enum class LimitSource {
  kOperator,  // the runner's configuration, its defaults included
  kPool,      // the run's share of the machine
  kContract,
};
std::string_view LimitSourceName(LimitSource source);  // "operator", "pool", "contract"

enum class LimitHolder {
  kNone,
  kRlimit,
  kSupervisor,  // looked at while the job runs, and ended
  kCgroupV1,
  kCgroupV2,
};
// "none", "rlimit", "supervisor", "cgroup-v1", "kernel-cgroup-v2".
std::string_view LimitHolderName(LimitHolder holder);

// Between two looks of whoever watches a limit from outside.
inline constexpr std::chrono::milliseconds kWatchInterval{100};

struct OutputLimits {
  // Per stream: the first head_bytes and the last tail_bytes are kept, what is between is counted
  // (L18).
  std::uint64_t head_bytes = 8ull << 20;
  std::uint64_t tail_bytes = 2ull << 20;
  // A job that writes more than this, both streams together, is ended (Outcome kOutputLimit); 0 =
  // no such limit.
  std::uint64_t end_job_over_bytes = 0;
};

struct LimitSources {
  LimitSource wall = LimitSource::kOperator;
  LimitSource cpu = LimitSource::kOperator;
  LimitSource cpu_share = LimitSource::kOperator;
  LimitSource io = LimitSource::kOperator;
  LimitSource memory = LimitSource::kOperator;
  LimitSource processes = LimitSource::kOperator;
  LimitSource open_files = LimitSource::kOperator;
  LimitSource disk = LimitSource::kOperator;
  LimitSource output = LimitSource::kOperator;
};

struct Limits {
  std::chrono::milliseconds wall_timeout{std::chrono::minutes(10)};
  std::chrono::milliseconds term_grace{std::chrono::seconds(5)};  // SIGTERM to SIGKILL
  OutputLimits output;
  std::chrono::milliseconds cpu_time{0};  // of the whole tree; 0 = unlimited
  std::uint64_t cpu_millis = 0;           // thousandths of a CPU at once; 0 = unlimited
  std::uint64_t io_bytes_per_second = 0;  // at each disk, reads and writes apart; 0 = unlimited
  std::uint64_t processes = 1024;         // tasks of the job
  std::uint64_t open_files = 4096;        // per process
  std::uint64_t file_bytes = 0;           // largest file (RLIMIT_FSIZE); 0 = unlimited
  std::uint64_t memory_bytes =
      0;  // of the whole job where cgroups allow, else per process; 0 = unlimited
  std::uint64_t address_space_bytes = 0;  // per process (RLIMIT_AS); 0 = unlimited
  std::uint64_t disk_bytes = 0;  // blocks in workspace, HOME and TMPDIR together; 0 = unlimited
  std::uint64_t disk_files = 0;  // inodes there; 0 = unlimited
  LimitSources sources;
};

struct PlannedLimit {
  LimitKind kind = LimitKind::kWall;
  std::uint64_t value = 0;  // in LimitUnit
  LimitSource source = LimitSource::kOperator;
};
// The limits that are set, in the order of LimitKind.
std::vector<PlannedLimit> PlannedLimits(const Limits& limits);

// For the receipt (`enforcement.resources.limits`): as held on this host, never as wished.
struct HeldLimit {
  PlannedLimit limit;
  LimitHolder holder = LimitHolder::kNone;
  std::string note;    // what the holder leaves open; may be empty
  std::string mend{};  // what would let it hold for the whole job; may be empty
};

}  // namespace writ::backends
