// Plan: everything a backend needs to know to run one job. A pure value, made by the runner's
// planning step and applied by a backend; it holds no descriptors and touches nothing.
//
// A backend meets the whole plan or refuses it in Check (kUnsupported; L4). PlanJson prints it
// without secret values: for `--print-plan`, golden tests, and the hash in the receipt.
// Movable, not copyable, because it may hold secret values.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "writ/backends/capability.h"
#include "writ/backends/limits.h"
#include "writ/backends/tier.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/base/terminal_size.h"

namespace writ::backends {

struct Variable {
  std::string name;
  std::string value;
};
struct SecretVariable {
  std::string name;
  Secret value;  // reaches the job's own environment and nothing else (L8)
};
// A later entry replaces an earlier one of the same name; secrets are applied after plain ones.
struct Environment {
  std::vector<Variable> vars;
  std::vector<SecretVariable> secrets;
};

// The tree the job works in. Plain: `dir` is the tree itself, writable by the job's uid. Overlay:
// the backend mounts lower (read-only, may be shared) + upper + work (this run's) where the job
// sees it.
struct PlainWorkspace {
  std::string dir;  // absolute
};
struct WorkspaceMount {
  std::string lower;
  std::string upper;
  std::string work;
  // A directory of the runner's own (made where it is missing) for what a backend makes of `lower`
  // and of `kept_trees`: it goes when either is not as it was. `kept_trees` are read-only trees of
  // the plan; the same for each run that names this directory. Empty: nothing is kept.
  std::string kept = {};
  std::vector<std::string> kept_trees = {};
};
using Workspace = std::variant<PlainWorkspace, WorkspaceMount>;

// Who the job is. Never uid 0 of the host. A root runner gives each slot a uid of its own, which
// nothing else on the host uses while the job runs; an ordinary user's runner uses its own ids.
// The job has no supplementary groups (where the runner may drop them).
struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string user_name = "job";  // USER and LOGNAME
};

// Grants: each loosening is a type of its own, so that one grep lists every place that gives it.
struct HostNetworkGrant {
  std::string granted_by;  // the operator rule that allows it, for the receipt
};
struct AdvisoryNetworkGrant {
  std::string granted_by;
};
// Something may be put beside the running job (entry.h).
struct EntryGrant {
  std::string granted_by;
};

struct NoNetwork {};       // nothing can be reached, not even a proxy
struct ProxiedNetwork {};  // only the session's proxy listener (Job::TakeProxyListener)
using Network = std::variant<NoNetwork, ProxiedNetwork, HostNetworkGrant>;

// Which system calls there are for the job: a list of what is allowed, or, by grant, all that the
// kernel has for it.
struct DefaultSyscalls {};  // shells, interpreters, compilers, agents
struct BuildSyscalls {};    // and what package tools and test suites with servers need beside
struct AllSyscallsGrant {
  std::string granted_by;
};
using Syscalls = std::variant<DefaultSyscalls, BuildSyscalls, AllSyscallsGrant>;
std::string_view SyscallProfileName(const Syscalls& syscalls);  // "default", "build", "none"

// The least enforcement that the contract or the operator accepts, per aspect. Network is not
// listed: it is always kKernel unless an AdvisoryNetworkGrant is given.
struct Requirements {
  Enforcement files = Enforcement::kNone;
  Enforcement syscalls = Enforcement::kNone;
  Enforcement resources = Enforcement::kNone;
  Enforcement processes = Enforcement::kNone;
  std::optional<AdvisoryNetworkGrant> advisory_network;
};

enum class StderrTo { kOwnStream, kStdout };
enum class StdinFrom { kNull };

// Written into the private HOME before the start, owned by the job. Never secrets: they are files
// on disk (L8).
struct HomeFile {
  std::string path;  // relative to HOME
  std::string bytes;
  mode_t mode = 0600;
};

struct Plan {
  std::string run_id;  // [A-Za-z0-9_-]{1,80}
  Tier tier = Tier::kProcess;

  std::vector<std::string>
      argv;  // argv[0] with '/' is a path (relative to cwd), else looked up in PATH
  Environment
      env;  // on top of the base environment of docs (PATH, HOME, USER, LANG, TMPDIR, SHELL, TERM)
  Workspace workspace;
  std::string cwd;  // relative to the workspace; "" is its root; never leaves it

  // Absolute, existing, owned by the runner, reachable (x) by the job's uid, this run's alone. The
  // backend makes home/ and tmp/ here, its lock and status file, and removes all but the status
  // file in Dismantle.
  std::string session_dir;
  std::vector<HomeFile> home_files;
  std::vector<std::string> home_directories;  // relative to HOME, made 0700
  // Absolute host paths the job may read and execute beside the system's: an agent's install
  // prefix, node, the git object store named in .git/objects/info/alternates. Missing ones are an
  // error.
  std::vector<std::string> read_only_trees;
  // One of those trees, a file of the runner's: the checkpoint that the job's machine makes its
  // workspace from (Entry, kCheckpoint). The job does not see it. Only the microvm tier can; empty:
  // the workspace is as it was materialized.
  std::string checkpoint;

  // The image that the job's root comes from: a name or digest of the image store, in the sandbox
  // and container tiers. "": their operator's default.
  std::string image;

  Identity identity;
  // As root: of processes that serve jobs and are none, the proxies' too. No job has it.
  std::optional<uid_t> helper_uid{};
  Limits limits;
  Network network = NoNetwork{};
  Syscalls syscalls = DefaultSyscalls{};
  Requirements require;
  StderrTo stderr_to = StderrTo::kOwnStream;
  StdinFrom stdin_from = StdinFrom::kNull;
  // The job's three streams are a terminal of this size, whose output comes as stdout; stdin_from
  // and stderr_to mean nothing then. Refused where Capabilities::pty is false.
  std::optional<TerminalSize> terminal;
  std::optional<EntryGrant> entries;

  Plan() = default;
  Plan(Plan&&) = default;
  Plan& operator=(Plan&&) = default;
};

// Canonical JSON (RFC 8785). Secret variables appear by name only; home files by path, mode and
// size.
std::string PlanJson(const Plan& plan);

// What is wrong with the plan as such, for any backend: uid or gid 0, empty argv, NUL bytes, bad
// run id, a cwd or home path that leaves its tree, relative host paths. kInvalid with a code.
Status ValidatePlan(const Plan& plan);

}  // namespace writ::backends
