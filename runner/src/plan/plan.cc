#include "writ/runner/plan.h"

#include <algorithm>
#include <cerrno>

#include "plan/environment.h"
#include "plan/network.h"
#include "writ/protocol/json.h"

namespace writ::runner {
namespace {

using protocol::Contract;
using protocol::FailureClass;

RunFailure Mismatch(std::string code, std::string message, std::string hint = "") {
  return RunFailure{FailureClass::kCapabilityMismatch, "plan." + std::move(code),
                    std::move(message), std::move(hint)};
}

// A run id as a backend's: the same where it fits, else a name made from its hash.
std::string JobName(const std::string& run_id) {
  bool fits = run_id.size() <= 80 && std::all_of(run_id.begin(), run_id.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
              });
  return fits ? run_id : "run-" + protocol::Sha256(run_id).ToHex().substr(0, 32);
}

// Fit for an agent's own configuration syntax as it stands; empty is.
bool IsPlainUrl(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\'; });
}

// What the protocol has and this runner does not do (protocol.md: never ignored).
std::optional<RunFailure> RefuseUnsupported(const Contract& contract, const PlanFacts& facts,
                                            const RunnerConfig& config) {
  if (contract.continuation) {
    const bool ours = contract.continuation->tier == protocol::kCheckpointTier &&
                      protocol::Digest::Parse(contract.continuation->checkpoint_id).has_value();
    if (!ours || facts.tier != protocol::Tier::kMicroVm)
      return Mismatch(
          "continuation",
          "the contract continues another run's checkpoint, which " +
              std::string(ours ? "only a machine can begin from" : "this runner cannot resume"),
          ours ? "isolation: microvm" : "start the task as a new run");
  }
  if (const json::Value* runner = contract.raw.Find("runner")) {
    const json::Value* tier = runner->Find("attestationTier");
    if (tier != nullptr &&
        (tier->if_string() == nullptr || *tier->if_string() != protocol::kAttestationTierMock))
      return Mismatch("attestation",
                      "the contract asks for an attestation that a software key cannot give",
                      "use a pool whose runners have it");
  }
  const bool can_spend = !contract.network.allow_hosts.empty() || !contract.network.default_deny;
  if (contract.budget.max_spend_usd && can_spend && !config.grants.unmetered_spend)
    return Mismatch("spend_unobserved",
                    "the contract limits the spend, and this runner does not observe what a job "
                    "spends at the hosts it may reach",
                    "leave maxSpendUsd out, allow no hosts, or set grants.unmeteredSpend");
  return std::nullopt;
}

std::optional<RunFailure> CheckAgent(const Contract& contract, const AgentProfile* profile,
                                     const std::string& kind, const InstalledAgent& agent,
                                     bool is_agent) {
  if (is_agent && profile == nullptr)
    return Mismatch("agent_unknown", "this runner has no profile for the contract's agent kind",
                    "choose claude-code, codex, command or mock");
  if (is_agent && !agent.lack.empty()) return Mismatch("agent_missing", agent.lack, agent.hint);
  std::vector<std::string> ranges;
  if (contract.agent.version) ranges.push_back(*contract.agent.version);
  if (contract.execution && contract.execution->kind == protocol::Execution::Kind::kAgent &&
      contract.execution->agent.version)
    ranges.push_back(*contract.execution->agent.version);
  for (const std::string& range : ranges) {
    if (!agent.lack.empty()) return Mismatch("agent_missing", agent.lack, agent.hint);
    if (!agent.version)
      return Mismatch("agent_version_unknown",
                      "the contract asks for a version of agent " + kind +
                          ", and what is installed here tells none",
                      "leave agent.version out");
    Result<bool> meets = VersionMeets(range, *agent.version);
    if (!meets) return FailureFrom(meets.error(), FailureClass::kCapabilityMismatch);
    if (!*meets)
      return Mismatch("agent_version",
                      "agent " + kind + " is installed in version " + *agent.version +
                          ", which the contract's range does not cover",
                      "install a version of that range, or change agent.version");
  }
  return std::nullopt;
}

// More than any job writes, and still a whole number in JSON.
constexpr std::uint64_t kWithoutEnd = 1ull << 50;

// The operator's limits, and below them what the contract asks for: a job that may have more than
// the operator gives is not run with less (L4).
struct Asked {
  std::string_view member;
  std::optional<std::int64_t> value;
  std::uint64_t most = 0;  // 0: no limit
  std::uint64_t* limit;
  backends::LimitSource* source;
};
std::optional<RunFailure> TakeAsked(const Asked& asked) {
  if (!asked.value) return std::nullopt;
  const auto value = static_cast<std::uint64_t>(*asked.value);
  if (asked.most != 0 && value > asked.most)
    return Mismatch(
        "limits",
        "the contract asks for more than this runner gives a run: " + std::string(asked.member) +
            " " + std::to_string(value) + ", and " + std::to_string(asked.most) + " there is",
        "lower limits." + std::string(asked.member) +
            " of the execution, or use a pool with more of it");
  *asked.limit = value;
  *asked.source = backends::LimitSource::kContract;
  return std::nullopt;
}

// The smaller of two limits of which 0 is none.
std::uint64_t Least(std::uint64_t a, std::uint64_t b) {
  return a == 0 ? b : b == 0 ? a : std::min(a, b);
}

std::optional<RunFailure> PlanLimits(const protocol::ExecutionLimits& asked, const PlanFacts& facts,
                                     const RunnerConfig& config, SessionPlan& plan) {
  const OperatorLimits& wanted = config.limits;
  backends::Limits& limits = plan.job.limits;
  if (wanted.output.on_exceed == OnExceed::kKill) {
    limits.output = {.head_bytes = wanted.output.bytes,
                     .tail_bytes = 0,
                     .end_job_over_bytes = wanted.output.bytes};
  } else {
    limits.output = {.head_bytes = kWithoutEnd, .tail_bytes = 0, .end_job_over_bytes = 0};
    plan.log_bytes = std::min(plan.log_bytes, wanted.output.bytes);
  }
  limits.cpu_time = wanted.cpu_time;
  limits.processes = wanted.processes;
  limits.open_files = wanted.open_files;
  limits.file_bytes = wanted.file_bytes;
  limits.disk_bytes = Least(wanted.disk_bytes, facts.machine.disk_bytes);
  if (limits.disk_bytes != wanted.disk_bytes) limits.sources.disk = backends::LimitSource::kPool;
  limits.disk_files = wanted.disk_files;
  limits.memory_bytes = wanted.memory_bytes;
  if (wanted.memory_bytes == 0 && facts.machine.memory_bytes != 0) {
    limits.memory_bytes = facts.machine.memory_bytes;
    limits.sources.memory = backends::LimitSource::kPool;
  }
  limits.cpu_millis = wanted.cpu_millis;
  limits.io_bytes_per_second = wanted.io_bytes_per_second;
  std::uint64_t cpu_ms = static_cast<std::uint64_t>(wanted.cpu_time.count());
  for (const Asked& ask : {
           Asked{"memoryBytes", asked.memory_bytes,
                 Least(wanted.memory_bytes, facts.machine.most_memory_bytes), &limits.memory_bytes,
                 &limits.sources.memory},
           Asked{"cpuMillis", asked.cpu_millis,
                 Least(wanted.cpu_millis, facts.machine.most_cpu_millis), &limits.cpu_millis,
                 &limits.sources.cpu_share},
           Asked{"cpuMs", asked.cpu_ms, cpu_ms, &cpu_ms, &limits.sources.cpu},
           Asked{"ioBytesPerSecond", asked.io_bytes_per_second, wanted.io_bytes_per_second,
                 &limits.io_bytes_per_second, &limits.sources.io},
           Asked{"processes", asked.processes, wanted.processes, &limits.processes,
                 &limits.sources.processes},
           Asked{"openFiles", asked.open_files, wanted.open_files, &limits.open_files,
                 &limits.sources.open_files},
           Asked{"diskBytes", asked.disk_bytes,
                 Least(wanted.disk_bytes, facts.machine.most_disk_bytes), &limits.disk_bytes,
                 &limits.sources.disk},
       })
    if (auto refused = TakeAsked(ask)) return refused;
  limits.cpu_time = std::chrono::milliseconds(cpu_ms);
  return std::nullopt;
}

// What the contract asks for where the operator allows it, else what the operator gives (L6).
std::variant<backends::Syscalls, RunFailure> PlanSyscalls(
    const std::optional<protocol::SyscallProfile>& asked, const RunnerConfig& config) {
  const protocol::SyscallProfile profile = asked.value_or(config.syscalls.profile);
  if (!config.syscalls.Allows(profile))
    return Mismatch("syscalls_not_granted",
                    "the contract asks for the syscall profile " +
                        std::string(protocol::Word(profile)) +
                        ", which this runner's operator does not allow",
                    "leave execution.syscalls out, or have it added to syscalls.allow");
  switch (profile) {
    case protocol::SyscallProfile::kDefault:
      return backends::DefaultSyscalls{};
    case protocol::SyscallProfile::kBuild:
      return backends::BuildSyscalls{};
    case protocol::SyscallProfile::kNone:
      return backends::AllSyscallsGrant{"grants.allSyscalls"};
  }
  return backends::DefaultSyscalls{};
}

}  // namespace

RunFailure FailureFrom(const Error& error, FailureClass failure) {
  std::string message = error.message;
  for (const std::string& context : error.context) message = context + ": " + message;
  // Whatever the step was about: this host has no room, and only its operator can mend that.
  if (error.sys_errno == ENOSPC || error.sys_errno == EDQUOT)
    return RunFailure{FailureClass::kSessionFailed, "session.disk_full",
                      "the runner's disk is full: " + message,
                      "make room where the runner keeps its work and state"};
  return RunFailure{failure, error.code, std::move(message), error.hint};
}

RunNeeds NeedsOf(const Contract& contract) {
  const protocol::ExecutionLimits limits = contract.EffectiveExecution().limits;
  auto of = [](const std::optional<std::int64_t>& value) {
    return static_cast<std::uint64_t>(value.value_or(0));
  };
  return RunNeeds{of(limits.cpu_millis), of(limits.memory_bytes), of(limits.disk_bytes)};
}

std::variant<SessionPlan, RunFailure> PlanSession(const Contract& contract, const PlanFacts& facts,
                                                  const RunnerConfig& config) {
  if (auto refused = RefuseUnsupported(contract, facts, config)) return *refused;
  const backends::Capabilities& can = *facts.capabilities;
  if (!can.usable)
    return Mismatch("backend_unusable",
                    "the " + std::string(protocol::Word(facts.tier)) +
                        " tier cannot be used on this host: " + can.unusable_reason,
                    can.unusable_mend);

  SessionPlan plan;
  plan.tier = facts.tier;
  auto asked = AskedTier(contract, config);
  plan.asked_tier =
      std::holds_alternative<protocol::Tier>(asked) ? std::get<protocol::Tier>(asked) : facts.tier;
  plan.disclosure = contract.disclosure;
  plan.secret_in_diff = config.grants.redact_diffs ? SecretInDiff::kRedact : SecretInDiff::kFailRun;
  protocol::Execution execution = contract.EffectiveExecution();
  Result<protocol::PreparedExecution> prepared =
      protocol::Prepare(execution, contract.budget.max_duration_min);
  if (!prepared) return FailureFrom(prepared.error(), FailureClass::kCapabilityMismatch);
  plan.prepared = std::move(*prepared);
  plan.execution_hash = plan.prepared.ExecutionHash();

  const bool is_agent = execution.kind == protocol::Execution::Kind::kAgent;
  const std::string kind = contract.NeededAgent();
  const AgentProfile* profile = kind.empty() ? nullptr : FindProfile(kind);
  if (auto refused = CheckAgent(contract, profile, kind, facts.agent, is_agent)) return *refused;

  backends::Plan& job = plan.job;
  job.run_id = JobName(contract.run_id.text());
  job.tier = BackendTier(facts.tier);
  const auto agent_vars = config.agent_vars.find(kind);
  const std::map<std::string, std::string> operator_vars =
      is_agent && agent_vars != config.agent_vars.end() ? agent_vars->second
                                                        : std::map<std::string, std::string>();
  auto environment = PlanEnvironment(contract, plan.prepared.env, is_agent ? profile : nullptr,
                                     operator_vars, facts.host_env);
  if (auto* refused = std::get_if<RunFailure>(&environment)) return *refused;
  auto& env = std::get<EnvironmentPlan>(environment);
  job.env.vars = std::move(env.vars);
  plan.secret_env = std::move(env.secrets);
  plan.findings = std::move(env.findings);
  if (plan.asked_tier != plan.tier)
    plan.findings.push_back({"isolation.raised", "the contract asks for " +
                                                     std::string(protocol::Word(plan.asked_tier)) +
                                                     ", and this runner runs nothing below " +
                                                     std::string(protocol::Word(plan.tier))});

  if (is_agent && !profile->program.empty()) {
    AgentTask task{.tier = facts.tier, .prompt = execution.prompt, .base_url = {}};
    for (const backends::Variable& var : job.env.vars) {
      if (!profile->base_url_var.empty() && var.name == profile->base_url_var)
        task.base_url = var.value;
    }
    if (!IsPlainUrl(task.base_url))
      return Mismatch("agent_base_url",
                      "the variable " + std::string(profile->base_url_var) +
                          " holds no address that can be given to agent " + kind,
                      "write it like https://models.example.com/v1");
    job.argv = AgentArgv(*profile, facts.agent, task);
    job.read_only_trees = facts.agent.read_only_trees;
    // An image has a /usr of its own.
    if (facts.tier == protocol::Tier::kContainer || facts.tier == protocol::Tier::kMicroVm)
      job.read_only_trees.insert(job.read_only_trees.end(), facts.agent.system_parts.begin(),
                                 facts.agent.system_parts.end());
    plan.agent_kind = kind;
    plan.agent_version = facts.agent.version.value_or("");
    for (std::string_view dir : profile->home_directories) job.home_directories.emplace_back(dir);
  } else if (plan.prepared.is_shell) {
    job.argv = {plan.prepared.shell, "-c", plan.prepared.script};
  } else {
    job.argv = {plan.prepared.cmd};
    job.argv.insert(job.argv.end(), plan.prepared.args.begin(), plan.prepared.args.end());
  }
  plan.argv_hash = protocol::HashValue(json::Value::Texts(job.argv));
  job.cwd = plan.prepared.cwd == "." ? "" : plan.prepared.cwd;

  auto network = PlanNetwork(contract, plan.prepared.env, facts.plane_addresses, config);
  if (auto* refused = std::get_if<RunFailure>(&network)) return *refused;
  plan.proxied = std::get<NetworkPlan>(network).proxied;
  plan.rules = std::move(std::get<NetworkPlan>(network).rules);
  if (plan.proxied) {
    job.network = backends::ProxiedNetwork{};
  } else {
    job.network = backends::NoNetwork{};
  }
  auto syscalls = PlanSyscalls(execution.syscalls, config);
  if (auto* refused = std::get_if<RunFailure>(&syscalls)) return *refused;
  job.syscalls = std::get<backends::Syscalls>(std::move(syscalls));
  plan.syscalls = job.syscalls;
  if (config.grants.advisory_network)
    job.require.advisory_network = backends::AdvisoryNetworkGrant{"grants.advisoryNetwork"};

  if (plan.prepared.timeout > config.limits.max_timeout)
    return Mismatch("timeout",
                    "the contract allows the job more time than this runner gives (" +
                        std::to_string(config.limits.max_timeout.count() / 1000) + " s)",
                    "lower timeoutMs or maxDurationMin");
  job.limits.wall_timeout = plan.prepared.timeout;
  job.limits.term_grace = config.cancel_grace;
  plan.timeout_is_budget =
      contract.budget.max_duration_min &&
      (!execution.timeout_ms ||
       *contract.budget.max_duration_min * 60'000 <= static_cast<double>(*execution.timeout_ms));
  plan.log_bytes = plan.prepared.log_max_bytes
                       ? static_cast<std::uint64_t>(*plan.prepared.log_max_bytes)
                       : config.limits.default_log_bytes;
  if (plan.log_bytes > config.limits.max_log_bytes)
    return Mismatch("log_limit",
                    "the contract asks for a longer log than this runner keeps (" +
                        std::to_string(config.limits.max_log_bytes) + " bytes)",
                    "lower log.maxBytes");
  // The backend passes everything on and the cut is made behind the redaction, where it cannot
  // split a secret.
  if (auto refused = PlanLimits(execution.limits, facts, config, plan)) return *refused;
  if (execution.timeout_ms || contract.budget.max_duration_min)
    job.limits.sources.wall = backends::LimitSource::kContract;
  job.stderr_to = plan.prepared.stderr_mode == protocol::StderrMode::kMerge
                      ? backends::StderrTo::kStdout
                      : backends::StderrTo::kOwnStream;

  if (facts.overlay) {
    job.workspace = *facts.overlay;
  } else {
    job.workspace = backends::PlainWorkspace{facts.workspace_dir};
  }
  job.session_dir = facts.session_dir;
  job.identity = facts.identity;
  job.image = execution.image.value_or("");
  job.terminal = execution.terminal;
  if (config.grants.session.exec || config.grants.session.copy || config.grants.session.checkpoint)
    job.entries = backends::EntryGrant{"grants.session"};
  job.home_files.push_back(
      {.path = ".gitconfig",
       .bytes =
           "[user]\n\tname = Writ Job\n\temail = job@writ.invalid\n[core]\n\tcheckStat = minimal\n",
       .mode = 0600});
  return plan;
}

json::Value SessionPlan::ToJson() const {
  json::Object out;
  Result<json::Value> job_json = json::Parse(backends::PlanJson(job));
  if (job_json) out.Set("job", std::move(*job_json));
  out.Set("tier", protocol::Word(tier));
  if (asked_tier != tier) out.Set("askedTier", protocol::Word(asked_tier));
  out.Set("executionHash", execution_hash);
  out.Set("argvHash", argv_hash);
  out.Set("disclosure", protocol::Word(disclosure));
  out.Set("secretInDiff", secret_in_diff == SecretInDiff::kRedact ? "redact" : "fail-run");
  out.Set("logBytes", log_bytes);
  json::Array secrets;
  for (const SecretTarget& target : secret_env)
    secrets.push_back(json::Object{{"secret", target.secret}, {"env", target.env}});
  out.Set("secretEnv", std::move(secrets));
  json::Object network{{"proxied", proxied}};
  if (proxied) {
    json::Array list;
    for (const egress::Rule& rule : rules.rules) {
      json::Object item{{"id", rule.id},
                        {"effect", rule.effect == egress::Rule::Effect::kAllow ? "allow" : "deny"},
                        {"host", rule.host.ToString()}};
      if (rule.port) item.Set("port", *rule.port);
      list.push_back(std::move(item));
    }
    network.Set("rules", std::move(list));
    json::Array granted;
    for (const egress::AddressGrant& grant : rules.address_grants)
      granted.push_back(grant.range.ToString());
    network.Set("addressGrants", std::move(granted));
    network.Set("unmatched", rules.unmatched == egress::Unmatched::kDeny ? "deny" : "allow-public");
  }
  out.Set("network", std::move(network));
  return out;
}

protocol::Digest SessionPlan::Hash() const {
  return protocol::HashValue(ToJson());
}

}  // namespace writ::runner
