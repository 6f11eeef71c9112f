// SessionPlan: everything that a session will do, decided before anything is touched. Pure.
//
// PlanSession(contract, facts, config) is a function of its arguments: same input, same plan or
// same refusal. What the backend, the operator or the installed agent cannot meet is refused, never
// weakened (L4). The plan's hash goes into the receipt's environment, its JSON to `--print-plan`.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "writ/backends/plan.h"
#include "writ/egress/rules.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/execution.h"
#include "writ/runner/config.h"
#include "writ/runner/failure.h"
#include "writ/runner/profiles.h"

namespace writ::runner {

// The contract's isolation word as one of our tiers: our own words, the operator's map, the
// operator's default.
std::variant<protocol::Tier, RunFailure> AskedTier(const protocol::Contract& contract,
                                                   const RunnerConfig& config);
// The same, raised to the operator's minimum: where the contract runs, if at all.
std::variant<protocol::Tier, RunFailure> ResolveTier(const protocol::Contract& contract,
                                                     const RunnerConfig& config);
backends::Tier BackendTier(protocol::Tier tier);

// A run's part of the machine. 0: none, or not known.
struct MachineShare {
  std::uint64_t memory_bytes = 0;       // of a run that neither contract nor operator limits
  std::uint64_t most_memory_bytes = 0;  // what one run may ask for at all
  std::uint64_t most_cpu_millis = 0;
  std::uint64_t disk_bytes = 0;  // of a run whose contract does not ask for some
  std::uint64_t most_disk_bytes = 0;
};

// What the planner may know of this host, gathered before.
struct PlanFacts {
  protocol::Tier tier = protocol::Tier::kProcess;
  const backends::Capabilities* capabilities = nullptr;  // never null
  InstalledAgent agent;                                  // of Contract::NeededAgent
  std::map<std::string, std::string>
      host_env;  // values of the operator's envAllow that are set here
  backends::Identity identity;
  std::string session_dir;
  std::string workspace_dir;
  // Set: the workspace is this overlay, and `workspace_dir` is not used.
  std::optional<backends::WorkspaceMount> overlay;
  std::vector<egress::ProtectedEndpoint> plane_addresses;  // never dialled for a job (L22)
  MachineShare machine;
};

// What a run needs of the machine for as long as it runs: what its contract asks for, else what the
// operator's limits or its equal share give it. 0: nothing in particular.
struct RunNeeds {
  std::uint64_t cpu_millis = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;  // only what the contract asks for
};
RunNeeds NeedsOf(const protocol::Contract& contract);

struct SecretTarget {
  std::string secret;
  std::string env;
};
struct PlanFinding {
  std::string code;
  std::string message;
};
enum class SecretInDiff { kFailRun, kRedact };

struct SessionPlan {
  protocol::PreparedExecution prepared;
  protocol::Digest execution_hash;  // command.executed
  protocol::Digest argv_hash;       // of the argv that really runs: environment record
  std::string agent_kind;           // empty: no agent's program runs (shell, argv)
  std::string agent_version;        // as installed; empty: it does not tell
  protocol::Tier tier = protocol::Tier::kProcess;
  protocol::Tier asked_tier =
      protocol::Tier::kProcess;  // below `tier` where the operator raised it
  backends::Plan job;
  bool proxied = true;          // false: no network at all
  egress::RuleSet rules;        // of the proxy
  backends::Syscalls syscalls;  // job's, for the record
  std::vector<SecretTarget> secret_env;
  bool timeout_is_budget = false;
  std::uint64_t log_bytes = 0;
  protocol::Disclosure disclosure = protocol::Disclosure::kMinimalContext;
  SecretInDiff secret_in_diff = SecretInDiff::kFailRun;
  std::vector<PlanFinding> findings;

  json::Value ToJson() const;  // no secret values are in a plan
  protocol::Digest Hash() const;
};

std::variant<SessionPlan, RunFailure> PlanSession(const protocol::Contract& contract,
                                                  const PlanFacts& facts,
                                                  const RunnerConfig& config);

}  // namespace writ::runner
