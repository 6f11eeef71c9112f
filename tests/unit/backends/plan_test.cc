#include <gtest/gtest.h>

#include "writ/backends/plan.h"

namespace writ::backends {
namespace {

Plan GoodPlan() {
  Plan plan;
  plan.run_id = "run_1";
  plan.argv = {"claude", "-p", "fix \"it\""};
  plan.workspace = PlainWorkspace{"/var/lib/writ/runs/run_1/tree"};
  plan.session_dir = "/var/lib/writ/runs/run_1/session";
  plan.identity.uid = 61000;
  plan.identity.gid = 61000;
  plan.env.vars = {{"LANG", "C"}};
  plan.env.secrets.push_back({"TOKEN", Secret("never-printed")});
  plan.home_files = {{".config/x", "placeholder", 0600}};
  return plan;
}

void ExpectCode(const Plan& plan, const std::string& code) {
  Status status = ValidatePlan(plan);
  ASSERT_FALSE(status) << "expected " << code;
  EXPECT_EQ(status.error().code, code);
  EXPECT_EQ(status.error().kind, ErrorKind::kInvalid);
}

TEST(Plan, AcceptsAnOrdinaryOne) {
  EXPECT_TRUE(ValidatePlan(GoodPlan()));
}

TEST(Plan, PrintsCanonicalJsonWithoutSecretValues) {  // L8
  EXPECT_EQ(
      PlanJson(GoodPlan()),
      R"({"argv":["claude","-p","fix \"it\""],"cwd":"","env":{"secretNames":["TOKEN"],"vars":{"LANG":"C"}},)"
      R"("home":{"directories":[],"files":[{"bytes":11,"mode":384,"path":".config/x"}]},)"
      R"("identity":{"gid":61000,"uid":61000,"userName":"job"},)"
      R"("limits":{"addressSpaceBytes":0,"coreBytes":0,"cpuMillis":0,"cpuMs":0,"diskBytes":0,"diskFiles":0,"endJobOverOutputBytes":0,"fileBytes":0,"ioBytesPerSecond":0,)"
      R"("memoryBytes":0,"openFiles":4096,"outputHeadBytes":8388608,"outputTailBytes":2097152,)"
      R"("processes":1024,"sources":{"openFiles":"operator","processes":"operator","wall":"operator"},"termGraceMs":5000,"wallTimeoutMs":600000},"network":{"mode":"none"},)"
      R"("readOnlyTrees":[],"require":{"files":"none","network":"kernel","processes":"none",)"
      R"("resources":"none","syscalls":"none"},"runId":"run_1",)"
      R"("sessionDir":"/var/lib/writ/runs/run_1/session","stderr":"capture","stdin":"null","syscalls":{"profile":"default"},)"
      R"("terminal":"none","tier":"process","workspace":{"dir":"/var/lib/writ/runs/run_1/tree"}})");
}

TEST(Plan, PrintsWhoGrantedALooserNetwork) {
  Plan plan = GoodPlan();
  plan.require.advisory_network = AdvisoryNetworkGrant{"rule 7"};
  EXPECT_NE(PlanJson(plan).find(R"("advisoryNetworkGrantedBy":"rule 7")"), std::string::npos);
  plan.network = HostNetworkGrant{"rule 8"};
  EXPECT_NE(PlanJson(plan).find(R"({"grantedBy":"rule 8","mode":"host"})"), std::string::npos);
}

TEST(Plan, PrintsTheSyscallProfileAndWhoGrantedTheLoosest) {
  Plan plan = GoodPlan();
  plan.syscalls = BuildSyscalls{};
  EXPECT_NE(PlanJson(plan).find(R"("syscalls":{"profile":"build"})"), std::string::npos);
  plan.syscalls = AllSyscallsGrant{"rule 9"};
  EXPECT_NE(PlanJson(plan).find(R"("syscalls":{"grantedBy":"rule 9","profile":"none"})"),
            std::string::npos);
}

TEST(Plan, RefusesRoot) {
  Plan plan = GoodPlan();
  plan.identity.uid = 0;
  ExpectCode(plan, "plan.root_identity");
  plan = GoodPlan();
  plan.identity.gid = 0;
  ExpectCode(plan, "plan.root_identity");
}

TEST(Plan, RefusesIdsAndArgumentsThatAreNotPlain) {  // L3
  for (std::string id : {"", "a b", "../x", "a/b", "a\n"}) {
    Plan plan = GoodPlan();
    plan.run_id = id;
    ExpectCode(plan, "plan.bad_run_id");
  }
  Plan plan = GoodPlan();
  plan.argv = {};
  ExpectCode(plan, "plan.empty_argv");
  plan = GoodPlan();
  plan.argv[1] = std::string("a\0b", 3);
  ExpectCode(plan, "plan.nul_in_argument");
  plan = GoodPlan();
  plan.env.vars = {{"A=B", "x"}};
  ExpectCode(plan, "plan.bad_variable_name");
}

TEST(Plan, RefusesPathsThatLeaveTheirPlace) {  // L13
  Plan plan = GoodPlan();
  plan.cwd = "../other";
  ExpectCode(plan, "plan.cwd_outside_workspace");
  plan = GoodPlan();
  plan.home_files = {{"../x", "", 0600}};
  ExpectCode(plan, "plan.home_path");
  plan = GoodPlan();
  plan.session_dir = "relative";
  ExpectCode(plan, "plan.path_not_absolute");
  plan = GoodPlan();
  plan.read_only_trees = {"/"};
  ExpectCode(plan, "plan.read_only_root");
  plan = GoodPlan();
  plan.read_only_trees = {"/opt/../root"};
  ExpectCode(plan, "plan.path_not_absolute");
}

TEST(Tier, HasWordsThatReadBack) {
  for (Tier tier : {Tier::kProcess, Tier::kSandbox, Tier::kContainer, Tier::kMicrovm})
    EXPECT_EQ(ParseTier(TierName(tier)), tier);
  EXPECT_FALSE(ParseTier("hermetic"));
  EXPECT_FALSE(ParseTier("Process"));
}

}  // namespace
}  // namespace writ::backends
