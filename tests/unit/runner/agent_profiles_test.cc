// What the real agents were seen to need (docs/agents.md).
#include <gtest/gtest.h>

#include <algorithm>

#include "writ/runner/plan.h"
#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {

class AgentProfiles : public ::testing::Test {
 protected:
  AgentProfiles() {
    contract_.run_id = protocol::RunId::Parse("run_1").value();
    contract_.requested_by = {protocol::ActorKind::kHuman, "a"};
    contract_.prompt = "resume";
    contract_.pool = protocol::PoolName::Parse("default").value();
    contract_.workspace.base_ref = protocol::CommitId::Parse(std::string(40, 'a')).value();
    can_.usable = true;
    facts_.capabilities = &can_;
    facts_.agent.command = {"/opt/agent"};
    facts_.identity = {.uid = 1000, .gid = 1000};
    facts_.session_dir = "/s";
    facts_.workspace_dir = "/w";
  }
  std::variant<SessionPlan, RunFailure> Plan(const std::string& kind) {
    contract_.agent.kind = protocol::AgentKind::Parse(kind).value();
    return PlanSession(contract_, facts_, config_);
  }
  SessionPlan Planned(const std::string& kind) {
    auto plan = Plan(kind);
    if (auto* refused = std::get_if<RunFailure>(&plan)) {
      ADD_FAILURE() << refused->code << ": " << refused->message;
      return {};
    }
    return std::move(std::get<SessionPlan>(plan));
  }
  void Release(const std::string& secret) {
    contract_.secrets.push_back({protocol::SecretName::Parse(secret).value(), "pool:default"});
  }
  static std::string Var(const SessionPlan& plan, const std::string& name) {
    for (const backends::Variable& v : plan.job.env.vars)
      if (v.name == name) return v.value;
    return "(unset)";
  }
  static std::string SecretFor(const SessionPlan& plan, const std::string& env) {
    for (const SecretTarget& target : plan.secret_env)
      if (target.env == env) return target.secret;
    return "(none)";
  }
  static bool Has(const SessionPlan& plan, const std::string& argument) {
    return std::count(plan.job.argv.begin(), plan.job.argv.end(), argument) == 1;
  }
  protocol::Contract contract_;
  backends::Capabilities can_;
  PlanFacts facts_;
  RunnerConfig config_;
};

// L2. "resume" is a subcommand of codex exec, "--version" an option of both.
TEST_F(AgentProfiles, APromptIsAnOperandAndNeverAnOptionOrASubcommand) {
  for (const char* prompt : {"resume", "--version", "-"}) {
    contract_.prompt = prompt;
    for (const char* kind : {"claude-code", "codex"}) {
      const std::vector<std::string> argv = Planned(kind).job.argv;
      ASSERT_GE(argv.size(), 2u);
      EXPECT_EQ(argv.back(), prompt) << kind;
      EXPECT_EQ(argv[argv.size() - 2], "--") << kind;
    }
  }
}

// An image has a /usr of its own: what the host has there is mounted into it, the program alone or
// npm's folder.
TEST_F(AgentProfiles, WhatAnAgentNeedsOfTheSystemGoesIntoAContainerToo) {
  RunnerConfig config;
  config.agent_paths["codex"] = "/bin/sh";
  const InstalledAgent agent = LocateFor(config, *FindProfile("codex"));
  ASSERT_TRUE(agent.lack.empty()) << agent.lack;
  EXPECT_TRUE(agent.read_only_trees.empty());
  ASSERT_EQ(agent.system_parts.size(), 1u);
  EXPECT_EQ(agent.system_parts[0], agent.command.back());
  facts_.agent.system_parts = {"/usr/bin/node", "/usr/lib/node_modules"};
  EXPECT_TRUE(Planned("codex").job.read_only_trees == facts_.agent.read_only_trees);
  facts_.tier = protocol::Tier::kContainer;
  const auto trees = Planned("codex").job.read_only_trees;
  for (const std::string& part : facts_.agent.system_parts)
    EXPECT_NE(std::find(trees.begin(), trees.end(), part), trees.end()) << part;
}

// L45. Codex has no variables for this: what it is not told in its argv, it does.
TEST_F(AgentProfiles, NoAgentUpdatesItselfOrReportsHome) {
  SessionPlan codex = Planned("codex");
  for (const char* setting :
       {"check_for_update_on_startup=false", "analytics.enabled=false", "features.plugins=false",
        "features.api_key_model_discovery=false", "features.unbounded_connection_retries=false"})
    EXPECT_TRUE(Has(codex, setting)) << setting;
  SessionPlan claude = Planned("claude-code");
  for (const char* name :
       {"DISABLE_AUTOUPDATER", "DISABLE_UPDATES", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"})
    EXPECT_EQ(Var(claude, name), "1") << name;
}

TEST_F(AgentProfiles, APlaceholderStandsForAMissingKeyAndNeverBesideAnotherOne) {
  EXPECT_EQ(Var(Planned("claude-code"), "ANTHROPIC_API_KEY"), kPlaceholderKey);
  EXPECT_EQ(Var(Planned("codex"), "CODEX_API_KEY"), kPlaceholderKey);
  // Claude Code would take the key and leave the token.
  Release("CLAUDE_CODE_OAUTH_TOKEN");
  EXPECT_EQ(Var(Planned("claude-code"), "ANTHROPIC_API_KEY"), "(unset)");
}

TEST_F(AgentProfiles, AnOpenAiKeyReachesTheVariableThatCodexReads) {
  Release("OPENAI_API_KEY");
  SessionPlan plan = Planned("codex");
  EXPECT_EQ(SecretFor(plan, "CODEX_API_KEY"), "OPENAI_API_KEY");
  EXPECT_EQ(SecretFor(plan, "OPENAI_API_KEY"), "OPENAI_API_KEY");
  EXPECT_EQ(Var(plan, "CODEX_API_KEY"), "(unset)");
  Release("CODEX_API_KEY");
  EXPECT_EQ(SecretFor(Planned("codex"), "CODEX_API_KEY"), "CODEX_API_KEY");
}

TEST_F(AgentProfiles, TheOperatorsModelApiReachesEachAgentInItsOwnWay) {
  config_.agent_vars = {{"claude-code", {{"ANTHROPIC_BASE_URL", "http://m.example.com"}}},
                        {"codex", {{"OPENAI_BASE_URL", "http://m.example.com/v1"}}}};
  SessionPlan claude = Planned("claude-code");
  EXPECT_EQ(Var(claude, "ANTHROPIC_BASE_URL"), "http://m.example.com");
  EXPECT_EQ(Var(claude, "OPENAI_BASE_URL"), "(unset)");
  SessionPlan codex = Planned("codex");
  EXPECT_TRUE(Has(codex, "model_providers.writ.base_url=\"http://m.example.com/v1\""));
  EXPECT_TRUE(Has(codex, "model_provider=\"writ\""));
  config_.agent_vars.clear();
  EXPECT_FALSE(Has(Planned("codex"), "model_provider=\"writ\""));
}

TEST_F(AgentProfiles, AnAddressThatCouldBeMoreThanAnAddressIsRefused) {
  for (const char* url : {"http://m.example.com/\"\nx=1", "http://m.example.com/ x", "a\\b"}) {
    config_.agent_vars = {{"codex", {{"OPENAI_BASE_URL", url}}}};
    auto plan = Plan("codex");
    ASSERT_TRUE(std::holds_alternative<RunFailure>(plan)) << url;
    EXPECT_EQ(std::get<RunFailure>(plan).code, "plan.agent_base_url");
  }
}

TEST_F(AgentProfiles, AnOperatorsHostMayNameItsPort) {
  contract_.network.allow_hosts = {protocol::AllowedHost::Parse("m.example.com").value()};
  config_.allow_hosts = std::vector<std::string>{"m.example.com:8443"};
  SessionPlan plan = Planned("codex");
  ASSERT_EQ(plan.rules.rules.size(), 1u);
  EXPECT_EQ(plan.rules.rules[0].port, 8443);
  config_.allow_hosts = std::vector<std::string>{"m.example.com"};
  EXPECT_EQ(Planned("codex").rules.rules[0].port, std::nullopt);
  for (const char* bad : {"m.example.com:", "m.example.com:0", "m.example.com:65536",
                          "m.example.com:80x", "m.example.com:+80"}) {
    config_.allow_hosts = std::vector<std::string>{bad};
    EXPECT_TRUE(std::holds_alternative<RunFailure>(Plan("codex"))) << bad;
  }
}

}  // namespace
}  // namespace writ::runner
