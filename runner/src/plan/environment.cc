#include "plan/environment.h"

#include <algorithm>

#include "writ/protocol/secret_rules.h"
#include "writ/runner/failure.h"

namespace writ::runner {
namespace {

using protocol::FailureClass;

struct Entry {
  std::optional<std::string> secret;  // name of a released secret; else `value` counts
  std::string value;
};

RunFailure Reserved(const std::string& name, const char* how) {
  return RunFailure{FailureClass::kCapabilityMismatch, "env.reserved",
                    std::string("the contract's ") + how + " would replace the variable " + name +
                        ", which belongs to the launcher or the proxy",
                    "take " + name +
                        " out of the execution's env: PATH, HOME, USER, LOGNAME, SHELL, TMPDIR, "
                        "ENV, BASH_ENV, IFS, LD_*, WRIT_* and the variables of proxies and "
                        "certificate authorities are not the contract's"};
}

}  // namespace

std::variant<EnvironmentPlan, RunFailure> PlanEnvironment(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const AgentProfile* profile, const std::map<std::string, std::string>& agent_vars,
    const std::map<std::string, std::string>& host_env) {
  std::map<std::string, Entry> names;
  EnvironmentPlan plan;
  auto granted = [&](const std::string& name) {
    return std::any_of(contract.secrets.begin(), contract.secrets.end(),
                       [&](const protocol::SecretGrant& g) { return g.name.text() == name; });
  };
  if (profile != nullptr) {
    for (const auto& [name, value] : profile->vars)
      names[std::string(name)] = {std::nullopt, std::string(value)};
  }
  for (const auto& [name, value] : agent_vars) names[name] = {std::nullopt, value};
  for (const protocol::SecretGrant& grant : contract.secrets) {
    if (Status fit = protocol::CheckSecretVariable(grant.name.text()); !fit)
      return FailureFrom(fit.error(), FailureClass::kSecretReleaseDenied);
    names[grant.name.text()] = {grant.name.text(), {}};
  }
  for (const protocol::EnvName& name : env.inherit) {
    auto value = host_env.find(name.text());
    if (protocol::IsReservedEnvName(name.text()) || value == host_env.end()) {
      plan.findings.push_back(
          {"env.inherit_not_allowed", "the variable " + name.text() +
                                          " was not inherited: the operator does not allow it, or "
                                          "it is not set here; the runner's "
                                          "operator lists it in envAllow of runner.json and sets "
                                          "it where the runner starts, or the "
                                          "contract gives a value in env.vars"});
      continue;
    }
    names[name.text()] = {std::nullopt, value->second};
  }
  for (const auto& [name, value] : env.vars) {
    if (protocol::IsReservedEnvName(name)) return Reserved(name, "env.vars");
    if (value.find('\0') != std::string::npos)
      return RunFailure{
          FailureClass::kCapabilityMismatch, "env.nul",
          "the contract's variable " + name + " holds a NUL byte, which no environment can carry",
          "hand it over as a file of the workspace, or encoded"};
    names[name] = {std::nullopt, value};
  }
  for (const auto& mapping : env.secrets) {
    if (protocol::IsReservedEnvName(mapping.env.text()))
      return Reserved(mapping.env.text(), "env.secrets");
    if (granted(mapping.secret.text())) names[mapping.env.text()] = {mapping.secret.text(), {}};
  }
  if (profile != nullptr) {
    for (const auto& [secret, var] : profile->key_aliases) {
      if (granted(std::string(secret)) && !names.contains(std::string(var)))
        names[std::string(var)] = {std::string(secret), {}};
    }
    auto has = [&](std::string_view name) { return names.contains(std::string(name)); };
    if (std::none_of(profile->other_key_vars.begin(), profile->other_key_vars.end(), has)) {
      for (std::string_view name : profile->key_vars)
        names.try_emplace(std::string(name), Entry{std::nullopt, std::string(kPlaceholderKey)});
    }
  }
  for (auto& [name, entry] : names) {
    if (entry.secret) {
      plan.secrets.push_back({*entry.secret, name});
    } else {
      plan.vars.push_back({name, std::move(entry.value)});
    }
  }
  return plan;
}

}  // namespace writ::runner
