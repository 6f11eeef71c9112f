#include "matching.h"

#include <algorithm>
#include <string>

namespace writ::plane {
namespace {

using protocol::RunnerCapabilities;
using protocol::TierReport;

std::string WithUnit(std::uint64_t value, std::string_view unit) {
  if (unit == "bytes" && value >= (1u << 20)) return std::to_string(value >> 20) + " MiB";
  return std::to_string(value) + " " + std::string(unit);
}

std::optional<Unmet> LacksTier(const RunWants& wants, const RunnerCapabilities& runner,
                               const TierReport*& tier) {
  const std::optional<protocol::Tier> where = runner.TierFor(wants.isolation);
  if (!where)
    return Unmet{"the isolation \"" + *wants.isolation + "\"", "the word is not mapped there",
                 "map it in isolationWords of the runner's configuration"};
  tier = runner.Find(*where);
  const std::string name(protocol::Word(*where));
  if (tier == nullptr)
    return Unmet{name, "there is no backend for it", "ask for another isolation"};
  if (!tier->offered) return Unmet{name, tier->reason, tier->mend};
  return std::nullopt;
}

struct Bound {
  std::string_view member;
  std::string_view limit;  // as backends name it
  std::string_view unit;
  std::optional<std::int64_t> asked;
  std::uint64_t most;
};

std::optional<Unmet> LacksRoom(const Bound& bound, const TierReport& tier) {
  if (!bound.asked) return std::nullopt;
  const auto asked = static_cast<std::uint64_t>(*bound.asked);
  if (bound.most != 0 && asked > bound.most)
    return Unmet{WithUnit(asked, bound.unit) + " as " + std::string(bound.member) + " of one run",
                 "there are " + WithUnit(bound.most, bound.unit),
                 "lower it, or add a larger runner"};
  const auto held =
      std::find_if(tier.limits.begin(), tier.limits.end(),
                   [&](const protocol::LimitReport& each) { return each.limit == bound.limit; });
  if (held != tier.limits.end() && !held->contract)
    return Unmet{"a limit of " + std::string(bound.member) + " that holds",
                 "it would be held by " + held->holder,
                 "give its service Delegate=yes; `writ doctor` there says what is missing"};
  return std::nullopt;
}

}  // namespace

RunWants RunWants::Of(const protocol::Contract& contract) {
  const protocol::Execution execution = contract.EffectiveExecution();
  RunWants out;
  out.isolation = contract.isolation;
  out.agent = contract.NeededAgent();
  out.limits = execution.limits;
  // What cannot be prepared is refused by its runner, with the reason.
  if (auto prepared = protocol::Prepare(execution, contract.budget.max_duration_min)) {
    out.timeout_ms = static_cast<std::uint64_t>(prepared->timeout.count());
    out.log_bytes = static_cast<std::uint64_t>(prepared->log_max_bytes.value_or(0));
  }
  return out;
}

std::string RunWants::ToText() const {
  json::Object out;
  out.SetOptional("isolation", isolation);
  if (!agent.empty()) out.Set("agent", agent);
  if (json::Value asked = limits.ToJson(); asked.if_object() != nullptr && !asked.object().empty())
    out.Set("limits", std::move(asked));
  if (timeout_ms != 0) out.Set("timeoutMs", timeout_ms);
  if (log_bytes != 0) out.Set("logBytes", log_bytes);
  return json::Write(json::Value(std::move(out)));
}

Result<RunWants> RunWants::FromText(std::string_view text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  RunWants out;
  out.isolation = reader.OptionalString("isolation");
  out.agent = reader.OptionalString("agent").value_or("");
  if (auto limits = reader.OptionalChild("limits"))
    out.limits = protocol::ExecutionLimits::Read(*limits);
  out.timeout_ms = static_cast<std::uint64_t>(reader.OptionalInteger("timeoutMs").value_or(0));
  out.log_bytes = static_cast<std::uint64_t>(reader.OptionalInteger("logBytes").value_or(0));
  WRIT_TRY(issues.ToStatus("what a run wants"));
  return out;
}

std::optional<Unmet> WhyNot(const RunWants& wants, const RunnerCapabilities& runner) {
  const TierReport* tier = nullptr;
  if (auto lacks = LacksTier(wants, runner, tier)) return lacks;
  if (!wants.agent.empty() &&
      std::none_of(runner.agents.begin(), runner.agents.end(),
                   [&](const auto& agent) { return agent.kind.text() == wants.agent; }))
    return Unmet{"agent " + wants.agent, "it is not installed there, or jobs cannot reach it",
                 "install it, or name it in agentPaths of the runner's configuration"};
  const protocol::MostReport& most = runner.most;
  const protocol::ExecutionLimits& asked = wants.limits;
  for (const Bound& bound :
       {Bound{"memoryBytes", "memory", "bytes", asked.memory_bytes, most.memory_bytes},
        Bound{"cpuMillis", "cpuShare", "thousandths of a CPU", asked.cpu_millis, most.cpu_millis},
        Bound{"cpuMs", "cpu", "ms", asked.cpu_ms, most.cpu_ms},
        Bound{"processes", "processes", "processes", asked.processes, most.processes},
        Bound{"openFiles", "openFiles", "descriptors", asked.open_files, most.open_files},
        Bound{"diskBytes", "disk", "bytes", asked.disk_bytes, most.disk_bytes}})
    if (auto lacks = LacksRoom(bound, *tier)) return lacks;
  if (most.timeout_ms != 0 && wants.timeout_ms > most.timeout_ms)
    return Unmet{std::to_string(wants.timeout_ms / 1000) + " s for one run",
                 "it gives " + std::to_string(most.timeout_ms / 1000) + " s",
                 "lower timeoutMs or maxDurationMin, or raise limits.maxTimeoutMs there"};
  if (most.log_bytes != 0 && wants.log_bytes > most.log_bytes)
    return Unmet{"a log of " + WithUnit(wants.log_bytes, "bytes"),
                 "it keeps " + WithUnit(most.log_bytes, "bytes"),
                 "lower log.maxBytes, or raise limits.maxLogBytes there"};
  return std::nullopt;
}

}  // namespace writ::plane
