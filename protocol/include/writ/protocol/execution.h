// Execution: what a contract asks to be run, and the prepared form that is hashed into the chain.
//
// Pure data. `PreparedExecution` is what the execution hash covers; what really runs comes from the
// agent's profile (design.md section 3). Texts travel as fields and argv, never through a shell of
// ours (L2).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "writ/base/terminal_size.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/names.h"
#include "writ/protocol/reader.h"
#include "writ/protocol/syscall_profile.h"

namespace writ::protocol {

struct AgentSpec {
  AgentKind kind;
  std::optional<std::string>
      version;  // a range that the installed agent must meet, else capability_mismatch
  json::Value ToJson() const;
  static AgentSpec Read(json::ObjectReader reader);
};

struct ExecutionEnv {
  struct SecretMapping {
    EnvName env;
    SecretName secret;
  };
  std::vector<EnvName> inherit;        // intersected with the operator's allow-list
  std::vector<SecretMapping> secrets;  // one whose secret was not released is left out
  std::map<std::string, std::string> vars;
  bool egress_proxy = true;  // false: no network at all
};

enum class StderrMode { kMerge, kCapture };

// What the job may use at most, of a machine that has at least that for it: a runner that cannot
// give or hold it refuses the run. Our extension (protocol.md section 6).
struct ExecutionLimits {
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> cpu_millis;             // thousandths of a CPU
  std::optional<std::int64_t> cpu_ms;                 // of all CPUs together
  std::optional<std::int64_t> processes;              // threads count
  std::optional<std::int64_t> open_files;             // of one process
  std::optional<std::int64_t> disk_bytes;             // in workspace, TMPDIR and HOME
  std::optional<std::int64_t> io_bytes_per_second{};  // at each disk, reads and writes apart
  json::Value ToJson() const;
  static ExecutionLimits Read(json::ObjectReader reader);
};

struct ExecutionLog {
  StderrMode stderr_mode = StderrMode::kMerge;
  std::optional<std::int64_t> max_bytes;
};

struct Execution {
  enum class Kind { kShell, kArgv, kAgent };
  Kind kind = Kind::kAgent;
  std::string script;               // shell
  std::string shell = "sh";         // shell: "sh" or "bash"
  std::string command;              // argv
  std::vector<std::string> args;    // argv
  AgentSpec agent;                  // agent
  std::string prompt;               // agent
  std::optional<WorkspaceDir> cwd;  // default "."
  std::optional<std::int64_t> timeout_ms;
  ExecutionEnv env;
  std::optional<ExecutionLog> log;
  // Output files to keep, beside the diff (protocol.md section 6): globs over the final workspace,
  // and one file of structured results, which must hold strict JSON. Our extension.
  std::vector<std::string> artifacts;
  std::optional<WorkspacePath> result;
  ExecutionLimits limits;
  // The job may be run again where nobody knows how it ended: the plane requeues a lost run only
  // where the contract says this. Our extension (protocol.md section 6).
  bool idempotent = false;
  // The image of the runner's store that the job runs in: a name or a digest; sandbox and container
  // tier.
  // Our extension (protocol.md section 6).
  std::optional<std::string> image;
  // Our extension (protocol.md section 6); without it the runner's.
  std::optional<SyscallProfile> syscalls;
  // The job's three streams are a terminal of this size, whose output is its log. Our extension
  // (protocol.md section 6).
  std::optional<TerminalSize> terminal;
  json::Value raw;  // as it was read; null when built here

  // Unknown members are refused: an execution that we do not fully understand is not run (L4).
  static Execution Read(json::ObjectReader reader, const json::Value& raw);
  static Result<Execution> Parse(const json::Value& value);
  json::Value ToJson() const;  // `raw` where there is one
};

// How the time-out follows from execution and budget.
enum class TimeoutRule {
  kSmallest,      // ours: the smaller of timeoutMs and maxDurationMin, else 10 minutes
  kTimeoutFirst,  // as the recorded peer: timeoutMs, else maxDurationMin, else 10 minutes
};

struct PrepareOptions {
  TimeoutRule timeout_rule = TimeoutRule::kSmallest;
  // The mock agent's command line before the prompt; the first is the program.
  std::vector<std::string> mock_command = {"writ-mock-agent"};
};

struct PreparedExecution {
  bool is_shell = false;
  std::string cmd;                // argv
  std::vector<std::string> args;  // argv
  std::string shell;              // shell
  std::string script;             // shell
  std::string cwd = ".";
  std::chrono::milliseconds timeout{600000};
  std::optional<std::int64_t> log_max_bytes;
  StderrMode stderr_mode = StderrMode::kMerge;
  ExecutionEnv env;

  // The recorded peer's form: secrets in `env` stand as "__WARRANT_SECRET__:NAME".
  json::Value ToJson() const;
  // hash of {kind:"argv",cmd,args,cwd} or {kind:"shell",shell,script,cwd}
  Digest ExecutionHash() const;
};

// kUnsupported "execution.unknown_agent" where the agent kind has no command line here.
Result<PreparedExecution> Prepare(const Execution& execution,
                                  std::optional<double> max_duration_min,
                                  const PrepareOptions& options = {});

// A glob over workspace paths: relative, no "." or ".." or empty component, no "\\" or NUL, at most
// 1,024 bytes.
bool IsArtifactGlob(std::string_view glob);
inline constexpr std::size_t kMaxArtifactGlobs = 100;

// Names that a contract's `vars`, `secrets` or `inherit` may never set: proxy and CA variables,
// LD_*, PATH and the like (protocol.md section 2, "Environment of a session"). Case matters not for
// proxy variables.
bool IsReservedEnvName(std::string_view name);

}  // namespace writ::protocol
