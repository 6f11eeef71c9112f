#include "writ/runner/config.h"

#include <gtest/gtest.h>

#include "writ/protocol/keys.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {
namespace {

RunnerConfig Good() {
  RunnerConfig config;
  config.state_dir = "/var/lib/writ";
  config.work_dir = "/var/lib/writ/work";
  config.plane.url = "https://plane.example.com";
  config.plane_key_pem = protocol::PrivateKey::Generate().Public().ToPem();
  config.egress_proxy = "/usr/libexec/writ/writ-egress-proxy";
  config.uid_range = UidRange{200000, 64};
  return config;
}

TEST(RunnerConfigFile, IsReadBackAsItWasWritten) {
  RunnerConfig config = Good();
  config.slots = 4;
  config.allow_hosts = std::vector<std::string>{"api.example.com"};
  config.isolation_words = {{"hermetic", "sandbox"}};
  config.host_overrides = {{"model.example.com", {"127.0.0.1"}}};
  config.address_grants = {"127.0.0.0/8"};
  config.sandbox_image = "base";
  config.syscalls = {protocol::SyscallProfile::kBuild, {protocol::SyscallProfile::kBuild}};
  config.limits.io_bytes_per_second = 5u << 20;
  config.container = {.image = "debian", .runtime = "/usr/bin/crun"};
  config.microvm = {.vmm = "firecracker", .program = "/opt/firecracker"};
  config.grants.redact_diffs = true;
  config.checkouts = {.max_bytes = 1 << 30, .max_entries = 3};
  std::string text = RunnerConfigJson(config);
  Result<RunnerConfig> read = ParseRunnerConfig(text);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(RunnerConfigJson(*read), text);
  EXPECT_TRUE(read->grants.redact_diffs);
  EXPECT_EQ(read->sandbox_image, "base");
  EXPECT_EQ(read->syscalls.profile, protocol::SyscallProfile::kBuild);
  EXPECT_FALSE(read->syscalls.Allows(protocol::SyscallProfile::kDefault));
  EXPECT_EQ(read->limits.io_bytes_per_second, 5u << 20);
  EXPECT_EQ(read->container.image, "debian");
  EXPECT_EQ(read->container.runtime, "/usr/bin/crun");
  EXPECT_EQ(read->microvm.vmm, "firecracker");
  EXPECT_EQ(read->microvm.program, "/opt/firecracker");
  EXPECT_EQ(read->checkouts.max_bytes, 1u << 30);
  EXPECT_EQ(read->checkouts.max_entries, 3u);
}

// L42: as many as this machine and the uids have.
TEST(MachinePoolConfig, IsReadBackAndRefusedWhereItIsLargerThanTheMachine) {
  auto read = ParseRunnerConfig(
      R"({"microvm":{"pool":{"clones":2,"memoryBytes":1048576,"maxAgeSeconds":60}}})");
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->microvm.pool.clones, 2u);
  EXPECT_EQ(read->microvm.pool.memory_bytes, 1048576u);
  EXPECT_EQ(read->microvm.pool.max_age, std::chrono::seconds(60));
  auto again = ParseRunnerConfig(RunnerConfigJson(*read));
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(RunnerConfigJson(*again), RunnerConfigJson(*read));
  for (const char* wrong : {R"({"clones":65})", R"({"clones":-1})", R"({"memoryBytes":5})",
                            R"({"clones":1,"memoryBytes":0})", R"({"clones":1,"maxAgeSeconds":0})",
                            R"({"clones":1,"size":5})"})
    EXPECT_FALSE(ParseRunnerConfig(std::string(R"({"microvm":{"pool":)") + wrong + "}}")) << wrong;

  RunnerConfig config = Good();
  config.slots = 2;
  config.microvm.pool.clones = 2;
  EXPECT_EQ(UidsNeeded(config), 2u + 1 + 2 + 8);
  EXPECT_TRUE(CheckRunnerConfig(config)) << CheckRunnerConfig(config).error().ToString();
  config.uid_range->count = UidsNeeded(config) - 1;
  EXPECT_EQ(CheckRunnerConfig(config).error().code, "runner.config.uid_range");
  config.uid_range->count = UidsNeeded(config);
  config.microvm.pool.memory_bytes = 1ull << 60;
  const Status larger = CheckRunnerConfig(config);
  ASSERT_FALSE(larger);
  EXPECT_EQ(larger.error().code, "runner.config.pool_memory");
  EXPECT_FALSE(larger.error().hint.empty());
  config.microvm.pool.clones = 0;  // who keeps none asks for nothing
  EXPECT_TRUE(CheckRunnerConfig(config));
}

TEST(RunnerConfigFile, RefusesAnUnknownSyscallProfileAndOneWithoutItsGrant) {
  auto unknown = ParseRunnerConfig(R"({"syscalls":{"profile":"strict"}})");
  ASSERT_FALSE(unknown);
  EXPECT_NE(
      unknown.error().ToString().find("/syscalls/profile: must be one of default, build, none"),
      std::string::npos)
      << unknown.error().ToString();
  EXPECT_FALSE(ParseRunnerConfig(R"({"syscalls":{"allow":["default","all"]}})"));
  RunnerConfig config = Good();
  EXPECT_TRUE(CheckRunnerConfig(config));
  config.syscalls.allow.push_back(protocol::SyscallProfile::kNone);
  Status checked = CheckRunnerConfig(config);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("grants.allSyscalls"), std::string::npos);
  config.grants.all_syscalls = true;
  EXPECT_TRUE(CheckRunnerConfig(config));
  config.syscalls = {protocol::SyscallProfile::kBuild, {protocol::SyscallProfile::kDefault}};
  EXPECT_FALSE(CheckRunnerConfig(config));
}

TEST(RunnerConfigFile, TakesTheLimitsOfARunAndRefusesAnotherWordForTheOutput) {
  auto read = ParseRunnerConfig(
      R"({"limits":{"output":{"bytes":4096,"onExceed":"truncate"},"cpuMs":1500,"diskBytes":7,"diskFiles":8,"minFreeMemoryBytes":9}})");
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->limits.output.bytes, 4096u);
  EXPECT_EQ(read->limits.output.on_exceed, OnExceed::kTruncate);
  EXPECT_EQ(read->limits.cpu_time, std::chrono::milliseconds(1500));
  EXPECT_EQ(read->limits.disk_bytes, 7u);
  EXPECT_EQ(read->limits.disk_files, 8u);
  EXPECT_EQ(read->limits.min_free_memory_bytes, 9u);
  auto wrong = ParseRunnerConfig(R"({"limits":{"output":{"onExceed":"ignore"}}})");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().ToString().find("/limits/output/onExceed"), std::string::npos);
}

TEST(RunnerConfigFile, LetsNobodyIntoSessionsUnlessItSaysSo) {
  auto none = ParseRunnerConfig(R"({"grants":{"session":{}}})");
  ASSERT_TRUE(none) << none.error().ToString();
  EXPECT_FALSE(none->grants.session.any());
  auto some = ParseRunnerConfig(
      R"({"grants":{"session":{"attach":true,"copy":true}},"limits":{"copyBytes":4096,"copyFiles":2}})");
  ASSERT_TRUE(some) << some.error().ToString();
  EXPECT_TRUE(some->grants.session.attach);
  EXPECT_TRUE(some->grants.session.copy);
  EXPECT_FALSE(some->grants.session.exec);
  EXPECT_FALSE(some->grants.session.input);
  EXPECT_EQ(some->limits.copy_bytes, 4096u);
  EXPECT_EQ(some->limits.copy_files, 2u);
  EXPECT_FALSE(ParseRunnerConfig(R"({"grants":{"session":{"all":true}}})"));
  EXPECT_FALSE(ParseRunnerConfig(R"({"grants":{"session":{"exec":"yes"}}})"));
}

// L3
TEST(RunnerConfigFile, RefusesUnknownMembersAndWrongTypesWithThePlace) {
  std::string text = RunnerConfigJson(Good());
  std::string unknown = text;
  unknown.replace(unknown.find("\"slots\""), 7, "\"slotz\"");
  Result<RunnerConfig> read = ParseRunnerConfig(unknown);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("/slotz"), std::string::npos) << read.error().message;
}

// L42
TEST(RunnerConfigFile, RefusesUidRangesThatAreTooSmallOrNotOurs) {
  const UidRange bad[] = {{200000, 1}, {65530, 16}, {4294967290, 16}, {0, 16}};
  for (const UidRange& range : bad) {
    RunnerConfig config = Good();
    config.uid_range = range;
    EXPECT_EQ(CheckRunnerConfig(config).error().code, "runner.config.uid_range") << range.first;
  }
  RunnerConfig edge = Good();
  edge.slots = 3;
  edge.uid_range = UidRange{1, 4};
  EXPECT_TRUE(CheckRunnerConfig(edge));
  edge.uid_range = UidRange{4294967290, 4};
  EXPECT_TRUE(CheckRunnerConfig(edge));
}

TEST(RunnerConfigFile, RefusesWhatWouldWeakenAWord) {
  RunnerConfig config = Good();
  config.isolation_words = {{"sandbox", "process"}};
  EXPECT_EQ(CheckRunnerConfig(config).error().code, "runner.config.isolation");
  config = Good();
  config.plane.url = "http://plane.example.com";
  EXPECT_EQ(CheckRunnerConfig(config).error().code, "plane.url_plain_http");
}

TEST(HttpDate, IsReadInItsOneForm) {
  EXPECT_EQ(ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT")->unix_ms, 784111777000);
  for (const char* bad : {"", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 31 Feb 1994 08:49:37 GMT",
                          "Sun, 06 Nov 1994 28:49:37 GMT", "1994-11-06T08:49:37Z"})
    EXPECT_FALSE(ParseHttpDate(bad)) << bad;
}

}  // namespace
}  // namespace writ::runner
