// Decide: from a contract and this host to the plan of its session. Gathers PlanFacts - the backend
// of its tier and what that can do, the installed agent, the variables that may be inherited - and
// gives them to PlanSession. Probes and looks, changes nothing.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "writ/backends/backend.h"
#include "writ/backends/registry.h"
#include "writ/runner/plan.h"

namespace writ::runner {

// Where the runner keeps what a session uses.
struct SessionPlaces {
  std::string session;            // the session's own folder
  std::string checkout;           // of the contract's base, as the cache has it or would
  std::string kept;               // beside it, for what a backend makes of it
  std::string objects_directory;  // of the contract's bundle
  // As a runner with this configuration lays them out.
  static SessionPlaces In(const std::string& work_dir, const protocol::Contract& contract);
};

struct DecideInput {
  const protocol::Contract& contract;
  const RunnerConfig& config;
  backends::BackendRegistry& registry;
  SessionPlaces places;
  std::vector<egress::ProtectedEndpoint> plane_addresses{};
  MachineShare machine{};
  unsigned slot = 0;
};

// A refusal leaves what was decided before it: a receipt tells of that, too.
struct Decision {
  backends::Backend* backend = nullptr;              // of the registry
  const backends::Capabilities* measured = nullptr;  // what the plan was made with; the backend's
  std::optional<SessionPlan> plan;  // without a refusal it has passed the backend's Check
  std::optional<backends::WorkspaceMount> overlay;
  std::string why_plain;  // where there is no overlay
};
std::optional<RunFailure> Decide(const DecideInput& input, Decision& out);

// Everything that a runner with this configuration would do for the contract, as JSON: `session`
// (SessionPlan::ToJson), `launch` (Backend::PrintPlan), `backend`, `workspace`. No secret values.
std::variant<json::Value, RunFailure> PrintPlan(const protocol::Contract& contract,
                                                const RunnerConfig& config,
                                                backends::BackendRegistry& registry);

}  // namespace writ::runner
