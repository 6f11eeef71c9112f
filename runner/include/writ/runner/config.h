// RunnerConfig: everything an operator decides about a runner, as one value, and its JSON form
// (runner.json).
//
// Strict: unknown members, wrong types and out-of-range numbers are refused with the JSON pointer
// of the place. Danger is a grant with a name of its own (OperatorGrants), off by default, so one
// grep lists every loosening.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/syscall_profile.h"
#include "writ/runner/artifact_limits.h"
#include "writ/runner/hooks.h"
#include "writ/runner/http_client.h"

namespace writ::runner {

// Host uids for the jobs of a root runner: slot n gets first + n, the egress proxies first + slots,
// machines that wait for their runs those behind. Nothing else on the host uses them. Never
// contains 0.
struct UidRange {
  uid_t first = 0;
  std::uint32_t count = 0;
};

// A job that writes more than `bytes` to stdout and stderr: it is ended, or its log is cut.
enum class OnExceed {
  kKill,
  kTruncate,  // the job goes on; its log keeps at most `bytes`, head and tail
};
struct OutputBound {
  std::uint64_t bytes = 1ull << 30;
  OnExceed on_exceed = OnExceed::kKill;
};

// Each limit that a run passes ends it with a code of its own (limit.memory, ...); 0: no limit.
struct OperatorLimits {
  std::chrono::milliseconds max_timeout{
      std::chrono::hours(24)};                    // a contract that asks for more is refused
  std::uint64_t default_log_bytes = 16ull << 20;  // of a log whose contract sets no maxBytes
  std::uint64_t max_log_bytes = 256ull << 20;
  OutputBound output;
  std::chrono::milliseconds cpu_time{0};  // of a job's whole tree
  std::uint64_t cpu_millis = 0;           // thousandths of a CPU, at once
  std::uint64_t io_bytes_per_second = 0;  // at each disk, reads and writes apart
  std::uint64_t processes = 1024;
  std::uint64_t open_files = 4096;
  std::uint64_t memory_bytes = 0;  // 0: the run's share of the machine where there is one
  std::uint64_t file_bytes = 0;
  // Blocks in workspace, TMPDIR and HOME; a run's share of the disk where that is less.
  std::uint64_t disk_bytes = 64ull << 30;
  std::uint64_t disk_files = 4'000'000;  // inodes there
  std::uint64_t max_changed_files = 200'000;
  std::uint64_t max_diff_bytes = 128ull << 20;  // and of one changed file: both are held in memory
  std::uint64_t max_blob_bytes = 4ull << 30;    // one downloaded blob
  std::uint64_t copy_bytes = 1ull << 30;        // one copy into or out of a session
  std::uint64_t copy_files = 100'000;
  std::uint64_t min_free_disk_bytes = 512ull << 20;  // below it nothing is claimed (L41)
  std::uint64_t min_free_memory_bytes = 64ull << 20;
};

// What all runs of this runner together may have; 0: what the machine has, less the memory and the
// disk that are kept free. Never more than that (L42).
struct RunCapacity {
  std::uint64_t cpu_millis = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};

// Cached checkouts, the lower layers of overlay workspaces. What runs use may go over it.
struct CheckoutLimits {
  std::uint64_t max_bytes = 20ull << 30;
  std::size_t max_entries = 64;
};

// What this machine's operator, and nobody else, may do to running sessions (access.h). Each use is
// an event of the run's chain.
struct SessionGrants {
  bool attach = false;  // see a job's output as it comes
  bool input = false;   // type at the terminal of a job that has one
  bool exec = false;    // run commands beside the job
  bool copy = false;    // copy files in and out
  bool pause = false;   // make a job's machine stand still, and go on
  // Give what a job in a machine has changed to the run's plane while it runs, for forks of it.
  bool checkpoint = false;
  bool any() const { return attach || input || exec || copy || pause || checkpoint; }
};

struct OperatorGrants {
  bool open_network = false;  // honour network.defaultDeny:false; the address rules stay
  bool redact_diffs =
      false;  // a diff with a secret's value is redacted and uploaded instead of failing the run
  bool advisory_network =
      false;  // run where the kernel cannot hold the network, and say so in the receipt
  bool unmetered_spend =
      false;  // run contracts with budget.maxSpendUsd and open hosts though spend is not observed
  // Honour the syscall profile `none`: the job may attack the host's kernel with every call that it
  // has; the receipt says so.
  bool all_syscalls = false;
  SessionGrants session;
};

// Which system calls jobs get: what a contract that says nothing gets, and what it may ask for.
// `none` needs grants.allSyscalls as well.
struct SyscallPolicy {
  protocol::SyscallProfile profile = protocol::SyscallProfile::kDefault;
  std::vector<protocol::SyscallProfile> allow = {protocol::SyscallProfile::kDefault,
                                                 protocol::SyscallProfile::kBuild};
  bool Allows(protocol::SyscallProfile wanted) const {
    return std::find(allow.begin(), allow.end(), wanted) != allow.end();
  }
};

// Addresses in place of the resolver's for a name (private models, tests). Still checked against
// the address rules.
struct HostOverride {
  std::string name;
  std::vector<std::string> addresses;
};

// What happens to a running job whose plane does not answer. Either way the run's receipt is made
// and delivered when the plane is back, and a plane that has closed the run meanwhile gets it as a
// late bundle.
struct PlaneLost {
  enum class Policy { kKeepRunning, kStop };
  Policy policy = Policy::kKeepRunning;
  std::chrono::milliseconds stop_after{900'000};  // kStop: this long after the last answer
};

struct RunnerConfig {
  std::string state_dir;  // identity and journal; absolute, 0700 parts below
  std::string work_dir;   // sessions and caches; absolute; every parent must be enterable by job
                          // uids. Default state_dir/work
  std::vector<std::string>
      private_dirs;  // beside these two, what no job may see; absolute; not in the file
  HttpEndpoint plane;
  std::string plane_key_pem;  // the pinned key; contracts by any other are refused (L1)
  std::string pool = "default";
  unsigned slots = 1;
  RunCapacity capacity;
  std::optional<UidRange> uid_range;  // required for root
  std::string egress_proxy;           // absolute path of writ-egress-proxy
  std::string launcher;               // absolute path of writ-launch; needed where there are hooks
  std::string mock_agent;  // absolute path of writ-mock-agent; empty: kind mock is refused
  std::string only_run;    // claims this run and no other (`writ run`); not in the file
  std::string default_isolation = "process";
  // A contract that asks for less runs in this tier, and its receipt says so. Nothing is ever run
  // in less than its contract asks for.
  std::string minimum_isolation = "process";
  std::map<std::string, std::string> isolation_words;  // words of other planes -> our tier words
  // Of the sandbox tier: the image where a contract names none. Empty: the host's own programs.
  std::string sandbox_image;
  // Of the container tier: the image where a contract names none, and the OCI runtime (a name or an
  // absolute path). Empty: no such contract is run; the first of crun and runc that is there.
  struct Container {
    std::string image;
    std::string runtime;
  };
  Container container;
  // Of the microvm tier: the monitor ("qemu", "firecracker", "cloud-hypervisor") and its program,
  // an absolute path. Empty: QEMU; where Debian's package or the project's release has it.
  // `pool`: machines that wait, restored, for their runs; 0 clones: none.
  struct MachinePool {
    std::uint32_t clones = 0;  // of each snapshot
    std::uint64_t memory_bytes = 1ull << 30;
    std::chrono::seconds max_age{600};
  };
  struct Microvm {
    std::string vmm;
    std::string program;
    MachinePool pool{};
  };
  Microvm microvm;
  std::vector<std::string> env_allow;  // what env.inherit may name (L20); empty: nothing
  std::vector<std::string> search_path = {"/usr/local/bin", "/usr/bin",
                                          "/bin"};  // where agents are looked for
  std::map<std::string, std::string>
      agent_paths;  // agent kind -> absolute path, before search_path
  // agent kind -> variables of its session, below what the contract sets: the address of a private
  // model API, say. No secrets: they end up in plans.
  std::map<std::string, std::map<std::string, std::string>> agent_vars;
  std::vector<HostOverride> host_overrides;
  std::vector<std::string>
      address_grants;  // CIDRs beyond the public ones that jobs may be led to (L22)
  std::optional<std::vector<std::string>>
      allow_hosts;  // narrows contracts (L6); absent: no narrowing. "host" or "host:port"
  OperatorLimits limits;
  SyscallPolicy syscalls;
  OperatorGrants grants;
  std::chrono::milliseconds poll_interval{
      2000};  // between claims where the plane has no long poll; jittered by half
  std::chrono::milliseconds long_poll{25'000};
  std::chrono::milliseconds call_timeout{60'000};  // one plane operation, retries included (L19)
  std::chrono::milliseconds transfer_timeout{600'000};  // one blob
  std::chrono::milliseconds heartbeat{5'000};
  std::chrono::milliseconds cancel_grace{5'000};  // from SIGTERM to SIGKILL of the whole tree
  PlaneLost plane_lost;
  HookTable hooks;
  ArtifactLimits artifacts;
  CheckoutLimits checkouts;
  // Where /healthz, /readyz and /metrics are served beside the state directory's own socket
  // (status.h); empty: nowhere.
  std::string metrics_listen;
};

inline constexpr std::uint32_t kMaxPoolClones = 64;
inline constexpr std::uint32_t kPooledSnapshots = 4;  // for whose clones there are uids
// Of a root runner: one for each slot, one for the proxies, and for each machine of the pool, that
// waits or is in use.
std::uint32_t PoolUidsOf(const RunnerConfig& config);
std::uint32_t UidsNeeded(const RunnerConfig& config);

// The file's text; paths are taken as they stand. Absent members keep their defaults, so that a
// file may hold no more than what its operator decides; whoever calls completes the value and then
// calls CheckRunnerConfig. Codes: json.*, object.*.
Result<RunnerConfig> ParseRunnerConfig(std::string_view json);
std::string RunnerConfigJson(
    const RunnerConfig& config);  // pretty, what ParseRunnerConfig reads back
// Cross-field rules: absolute paths, pool name, slots 1..1024, uid range large enough (L42), known
// tier words, CIDRs, allowHosts, names in agentVars. Codes: runner.config.*.
Status CheckRunnerConfig(const RunnerConfig& config);

}  // namespace writ::runner
