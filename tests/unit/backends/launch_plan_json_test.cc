// Printed plans: the golden ones, and that no field of a launch plan is left out.
#include "writ/backends/job/launch_plan_json.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>

#include "process_tier.h"
#include "support/places.h"
#include "writ/backends/job/launch_facts.h"
#include "writ/backends/sandbox/sandbox_tier.h"

namespace writ::backends {
namespace {

using launch::LaunchPlan;
using launch::NamespacePlan;
using launch::ViewStep;

ViewStep Step(ViewStep::Kind kind, const std::string& target, const std::string& source = {}) {
  ViewStep step;
  step.kind = kind;
  step.target = target;
  step.source = source;
  return step;
}

// A root runner on a v2 host, whatever this one is.
HostFeatures GoldenHost() {
  HostFeatures host;
  host.root = true;
  host.landlock_abi = 6;
  host.user_notification = true;
  host.keyrings = true;
  host.filter = {{0x06, 0, 0, 0x7fff0000}};
  host.default_list = {{0x06, 0, 0, 0x00050026}};
  host.build_list = host.default_list;
  host.cgroups.kill_base = host.cgroups.pids_base = host.cgroups.memory_base =
      host.cgroups.cpu_base = host.cgroups.io_base = "/sys/fs/cgroup/writ.service";
  host.cgroups.pids_is_v2 = host.cgroups.memory_is_v2 = host.cgroups.cpu_is_v2 =
      host.cgroups.io_is_v2 = true;
  host.cgroups.disks = {"254:0"};
  host.namespaces.usable = host.namespaces.overlay = host.namespaces.time = true;
  host.surroundings_view = {
      Step(ViewStep::Kind::kProc, "proc"), Step(ViewStep::Kind::kMask, "proc/kcore"),
      Step(ViewStep::Kind::kSeal, "proc/sys"), Step(ViewStep::Kind::kDevpts, "dev/pts")};
  host.system_view = {Step(ViewStep::Kind::kBind, "usr", "/usr"),
                      Step(ViewStep::Kind::kSymlink, "bin", "usr/bin")};
  host.system_view.insert(host.system_view.end(), host.surroundings_view.begin(),
                          host.surroundings_view.end());
  return host;
}

Plan GoldenPlan(Tier tier) {
  Plan plan;
  plan.tier = tier;
  plan.run_id = "run_1";
  plan.argv = {"sh", "-c", "make test"};
  if (tier == Tier::kProcess)
    plan.workspace = PlainWorkspace{"/var/lib/writ/work/sessions/run_1/tree"};
  else
    plan.workspace = WorkspaceMount{"/var/lib/writ/work/checkouts/c/tree",
                                    "/var/lib/writ/work/sessions/run_1/tree",
                                    "/var/lib/writ/work/sessions/run_1/work"};
  plan.session_dir = "/var/lib/writ/work/sessions/run_1/job";
  plan.read_only_trees = {"/opt/agent"};
  plan.identity = {.uid = 200000, .gid = 200000};
  plan.limits.memory_bytes = 1ull << 30;
  plan.limits.cpu_millis = 1500;
  plan.limits.io_bytes_per_second = 50u << 20;
  plan.network = ProxiedNetwork{};
  plan.env.secrets.push_back({"TOKEN", Secret("never-printed")});
  return plan;
}

void ExpectGolden(const LaunchedTier& tier, const std::string& name) {
  const HostFeatures host = GoldenHost();
  const Plan plan = GoldenPlan(tier.GetTier());
  const CgroupPlan groups = PlanGroups(plan, tier, host);
  const LaunchFacts facts = MakeFacts(plan, tier, host, groups, PlanProxy(plan, tier), {});
  const std::string made = json::WritePretty(json::Object{
                               {"cgroups", CgroupPlanJson(groups)},
                               {"launch", LaunchPlanJson(tier.PlanLaunch(plan, host, facts))}}) +
                           "\n";
  EXPECT_EQ(made.find("never-printed"), std::string::npos);  // L8
  const std::string path = test::SourceDir() + "/tests/golden/launch/" + name;
  if (std::getenv("WRIT_ACCEPT") != nullptr) std::ofstream(path) << made;
  std::ifstream in(path);
  EXPECT_EQ(made, std::string(std::istreambuf_iterator<char>(in), {})) << path;
}

// WRIT_ACCEPT=1 writes the golden files anew.
TEST(LaunchPlanJson, OfAProcessIsTheGoldenOne) {
  ExpectGolden(ProcessTier({}), "process.json");
}
TEST(LaunchPlanJson, OfASandboxIsTheGoldenOne) {
  ExpectGolden(SandboxTier({}), "sandbox.json");
}

LaunchPlan WithNamespaces() {
  LaunchPlan plan;
  plan.namespaces = NamespacePlan{};
  return plan;
}

TEST(LaunchPlanJson, LeavesNoFieldOut) {
  const std::function<void(LaunchPlan&)> changes[] = {
      [](LaunchPlan& p) { p.born_in_cgroup = "/x"; },
      [](LaunchPlan& p) { p.cgroup_dirs = {"/x"}; },
      [](LaunchPlan& p) { p.freezer = "/x"; },
      [](LaunchPlan& p) {
        p.limits = {{RLIMIT_CORE, 1}};
      },
      [](LaunchPlan& p) { p.identity = launch::IdentityStep::kDrop; },
      [](LaunchPlan& p) { p.uid = 7; },
      [](LaunchPlan& p) { p.gid = 7; },
      [](LaunchPlan& p) { p.keyring = launch::SessionKeyring::kNew; },
      [](LaunchPlan& p) { p.namespaces.reset(); },
      [](LaunchPlan& p) { p.namespaces->inside_uid = 7; },
      [](LaunchPlan& p) { p.namespaces->inside_gid = 7; },
      [](LaunchPlan& p) { p.namespaces->host_name = "x"; },
      [](LaunchPlan& p) { p.namespaces->uptime = launch::Uptime::kFromZero; },
      [](LaunchPlan& p) { p.namespaces->view = {Step(ViewStep::Kind::kProc, "proc")}; },
      [](LaunchPlan& p) { p.namespaces->counted = {"/x"}; },
      [](LaunchPlan& p) { p.namespaces->runtime = {"/x"}; },
      [](LaunchPlan& p) {
        p.namespaces->runtime = {"/x"};
        p.namespaces->container_kernel = launch::ContainerKernel::kOwn;
      },
      [](LaunchPlan& p) { p.cwd = "/x"; },
      [](LaunchPlan& p) { p.landlock.abi = 3; },
      [](LaunchPlan& p) {
        p.landlock.paths = {{"/x", PathAccess::kRead, IfMissing::kFail}};
      },
      [](LaunchPlan& p) { p.landlock.tcp = TcpRules::kNone; },
      [](LaunchPlan& p) { p.landlock.connect_port = 7; },
      [](LaunchPlan& p) {
        p.allow_list = {{0x06, 0, 0, 1}};
      },
      [](LaunchPlan& p) {
        p.filter = {{0x06, 0, 0, 1}};
      },
      [](LaunchPlan& p) { p.supervise_connect = true; },
      [](LaunchPlan& p) {
        p.proxy = launch::ProxyTarget{0x0100007f, 7};
      },
      [](LaunchPlan& p) { p.argv = {"x"}; },
      [](LaunchPlan& p) { p.terminal = TerminalSize{}; },
      [](LaunchPlan& p) { p.entries = launch::Entries::kAccepted; },
      [](LaunchPlan& p) { p.wall_timeout_ms = 7; },
      [](LaunchPlan& p) { p.term_grace_ms = 7; },
  };
  const std::string plain = json::Write(LaunchPlanJson(WithNamespaces()));
  int number = 0;
  for (const auto& change : changes) {
    LaunchPlan plan = WithNamespaces();
    change(plan);
    EXPECT_NE(json::Write(LaunchPlanJson(plan)), plain) << "change " << number;
    // What the launcher is told and what is printed are of the same fields.
    EXPECT_NE(launch::EncodeLaunchPlan(plan), launch::EncodeLaunchPlan(WithNamespaces()))
        << "change " << number;
    ++number;
  }
}

TEST(LaunchPlanJson, TellsOfEachViewStepAllThatItDoes) {
  ViewStep full = Step(ViewStep::Kind::kBind, "t", "/s");
  full.mode = 01777;
  full.bytes = 4096;
  full.inodes = 16;
  full.upper = "/u";
  full.work = "/w";
  full.access = launch::BindAccess::kDevice;
  full.if_missing = IfMissing::kSkip;
  full.lower_owner = launch::LowerOwner::kRoot;
  std::string printed;
  for (int kind = 0; kind <= static_cast<int>(ViewStep::Kind::kSeal); ++kind) {
    LaunchPlan plan = WithNamespaces();
    full.kind = static_cast<ViewStep::Kind>(kind);
    plan.namespaces->view = {full};
    printed += json::Write(*LaunchPlanJson(plan).Find("namespaces")->Find("view")) + "\n";
  }
  EXPECT_EQ(printed,
            R"([{"step":"directory","target":"/t","mode":"1777"}]
[{"step":"symlink","target":"/t","to":"/s"}]
[{"step":"file","target":"/t","mode":"1777","bytes":2,"sha256":"8e295f312d7e62d4db0ad6d62af018762334aad2c67fe3479a0b57115ac6c292"}]
[{"step":"bind","target":"/t","from":"/s","access":"device","ifMissing":"skip"}]
[{"step":"tmpfs","target":"/t","mode":"1777","bytes":4096,"inodes":16}]
[{"step":"proc","target":"/t"}]
[{"step":"devpts","target":"/t"}]
[{"step":"overlay","target":"/t","lower":"/s","upper":"/u","work":"/w","lowerOwner":"root, idmapped"}]
[{"step":"mask","target":"/t"}]
[{"step":"seal","target":"/t"}]
)");
}

}  // namespace
}  // namespace writ::backends
