#include "writ/runner/plan.h"

#include <gtest/gtest.h>

#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

using protocol::Contract;

Contract Draft() {
  Contract c;
  c.run_id = protocol::RunId::Parse("run_1").value();
  c.requested_by = {protocol::ActorKind::kHuman, "a"};
  c.agent.kind = protocol::AgentKind::Parse("command").value();
  c.prompt = "true";
  c.pool = protocol::PoolName::Parse("default").value();
  c.workspace.base_ref = protocol::CommitId::Parse(std::string(40, 'a')).value();
  return c;
}

class PlanTest : public ::testing::Test {
 protected:
  PlanTest() {
    can_.usable = true;
    facts_.capabilities = &can_;
    facts_.identity = {.uid = 1000, .gid = 1000};
    facts_.session_dir = "/s";
    facts_.workspace_dir = "/w";
  }
  SessionPlan Plan(const Contract& contract) {
    auto plan = PlanSession(contract, facts_, config_);
    if (auto* refused = std::get_if<RunFailure>(&plan))
      ADD_FAILURE() << refused->code << ": " << refused->message;
    return std::holds_alternative<SessionPlan>(plan) ? std::move(std::get<SessionPlan>(plan))
                                                     : SessionPlan();
  }
  std::string Var(const SessionPlan& plan, const std::string& name) {
    for (const backends::Variable& v : plan.job.env.vars)
      if (v.name == name) return v.value;
    return "(unset)";
  }
  backends::Capabilities can_;
  PlanFacts facts_;
  RunnerConfig config_;
};

TEST_F(PlanTest, RunsACommandsPromptAsAScriptWithoutAnyShellOfOurs) {
  Contract c = Draft();
  c.prompt = "echo \"$(id)\"; true";
  SessionPlan plan = Plan(c);
  EXPECT_EQ(plan.job.argv, (std::vector<std::string>{"sh", "-c", "echo \"$(id)\"; true"}));
  EXPECT_TRUE(plan.proxied);
  EXPECT_EQ(plan.job.limits.wall_timeout, std::chrono::minutes(10));
}

TEST_F(PlanTest, RaisesATierToTheOperatorsMinimumAndNeverLowersOne) {  // L4
  for (const auto& minimum : protocol::kTierTable) {
    config_.minimum_isolation = std::string(minimum.name);
    for (const auto& asked : protocol::kTierTable) {
      Contract c = Draft();
      c.isolation = std::string(asked.name);
      auto tier = ResolveTier(c, config_);
      ASSERT_TRUE(std::holds_alternative<protocol::Tier>(tier));
      EXPECT_EQ(std::get<protocol::Tier>(tier), std::max(minimum.value, asked.value))
          << asked.name << " where the minimum is " << minimum.name;
    }
    Contract c = Draft();
    c.isolation = "invented";
    EXPECT_TRUE(std::holds_alternative<RunFailure>(ResolveTier(c, config_)));
    c.isolation = std::nullopt;
    config_.default_isolation = "process";
    EXPECT_EQ(std::get<protocol::Tier>(ResolveTier(c, config_)), minimum.value);
    config_.isolation_words = {{"hermetic", "process"}};
    c.isolation = "hermetic";
    EXPECT_EQ(std::get<protocol::Tier>(ResolveTier(c, config_)), minimum.value);
  }
}

TEST_F(PlanTest, SaysThatATierWasRaised) {  // L47
  config_.minimum_isolation = "sandbox";
  Contract c = Draft();
  c.isolation = "process";
  facts_.tier = std::get<protocol::Tier>(ResolveTier(c, config_));
  SessionPlan plan = Plan(c);
  EXPECT_EQ(plan.tier, protocol::Tier::kSandbox);
  EXPECT_EQ(plan.asked_tier, protocol::Tier::kProcess);
  ASSERT_EQ(plan.findings.size(), 1u);
  EXPECT_EQ(plan.findings[0].code, "isolation.raised");
  c.isolation = "sandbox";
  EXPECT_TRUE(Plan(c).findings.empty());
}

TEST_F(PlanTest, HoldsAJobToWhatItsContractAsksFor) {
  using backends::LimitSource;
  Contract c = Draft();
  c.execution = protocol::Execution();
  c.execution->kind = protocol::Execution::Kind::kShell;
  c.execution->script = "true";
  c.execution->limits = {.memory_bytes = 8 << 20,
                         .cpu_millis = 500,
                         .cpu_ms = 1000,
                         .processes = 7,
                         .open_files = 64,
                         .disk_bytes = 1 << 20,
                         .io_bytes_per_second = 1 << 22};
  facts_.machine = {.memory_bytes = 1u << 30, .most_memory_bytes = 2u << 30};
  c.execution->image = "debian";
  EXPECT_EQ(Plan(c).job.image, "debian");
  const backends::Limits limits = Plan(c).job.limits;
  EXPECT_EQ(limits.memory_bytes, 8u << 20);
  EXPECT_EQ(limits.cpu_millis, 500u);
  EXPECT_EQ(limits.cpu_time, std::chrono::seconds(1));
  EXPECT_EQ(limits.processes, 7u);
  EXPECT_EQ(limits.open_files, 64u);
  EXPECT_EQ(limits.disk_bytes, 1u << 20);
  EXPECT_EQ(limits.io_bytes_per_second, 1u << 22);
  for (LimitSource source : {limits.sources.memory, limits.sources.cpu_share, limits.sources.cpu,
                             limits.sources.processes, limits.sources.open_files,
                             limits.sources.disk, limits.sources.io})
    EXPECT_EQ(LimitSourceName(source), "contract");
  const RunNeeds needs = NeedsOf(c);
  EXPECT_EQ(needs.memory_bytes, 8u << 20);
  EXPECT_EQ(needs.cpu_millis, 500u);
  EXPECT_EQ(needs.disk_bytes, 1u << 20);
}

TEST_F(PlanTest, AContractChoosesAmongTheSyscallProfilesThatItsOperatorAllows) {  // L6
  using protocol::SyscallProfile;
  auto profile = [&](std::optional<SyscallProfile> asked) {
    Contract c = Draft();
    c.execution = protocol::Execution();
    c.execution->kind = protocol::Execution::Kind::kShell;
    c.execution->script = "true";
    c.execution->syscalls = asked;
    auto plan = PlanSession(c, facts_, config_);
    if (auto* refused = std::get_if<RunFailure>(&plan))
      return std::string(protocol::Word(refused->failure)) + " " + refused->code;
    return std::string(SyscallProfileName(std::get<SessionPlan>(plan).job.syscalls));
  };
  const std::string kRefused = "capability_mismatch plan.syscalls_not_granted";
  EXPECT_EQ(profile(std::nullopt), "default");
  EXPECT_EQ(profile(SyscallProfile::kBuild), "build");
  EXPECT_EQ(profile(SyscallProfile::kNone), kRefused);
  config_.syscalls.allow = {SyscallProfile::kDefault};
  EXPECT_EQ(profile(SyscallProfile::kBuild), kRefused);
  config_.syscalls = {SyscallProfile::kBuild, {SyscallProfile::kBuild, SyscallProfile::kNone}};
  EXPECT_EQ(profile(std::nullopt), "build");
  EXPECT_EQ(profile(SyscallProfile::kDefault), kRefused);
  EXPECT_EQ(profile(SyscallProfile::kNone), "none");
}

TEST_F(PlanTest, RefusesAContractThatAsksForMoreThanThereIsAndNeverGivesItLess) {  // L4
  using Limits = protocol::ExecutionLimits;
  auto refusal = [&](std::optional<std::int64_t> Limits::*member, std::int64_t value) {
    Contract c = Draft();
    c.execution = protocol::Execution();
    c.execution->kind = protocol::Execution::Kind::kShell;
    c.execution->script = "true";
    c.execution->limits.*member = value;
    auto plan = PlanSession(c, facts_, config_);
    auto* refused = std::get_if<RunFailure>(&plan);
    return refused == nullptr ? std::string("(planned)")
                              : std::string(protocol::Word(refused->failure)) + " " + refused->code;
  };
  const std::string kRefused = "capability_mismatch plan.limits";
  config_.limits.memory_bytes = 1u << 30;
  config_.limits.cpu_time = std::chrono::seconds(10);
  facts_.machine = {.most_memory_bytes = 512u << 20, .most_cpu_millis = 2000};
  EXPECT_EQ(refusal(&Limits::memory_bytes, 512 << 20), "(planned)");
  EXPECT_EQ(refusal(&Limits::memory_bytes, (512 << 20) + 1), kRefused);
  EXPECT_EQ(refusal(&Limits::cpu_millis, 2000), "(planned)");
  EXPECT_EQ(refusal(&Limits::cpu_millis, 2001), kRefused);
  EXPECT_EQ(refusal(&Limits::cpu_ms, 10'001), kRefused);
  EXPECT_EQ(refusal(&Limits::processes, 1025), kRefused);
  EXPECT_EQ(refusal(&Limits::open_files, 4097), kRefused);
  EXPECT_EQ(refusal(&Limits::disk_bytes, (std::int64_t{64} << 30) + 1), kRefused);
}

TEST_F(PlanTest, BeginsFromACheckpointOfFilesInAMachineAlone) {  // L4
  Contract c = Draft();
  auto code = [&](protocol::Tier tier) -> std::string {
    facts_.tier = tier;
    auto plan = PlanSession(c, facts_, config_);
    const auto* refused = std::get_if<RunFailure>(&plan);
    return refused != nullptr ? refused->code : "";
  };
  c.continuation =
      protocol::Continuation{protocol::Sha256("a run"), protocol::Sha256("a stream").ToHex(),
                             std::string(protocol::kCheckpointTier)};
  EXPECT_EQ(code(protocol::Tier::kMicroVm), "");
  EXPECT_EQ(code(protocol::Tier::kSandbox), "plan.continuation");
  c.continuation->checkpoint_id = "no hash";
  EXPECT_EQ(code(protocol::Tier::kMicroVm), "plan.continuation");
  c.continuation->checkpoint_id = protocol::Sha256("a stream").ToHex();
  c.continuation->tier = "microvm-memory";
  EXPECT_EQ(code(protocol::Tier::kMicroVm), "plan.continuation");
}

TEST_F(PlanTest, NamesWhoSetEachLimit) {
  using backends::LimitSource;
  Contract c = Draft();
  SessionPlan plan = Plan(c);
  EXPECT_EQ(plan.job.limits.sources.wall, LimitSource::kOperator);
  EXPECT_EQ(plan.job.limits.memory_bytes, 0u);
  EXPECT_EQ(plan.job.limits.disk_bytes, config_.limits.disk_bytes);
  c.budget.max_duration_min = 5;
  facts_.machine.memory_bytes = 1u << 30;
  plan = Plan(c);
  EXPECT_EQ(plan.job.limits.sources.wall, LimitSource::kContract);
  EXPECT_EQ(plan.job.limits.sources.memory, LimitSource::kPool);
  EXPECT_EQ(plan.job.limits.memory_bytes, 1u << 30);
  config_.limits.memory_bytes = 2u << 20;  // the operator's word goes before the share
  plan = Plan(c);
  EXPECT_EQ(plan.job.limits.sources.memory, LimitSource::kOperator);
  EXPECT_EQ(plan.job.limits.memory_bytes, 2u << 20);
}

TEST_F(PlanTest, EndsAFloodOrCutsItAsTheOperatorChooses) {  // L18
  config_.limits.output.bytes = 5000;
  EXPECT_EQ(Plan(Draft()).job.limits.output.end_job_over_bytes, 5000u);
  config_.limits.output.on_exceed = OnExceed::kTruncate;
  SessionPlan plan = Plan(Draft());
  EXPECT_EQ(plan.job.limits.output.end_job_over_bytes, 0u);
  EXPECT_EQ(plan.log_bytes, 5000u);
}

TEST_F(PlanTest, IsTheSameForTheSameInputAndAnotherForAnother) {
  Contract c = Draft();
  EXPECT_EQ(Plan(c).Hash(), Plan(c).Hash());
  protocol::Digest before = Plan(c).Hash();
  c.network.allow_hosts.push_back(protocol::AllowedHost::Parse("api.example.com").value());
  EXPECT_NE(Plan(c).Hash(), before);
}

// The layers of protocol.md, lowest first: profile, released secrets, inherit, vars, mapped
// secrets.
TEST_F(PlanTest, LayersTheEnvironmentInTheProtocolsOrder) {
  Contract c = Draft();
  c.secrets.push_back({protocol::SecretName::Parse("A").value(), "pool:default"});
  c.secrets.push_back({protocol::SecretName::Parse("B").value(), "pool:default"});
  protocol::Execution e;
  e.kind = protocol::Execution::Kind::kArgv;
  e.command = "/bin/true";
  e.env.inherit = {protocol::EnvName::Parse("C").value(), protocol::EnvName::Parse("D").value()};
  e.env.vars = {{"B", "plain"}, {"D", "from-vars"}};
  e.env.secrets = {
      {protocol::EnvName::Parse("E").value(), protocol::SecretName::Parse("A").value()},
      {protocol::EnvName::Parse("F").value(), protocol::SecretName::Parse("NOT_GRANTED").value()}};
  c.execution = e;
  facts_.host_env = {{"C", "from-host"}, {"D", "from-host"}};
  SessionPlan plan = Plan(c);
  EXPECT_EQ(Var(plan, "B"), "plain");  // vars stand above a secret's own name
  EXPECT_EQ(Var(plan, "C"), "from-host");
  EXPECT_EQ(Var(plan, "D"), "from-vars");
  std::string secrets;
  for (const SecretTarget& t : plan.secret_env) secrets += t.env + "=" + t.secret + " ";
  EXPECT_EQ(secrets, "A=A E=A ");
}

// L20
TEST_F(PlanTest, InheritsOnlyWhatTheOperatorAllowed) {
  Contract c = Draft();
  protocol::Execution e;
  e.kind = protocol::Execution::Kind::kShell;
  e.script = "true";
  e.env.inherit = {protocol::EnvName::Parse("SECRET_OF_THE_HOST").value(),
                   protocol::EnvName::Parse("PATH").value()};
  c.execution = e;
  facts_.host_env = {{"PATH", "/evil"}};
  SessionPlan plan = Plan(c);
  EXPECT_EQ(Var(plan, "PATH"), "(unset)");
  EXPECT_EQ(plan.findings.size(), 2u);
}

// L5
TEST_F(PlanTest, AnEmptyAllowListAllowsNothing) {
  SessionPlan plan = Plan(Draft());
  EXPECT_TRUE(plan.rules.rules.empty());
  EXPECT_EQ(plan.rules.unmatched, egress::Unmatched::kDeny);
}

// L6
TEST_F(PlanTest, TheOperatorsHostsNarrowTheContractsAndNeverWidenThem) {
  Contract c = Draft();
  c.network.allow_hosts = {protocol::AllowedHost::Parse("a.example.com").value(),
                           protocol::AllowedHost::Parse("b.example.com").value()};
  config_.allow_hosts = std::vector<std::string>{"b.example.com", "c.example.com"};
  SessionPlan plan = Plan(c);
  std::string hosts;
  for (const egress::Rule& rule : plan.rules.rules)
    if (rule.effect == egress::Rule::Effect::kAllow) hosts += rule.host.ToString() + " ";
  EXPECT_EQ(hosts, "b.example.com ");
}

TEST_F(PlanTest, EgressProxyFalseIsNoNetworkAtAll) {
  Contract c = Draft();
  protocol::Execution e;
  e.kind = protocol::Execution::Kind::kShell;
  e.script = "true";
  e.env.egress_proxy = false;
  c.execution = e;
  SessionPlan plan = Plan(c);
  EXPECT_FALSE(plan.proxied);
  EXPECT_TRUE(std::holds_alternative<backends::NoNetwork>(plan.job.network));
}

TEST_F(PlanTest, StartsAgentsAsTheirProfilesSayAndHashesThemAsTheProtocolSays) {
  facts_.agent.command = {"/opt/node", "/opt/codex.js"};
  Contract c = Draft();
  c.agent.kind = protocol::AgentKind::Parse("codex").value();
  c.prompt = "fix it";
  SessionPlan plan = Plan(c);
  ASSERT_GE(plan.job.argv.size(), 8u);
  EXPECT_EQ(std::vector<std::string>(plan.job.argv.begin(), plan.job.argv.begin() + 6),
            (std::vector<std::string>{"/opt/node", "/opt/codex.js", "exec", "--skip-git-repo-check",
                                      "--sandbox", "danger-full-access"}));
  // L2: the prompt is one operand, whatever it begins with.
  EXPECT_EQ(std::vector<std::string>(plan.job.argv.end() - 2, plan.job.argv.end()),
            (std::vector<std::string>{"--", "fix it"}));
  EXPECT_EQ(plan.prepared.cmd, "codex");
  EXPECT_NE(plan.execution_hash, plan.argv_hash);
  EXPECT_EQ(Var(plan, "CODEX_API_KEY"), kPlaceholderKey);
}

TEST_F(PlanTest, AReleasedKeyTakesThePlaceholdersPlace) {
  facts_.agent.command = {"/opt/claude"};
  Contract c = Draft();
  c.agent.kind = protocol::AgentKind::Parse("claude-code").value();
  c.secrets.push_back({protocol::SecretName::Parse("ANTHROPIC_API_KEY").value(), "pool:default"});
  SessionPlan plan = Plan(c);
  EXPECT_EQ(Var(plan, "ANTHROPIC_API_KEY"), "(unset)");
  ASSERT_EQ(plan.secret_env.size(), 1u);
  EXPECT_EQ(Var(plan, "DISABLE_AUTOUPDATER"), "1");  // L45
}

TEST_F(PlanTest, AnAgentThatIsNotThereOrTooOldIsRefused) {
  Contract c = Draft();
  c.agent.kind = protocol::AgentKind::Parse("claude-code").value();
  c.agent.version = ">=2.1";
  auto refusal = [&](const InstalledAgent& agent) {
    facts_.agent = agent;
    auto plan = PlanSession(c, facts_, config_);
    auto* refused = std::get_if<RunFailure>(&plan);
    return refused == nullptr ? "accepted" : refused->code;
  };
  InstalledAgent agent;
  agent.command = {"/opt/claude"};
  agent.version = "2.1.0";
  EXPECT_EQ(refusal(agent), "accepted");
  agent.version = "2.0.9";
  EXPECT_EQ(refusal(agent), "plan.agent_version");
  agent.lack = "claude-code is not installed";
  EXPECT_EQ(refusal(agent), "plan.agent_missing");
}

TEST(Profiles, ClaudeLosesItsPromptsOnlyInSandboxAndAbove) {
  const AgentProfile& claude = *FindProfile("claude-code");
  InstalledAgent agent;
  agent.command = {"claude"};
  EXPECT_EQ(
      AgentArgv(claude, agent, {protocol::Tier::kProcess, "p", ""}),
      (std::vector<std::string>{"claude", "-p", "--permission-mode", "acceptEdits", "--", "p"}));
  EXPECT_EQ(
      AgentArgv(claude, agent, {protocol::Tier::kSandbox, "p", ""}),
      (std::vector<std::string>{"claude", "-p", "--dangerously-skip-permissions", "--", "p"}));
}

TEST(Profiles, AnAgentThatIsNotThereIsSaidWithAHint) {
  InstalledAgent agent =
      Locate(*FindProfile("claude-code"),
             {.configured_path = {}, .search_path = {"/nonexistent"}, .job_uid = 0});
  EXPECT_NE(agent.lack.find("not installed"), std::string::npos);
  EXPECT_NE(agent.hint.find("npm install -g @anthropic-ai/claude-code"), std::string::npos);
}

TEST(Profiles, VersionRangesMeanWhatTheySay) {
  const std::tuple<const char*, const char*, bool> cases[] = {{">=2.1", "2.1.0", true},
                                                              {">=2.1", "2.0.9", false},
                                                              {"2", "2.9.1", true},
                                                              {"2", "3.0.0", false},
                                                              {"2.1", "2.1.7", true},
                                                              {"2.1", "2.2.0", false},
                                                              {"^2.0.3", "2.9.0", true},
                                                              {"^2.0.3", "3.0.0", false},
                                                              {"^0.3.1", "0.4.0", false},
                                                              {"~2.1.3", "2.1.9", true},
                                                              {"~2.1.3", "2.2.0", false},
                                                              {">=2 <3", "2.5.0", true},
                                                              {">=2, <3", "3.0.0", false},
                                                              {"=2.1.3", "2.1.3", true},
                                                              {">2.1", "2.1.5", false},
                                                              {">2.1", "2.2.0", true},
                                                              {"<=2.1", "2.1.9", true},
                                                              {"<2.1", "2.1.0", false},
                                                              {">=2.1.0", "2.1.0-beta.1", false}};
  for (const auto& [range, version, want] : cases) {
    Result<bool> meets = VersionMeets(range, version);
    ASSERT_TRUE(meets) << range;
    EXPECT_EQ(*meets, want) << range << " / " << version;
  }
  for (const char* bad : {"", "latest", ">=", "2.x", "1.2.3.4", "99999999999999999999999"})
    EXPECT_FALSE(VersionMeets(bad, "1.0.0")) << bad;
}

}  // namespace
}  // namespace writ::runner
