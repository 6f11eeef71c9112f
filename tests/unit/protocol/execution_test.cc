// Executions: strictness, time-outs, agent command lines, and a contract's checks before a run.
#include "support.h"

namespace writ::protocol {
namespace {

Result<Execution> Parse(std::string_view text) {
  return Execution::Parse(json::Parse(text).value());
}

TEST(Execution, RefusesWhatItDoesNotFullyUnderstand) {  // L3, L4
  EXPECT_TRUE(Parse(R"({"kind":"shell","script":"x"})"));
  for (const char* bad :
       {R"({"kind":"shell","script":"x","sudo":true})",
        R"({"kind":"shell","script":""})",
        R"({"kind":"shell","script":"x","shell":"zsh"})",
        R"({"kind":"shell","script":"x","cwd":"../up"})",
        R"({"kind":"shell","script":"x","timeoutMs":0})",
        R"({"kind":"shell","script":"x","timeoutMs":1.5})",
        R"({"kind":"argv","command":"x"})",
        R"({"kind":"argv","command":"x","args":["a\u0000b"]})",
        R"({"kind":"agent","agent":{"kind":"mock"}})",
        R"({"kind":"wasm"})",
        R"({"kind":"shell","script":"x","env":{"vars":{"A=B":"x"}}})",
        R"({"kind":"shell","script":"x","env":{"unknown":1}})",
        R"({"kind":"shell","script":"x","log":{"stdout":"drop"}})",
        R"({"kind":"shell","script":"x","limits":{"swap":1}})",
        R"({"kind":"shell","script":"x","image":""})",
        R"({"kind":"shell","script":"x","image":"../etc"})",
        R"({"kind":"shell","script":"x","image":"-v"})",
        R"({"kind":"shell","script":"x","syscalls":"all"})",
        R"({"kind":"shell","script":"x","syscalls":7})",
        R"({"kind":"shell","script":"x","limits":{"ioBytesPerSecond":1}})",
        R"({"kind":"shell","script":"x","limits":{"memoryBytes":0}})",
        R"({"kind":"shell","script":"x","limits":{"memoryBytes":"1G"}})",
        R"({"kind":"shell","script":"x","limits":{"cpuMillis":9}})",
        R"({"kind":"shell","script":"x","limits":{"diskBytes":1125899906842625}})",
        R"({"kind":"shell","script":"x","env":{"vars":{"A":1}}})",
        "[]"}) {
    EXPECT_FALSE(Parse(bad)) << bad;
  }
}

TEST(Execution, LimitsAreReadAndWrittenAsTheyStand) {
  auto read =
      Parse(R"({"kind":"shell","script":"x","limits":{"memoryBytes":4194304,"cpuMillis":10}})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->limits.memory_bytes, 4194304);
  EXPECT_EQ(read->limits.cpu_millis, 10);
  EXPECT_FALSE(read->limits.processes);
  read->raw = {};  // as if built here
  auto again = Execution::Parse(read->ToJson());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->limits.memory_bytes, 4194304);
  EXPECT_EQ(again->limits.cpu_millis, 10);
}

TEST(Execution, NamesTheProfileOfSystemCallsAndSaysWhichThereAre) {
  auto read = Parse(R"({"kind":"shell","script":"x","syscalls":"build"})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->syscalls, SyscallProfile::kBuild);
  read->raw = {};  // as if built here
  EXPECT_EQ(Execution::Parse(read->ToJson())->syscalls, SyscallProfile::kBuild);
  EXPECT_FALSE(Parse(R"({"kind":"shell","script":"x"})")->syscalls);
  auto unknown = Parse(R"({"kind":"shell","script":"x","syscalls":"strict"})");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().ToString().find("/syscalls: must be one of default, build, none"),
            std::string::npos)
      << unknown.error().ToString();
}

TEST(Execution, TheTimeoutIsTheSmallerOfBothLimits) {
  const auto timeout = [](std::string_view text, std::optional<double> minutes,
                          TimeoutRule rule = TimeoutRule::kSmallest) {
    return Prepare(Parse(text).value(), minutes, {.timeout_rule = rule})->timeout.count();
  };
  const char* with = R"({"kind":"shell","script":"x","timeoutMs":90000})";
  const char* without = R"({"kind":"shell","script":"x"})";
  EXPECT_EQ(timeout(with, 1.0), 60000);
  EXPECT_EQ(timeout(with, 2.0), 90000);
  EXPECT_EQ(timeout(with, std::nullopt), 90000);
  EXPECT_EQ(timeout(without, 2.5), 150000);
  EXPECT_EQ(timeout(without, std::nullopt), 600000);
  EXPECT_EQ(timeout(without, 0.0), 1) << "no time at all is not no limit";
  EXPECT_EQ(timeout(with, 1.0, TimeoutRule::kTimeoutFirst), 90000);
}

TEST(Execution, AgentsHaveTheirCommandLinesAndUnknownOnesNone) {
  const auto prepared = [](const std::string& kind) {
    Execution execution;
    execution.agent.kind = AgentKind::Parse(kind).value();
    execution.prompt = "P; rm -rf /";
    return Prepare(execution, std::nullopt);
  };
  EXPECT_EQ(prepared("claude-code")->args,
            (std::vector<std::string>{"-p", "P; rm -rf /", "--permission-mode", "acceptEdits"}));
  EXPECT_EQ(prepared("codex")->args,
            (std::vector<std::string>{"exec", "--skip-git-repo-check", "P; rm -rf /"}));
  EXPECT_EQ(prepared("pi")->args, (std::vector<std::string>{"--harness-only"}));
  EXPECT_TRUE(prepared("command")->is_shell);
  ASSERT_FALSE(prepared("cursor"));
  EXPECT_EQ(prepared("cursor").error().kind, ErrorKind::kUnsupported);
}

TEST(Execution, ReservedNamesCoverProxyCaLoaderAndPath) {
  for (const char* name :
       {"PATH", "http_proxy", "HTTPS_PROXY", "Https_Proxy", "no_proxy", "LD_PRELOAD", "LD_anything",
        "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "BASH_ENV", "WRIT_X"}) {
    EXPECT_TRUE(IsReservedEnvName(name)) << name;
  }
  for (const char* name : {"API_TOKEN", "A", "LDFLAGS", "MY_PATH"})
    EXPECT_FALSE(IsReservedEnvName(name)) << name;
}

TEST(Execution, BuiltOnesReadBackAsWhatTheyWere) {
  Execution execution;
  execution.kind = Execution::Kind::kArgv;
  execution.command = "make";
  execution.args = {"-j", ""};
  execution.env.vars["A"] = "1";
  execution.env.secrets.push_back(
      {EnvName::Parse("T").value(), SecretName::Parse("TOKEN").value()});
  execution.env.inherit.push_back(EnvName::Parse("TERM").value());
  execution.env.egress_proxy = false;
  execution.timeout_ms = 5;
  execution.log = ExecutionLog{StderrMode::kCapture, 100};
  const Result<Execution> back = Execution::Parse(execution.ToJson());
  ASSERT_TRUE(back) << back.error().ToString();
  EXPECT_EQ(back->args, execution.args);
  EXPECT_EQ(back->env.vars, execution.env.vars);
  EXPECT_EQ(back->env.secrets.at(0).secret.text(), "TOKEN");
  EXPECT_EQ(back->env.inherit.at(0).text(), "TERM");
  EXPECT_FALSE(back->env.egress_proxy);
  EXPECT_EQ(back->log->stderr_mode, StderrMode::kCapture);
}

TEST(Contract, IsCheckedBeforeAnythingElseHappens) {  // L1
  const test::MadeRun run = test::MakeRun({});
  const PublicKey plane = test::Key("plane").Public(), stranger = test::Key("stranger").Public();
  const ContractExpectations good{.plane_key = &plane,
                                  .pool = run.contract.pool,
                                  .run_id = run.contract.run_id,
                                  .now = run.contract.issued_at};
  EXPECT_TRUE(CheckForRun(run.contract, good));
  const auto code = [&](auto change) {
    ContractExpectations expected = good;
    change(expected);
    const Status status = CheckForRun(run.contract, expected);
    return status ? std::string("ok") : status.error().code;
  };
  EXPECT_EQ(code([&](auto& e) { e.plane_key = &stranger; }), "contract.issuer");
  EXPECT_EQ(code([&](auto& e) { e.plane_key = nullptr; }), "contract.no_key");
  EXPECT_EQ(code([&](auto& e) { e.now = run.contract.expires_at; }), "contract.expired");
  EXPECT_EQ(code([&](auto& e) { e.pool = PoolName::Parse("other").value(); }), "contract.pool");
  EXPECT_EQ(code([&](auto& e) { e.run_id = RunId::Parse("other").value(); }), "contract.run_id");
  json::Value forged = run.contract.raw;
  forged.object().Find("task")->object().Set("prompt", "something else");
  EXPECT_EQ(CheckForRun(Contract::Parse(forged).value(), good).error().code, "contract.signature");
}

TEST(Contract, UnknownOptionalMembersStayUnderTheHash) {
  const test::MadeRun run = test::MakeRun({});
  json::Value more = run.contract.raw;
  more.object().Set("futureMember", 1);
  const Result<Contract> parsed = Contract::Parse(more);
  ASSERT_TRUE(parsed);
  EXPECT_NE(parsed->Hash(), run.contract.Hash());
}

TEST(Contract, RefusesUnknownNetworkAndBudgetWords) {  // L4
  const test::MadeRun run = test::MakeRun({});
  for (const char* member : {"network", "budget"}) {
    json::Value more = run.contract.raw;
    more.object().Find(member)->object().Set("surprise", 1);
    EXPECT_FALSE(Contract::Parse(more)) << member;
  }
}

}  // namespace
}  // namespace writ::protocol
