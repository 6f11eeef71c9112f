// What a reload takes over and what it leaves.
#include "engine/reload.h"

#include <gtest/gtest.h>

#include "writ/protocol/json.h"

namespace writ::runner {
namespace {

// Every member has a value that is not its default, so that one which is forgotten is seen.
RunnerConfig Full() {
  RunnerConfig c;
  c.state_dir = "/state";
  c.work_dir = "/work";
  c.private_dirs = {"/operator"};
  c.plane.url = "https://plane.example.com";
  c.plane_key_pem = "key";
  c.pool = "p";
  c.slots = 2;
  c.uid_range = UidRange{200'000, 8};
  c.egress_proxy = "/proxy";
  c.launcher = "/launcher";
  c.mock_agent = "/mock";
  c.only_run = "run_1";
  c.sandbox_image = "image";
  c.container = {.image = "image", .runtime = "crun"};
  c.microvm = {.vmm = "qemu", .program = "/usr/bin/qemu-system-x86_64"};
  c.allow_hosts = {"example.com"};
  c.hooks[HookKind::kBeforeRun] = {.path = "/hook"};
  c.metrics_listen = "127.0.0.1:1";
  return c;
}

// L38: the runner's own folders stay out of the view of the jobs that come after a SIGHUP.
TEST(MergeReload, KeepsWhatIsInNoFile) {
  RunnerConfig next = Full();
  next.private_dirs.clear();  // as a file that was read again has them
  next.only_run.clear();
  next.limits.processes = 7;
  auto merged = MergeReload(Full(), next);
  ASSERT_TRUE(merged) << merged.error().ToString();
  EXPECT_EQ(merged->applied, std::vector<std::string>{"limits"});
  EXPECT_TRUE(merged->kept.empty());
  EXPECT_EQ(merged->config.limits.processes, 7u);
  EXPECT_EQ(merged->config.private_dirs, std::vector<std::string>{"/operator"});
  EXPECT_EQ(merged->config.only_run, "run_1");
}

// A member more does not compile here; then it is in the file, or KeepsWhatIsInNoFile looks at it.
TEST(MergeReload, KnowsOfEachMemberWhetherItIsInTheFile) {
  const RunnerConfig full = Full();
  const auto& [state_dir, work_dir, private_dirs, plane, plane_key_pem, pool, slots, capacity,
               uid_range, egress_proxy, launcher, mock_agent, only_run, default_isolation,
               minimum_isolation, isolation_words, sandbox_image, container, microvm, env_allow,
               search_path, agent_paths, agent_vars, host_overrides, address_grants, allow_hosts,
               limits, syscalls, grants, poll_interval, long_poll, call_timeout, transfer_timeout,
               heartbeat, cancel_grace, plane_lost, hooks, artifacts, checkouts, metrics_listen] =
      full;
  constexpr std::size_t kMembers = 40;
  constexpr std::size_t kInNoFile = 2;   // private_dirs, only_run
  constexpr std::size_t kInAnother = 1;  // plane_key_pem, in plane
  const json::Value file = json::Parse(RunnerConfigJson(full)).value();
  std::size_t in_file = 0;
  for ([[maybe_unused]] const json::Member& member : file.object()) ++in_file;
  EXPECT_EQ(in_file, kMembers - kInNoFile - kInAnother);
  EXPECT_EQ(&private_dirs, &full.private_dirs);
  EXPECT_EQ(&only_run, &full.only_run);
}

TEST(MergeReload, TakesWhatWasErasedBackToItsDefault) {
  RunnerConfig next = Full();
  next.allow_hosts.reset();
  next.hooks.clear();
  next.pool = "other";
  auto merged = MergeReload(Full(), next);
  ASSERT_TRUE(merged);
  EXPECT_FALSE(merged->config.allow_hosts);
  EXPECT_TRUE(merged->config.hooks.empty());
  EXPECT_EQ(merged->config.pool, "p");
  EXPECT_EQ(merged->kept, std::vector<std::string>{"pool"});
}

}  // namespace
}  // namespace writ::runner
