// The environment of a session, layer by layer (protocol.md section 2; L20). Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "writ/protocol/contract.h"
#include "writ/runner/plan.h"

namespace writ::runner {

struct EnvironmentPlan {
  std::vector<backends::Variable> vars;
  std::vector<SecretTarget> secrets;
  std::vector<PlanFinding> findings;
};

// PATH, HOME and the rest of the base environment are the backend's, proxy variables come at the
// start; neither can be named here. Lowest first: profile, the operator's variables for the agent,
// secrets under their own names, inherit, vars, mapped secrets. Every name comes out once.
std::variant<EnvironmentPlan, RunFailure> PlanEnvironment(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const AgentProfile* profile, const std::map<std::string, std::string>& agent_vars,
    const std::map<std::string, std::string>& host_env);

}  // namespace writ::runner
