#include "writ/backends/job/launch_planning.h"
#include "writ/backends/job/limit_holders.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "process_tier.h"
#include "writ/backends/job/base_environment.h"

namespace writ::backends {
namespace {

Plan APlan() {
  Plan plan;
  plan.run_id = "r";
  plan.argv = {"true"};
  plan.workspace = PlainWorkspace{"/w"};
  plan.session_dir = "/s";
  plan.identity.uid = ::geteuid() == 0 ? 61000 : ::geteuid();
  plan.identity.gid = ::geteuid() == 0 ? 61000 : ::getegid();
  return plan;
}

HostFeatures GoodHost() {
  HostFeatures features;
  features.root = ::geteuid() == 0;
  features.landlock_abi = 7;
  features.user_notification = true;
  features.filter = {{0x06, 0, 0, 0x7fff0000}};
  features.cgroups.pids_base = features.cgroups.memory_base = "/cg";
  return features;
}

ProcessTier ATier() {
  return ProcessTier({});
}
launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& host,
                              const LaunchFacts& facts) {
  return ATier().PlanLaunch(plan, host, facts);
}
Capabilities Describe(const HostFeatures& host) {
  return ATier().Describe(host);
}
Status CheckPlan(const Plan& plan, const HostFeatures& host) {
  WRIT_TRY(CheckCommon(plan, Describe(host), host,
                       HoldLimits(plan.limits, host, JobSurroundings::kTheHosts)));
  return ATier().CheckPlan(plan, host);
}

std::uint64_t LimitOf(const launch::LaunchPlan& plan, int resource) {
  for (const auto& limit : plan.limits) {
    if (limit.resource == resource) return limit.value;
  }
  return ~0ull;
}

TEST(LaunchPlanning, GivesTheSupervisedJobNoPortOfItsOwn) {
  LaunchFacts facts;
  facts.proxy = launch::ProxyTarget{0x0100007f, 4000};
  HostFeatures host = GoodHost();
  EXPECT_FALSE(PlanLaunch(APlan(), host, facts).landlock.connect_port);
  host.user_notification = false;
  EXPECT_EQ(PlanLaunch(APlan(), host, facts).landlock.connect_port, 4000);
}

TEST(LaunchPlanning, OpensOnlyTheJobsOwnTreesForWriting) {
  LaunchFacts facts;
  facts.workspace = "/w";
  facts.home = "/s/home";
  facts.tmp = "/s/tmp";
  Plan plan = APlan();
  plan.read_only_trees = {"/opt/agent"};
  std::vector<std::string> writable;
  for (const LandlockPath& path : PlanLaunch(plan, GoodHost(), facts).landlock.paths) {
    if (path.access == PathAccess::kReadWrite) writable.push_back(path.path);
    EXPECT_NE(path.path, "/");
  }
  EXPECT_EQ(writable, (std::vector<std::string>{"/w", "/s/home", "/s/tmp"}));
}

TEST(LaunchPlanning, LimitsDataPerProcessOnlyWhereNoCgroupHoldsTheWhole) {
  Plan plan = APlan();
  plan.limits.memory_bytes = 1 << 20;
  LaunchFacts facts;
  EXPECT_EQ(LimitOf(PlanLaunch(plan, GoodHost(), facts), RLIMIT_DATA), 1u << 20);
  facts.memory_in_cgroup = true;
  EXPECT_EQ(LimitOf(PlanLaunch(plan, GoodHost(), facts), RLIMIT_DATA), ~0ull);
  EXPECT_EQ(LimitOf(PlanLaunch(plan, GoodHost(), facts), RLIMIT_CORE), 1u);  // not even to a pipe
}

TEST(LaunchPlanning, RefusesWhatTheHostCannotEnforce) {  // L4
  HostFeatures host = GoodHost();
  Plan plan = APlan();
  ASSERT_TRUE(CheckPlan(plan, host));
  host.user_notification = false;
  Status weak = CheckPlan(plan, host);
  ASSERT_FALSE(weak);
  EXPECT_EQ(weak.error().code, "process.enforcement_too_weak");
  plan.require.advisory_network = AdvisoryNetworkGrant{"rule"};
  EXPECT_TRUE(CheckPlan(plan, host));
  plan.require.resources = Enforcement::kKernel;
  EXPECT_TRUE(CheckPlan(plan, host));
  host.cgroups = {};
  EXPECT_FALSE(CheckPlan(plan, host));
  Plan open = APlan();
  open.network = HostNetworkGrant{"rule"};
  EXPECT_EQ(CheckPlan(open, GoodHost()).error().kind, ErrorKind::kUnsupported);
  Plan overlay = APlan();
  overlay.workspace = WorkspaceMount{"/l", "/u", "/w"};
  EXPECT_EQ(CheckPlan(overlay, GoodHost()).error().kind, ErrorKind::kUnsupported);
}

TEST(HostFeatures, GiveAReasonAndAMendForEveryNo) {  // L47
  HostFeatures bare;
  bare.launcher_problem = "it is not there";
  bare.no_filter_reason = "no seccomp";
  Capabilities c = Describe(bare);
  EXPECT_FALSE(c.usable);
  EXPECT_FALSE(c.unusable_mend.empty());
  for (Aspect aspect : kAllAspects) {
    if (c.Of(aspect).enforcement == Enforcement::kKernel) continue;
    EXPECT_FALSE(c.Of(aspect).reason.empty()) << AspectName(aspect);
  }
}

TEST(BaseEnvironment, LaterLayersReplaceEarlierOnes) {  // L20
  Environment plan;
  plan.vars = {{"TERM", "xterm"}, {"A", "1"}};
  plan.secrets.push_back({"A", Secret("2")});
  Environment late;
  late.vars = {{"A", "3"}, {"WRIT_JOB_MARK", "run_of_somebody_else"}};
  auto env = BuildEnvironment({"/h", "/t", "job", "run_1"}, plan, late);
  EXPECT_EQ(env, (std::vector<std::string>{"A=3", "HOME=/h", "LANG=C.UTF-8", "LOGNAME=job",
                                           "PATH=/usr/local/bin:/usr/bin:/bin", "SHELL=/bin/sh",
                                           "TERM=xterm", "TMPDIR=/t", "USER=job",
                                           "WRIT_JOB_MARK=run_1"}));  // but for the mark (L38)
}

TEST(LaunchPlanning, GivesEachSyscallProfileItsOwnFilters) {
  HostFeatures host = GoodHost();
  host.default_list = {{0x06, 0, 0, 1}};
  host.build_list = {{0x06, 0, 0, 2}};
  host.recording_filter = {{0x06, 0, 0, 3}};
  Plan plan = APlan();
  launch::LaunchPlan launch = PlanCommon(plan, host, {});
  EXPECT_EQ(launch.allow_list.at(0).k, 1u);
  EXPECT_EQ(launch.filter.at(0).k, host.filter.at(0).k);
  plan.syscalls = BuildSyscalls{};
  launch = PlanCommon(plan, host, {});
  EXPECT_EQ(launch.allow_list.at(0).k, 2u);
  EXPECT_EQ(launch.filter.at(0).k, host.filter.at(0).k);
  plan.syscalls = AllSyscallsGrant{"test"};
  launch = PlanCommon(plan, host, {});
  EXPECT_TRUE(launch.allow_list.empty());
  EXPECT_EQ(launch.filter.at(0).k, 3u);  // attempts to connect are still recorded
  EXPECT_TRUE(launch.supervise_connect);
  host.recording_filter.clear();
  EXPECT_FALSE(PlanCommon(plan, host, {}).supervise_connect);
}

TEST(LaunchPlanning, RefusesEverySystemCallWhereTheyHoldTheNetworkOrMustBeHeld) {  // L4
  Plan plan = APlan();
  plan.syscalls = AllSyscallsGrant{"test"};
  Status checked = CheckPlan(plan, GoodHost());
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "process.syscalls_hold_the_network");
  EXPECT_FALSE(checked.error().hint.empty());
  Capabilities sandbox = Describe(GoodHost());
  sandbox.tier = plan.tier = Tier::kSandbox;
  EXPECT_TRUE(CheckCommon(plan, sandbox, GoodHost(), {}));
  plan.require.syscalls = Enforcement::kKernel;
  checked = CheckCommon(plan, sandbox, GoodHost(), {});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "sandbox.enforcement_too_weak");
}

TEST(LaunchPlanning, LeavesTheSessionKeyringWhereThereAreKeyrings) {
  HostFeatures host = GoodHost();
  EXPECT_EQ(PlanCommon(APlan(), host, {}).keyring, launch::SessionKeyring::kAsItIs);
  host.keyrings = true;
  EXPECT_EQ(PlanCommon(APlan(), host, {}).keyring, launch::SessionKeyring::kNew);
}

TEST(LaunchPlanning, RefusesMemoryThatNothingCouldStartIn) {
  Plan plan = APlan();
  EXPECT_TRUE(CheckLeastMemory(plan, 8u << 20));  // not limited
  plan.limits.memory_bytes = 8u << 20;
  EXPECT_TRUE(CheckLeastMemory(plan, 8u << 20));
  plan.limits.memory_bytes -= 1;
  Status checked = CheckLeastMemory(plan, 8u << 20);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "process.memory_too_small");
  EXPECT_EQ(checked.error().hint, "give it at least 8 MiB");
}

TEST(LaunchPlanning, RefusesAContractsDiskRateThatNothingHolds) {  // L4
  Plan plan = APlan();
  plan.limits.io_bytes_per_second = 1u << 20;
  EXPECT_TRUE(CheckPlan(plan, GoodHost()));  // the operator's: held as well as it can be
  plan.limits.sources.io = LimitSource::kContract;
  Status checked = CheckPlan(plan, GoodHost());
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "process.limit_not_held");
  HostFeatures host = GoodHost();
  host.cgroups.io_base = "/cg";
  EXPECT_TRUE(CheckPlan(plan, host));
}

}  // namespace
}  // namespace writ::backends
