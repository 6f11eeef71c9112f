// A host whose kernel lacks newer system calls: every tier holds as before, or refuses and says
// why, or says in its probe which aspect is weaker (L4). Run by without_syscalls, which says in
// WRIT_WITHOUT what it took away; otherwise there is nothing here to run.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "conformance/job_fixture.h"
#include "hostile/table.h"

namespace writ::test {
namespace {

std::vector<std::size_t> Tiers() {
  std::vector<std::size_t> tiers;
  if (std::getenv("WRIT_WITHOUT") == nullptr || !TheTable()) return tiers;
  for (std::size_t tier = 0; tier < TheTable()->tiers.size(); ++tier)
    if (!IsOfMachines(TheTable()->tiers[tier])) tiers.push_back(tier);  // the sandbox's are its own
  return tiers;
}

class WithoutSystemCalls : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    const Without* without = TheTable()->FindSet(std::getenv("WRIT_WITHOUT"));
    ASSERT_NE(without, nullptr);
    cell_ = without->cells[GetParam()];
    backend_ = MakeBackend(TheTable()->tiers[GetParam()]);
    job_.Use(*backend_);
  }
  backends::Plan PlanOf(const char* script) const {
    backends::Plan plan = job_.Shell(script);
    plan.network = backends::ProxiedNetwork{};
    return plan;
  }

  JobFixture job_;
  Without::Cell cell_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_P(WithoutSystemCalls, HoldsRefusesOrSaysWhatIsWeaker) {
  const backends::Capabilities& capabilities = backend_->Probe();
  Status checked = backend_->Check(PlanOf("true"));
  if (cell_.kind == Without::Kind::kRefuses) {  // capability_mismatch, with a reason
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported) << checked.error().ToString();
    const std::string why =
        capabilities.usable ? capabilities.network.reason : capabilities.unusable_reason;
    EXPECT_FALSE(why.empty());
    EXPECT_NE(checked.error().message.find(why), std::string::npos) << checked.error().ToString();
    EXPECT_FALSE(backend_->Prepare(PlanOf("true")));
    return;
  }
  ASSERT_TRUE(checked) << checked.error().ToString();
  JobRun run = job_.Run(*backend_, PlanOf("echo ran"));
  ASSERT_TRUE(run.started) << run.started.error().ToString();
  EXPECT_EQ(run.out, "ran\n") << run.outcome.reason << run.err;
  for (backends::Aspect aspect : {backends::Aspect::kFiles, backends::Aspect::kNetwork,
                                  backends::Aspect::kSyscalls, backends::Aspect::kProcesses}) {
    const backends::AspectCapability& have = capabilities.Of(aspect);
    const bool said = cell_.aspect == AspectName(aspect);
    EXPECT_EQ(have.enforcement == backends::Enforcement::kKernel, !said) << AspectName(aspect);
    if (!said) continue;
    EXPECT_FALSE(have.reason.empty());
    backends::Plan plan = PlanOf("true");
    if (aspect == backends::Aspect::kFiles) plan.require.files = backends::Enforcement::kKernel;
    Status demanded = backend_->Check(plan);
    ASSERT_FALSE(demanded);
    EXPECT_EQ(demanded.error().kind, ErrorKind::kUnsupported);
  }
}

// Where a tier refuses nothing is mounted in another way, a workspace of layers least of all.
TEST_P(WithoutSystemCalls, MountsNoLayersWhereItRefuses) {
  if (cell_.kind != Without::Kind::kRefuses) return;
  EXPECT_EQ(backend_->Probe().overlay_workspace, backends::OverlayWorkspace::kNone);
  for (const char* name : {"/lower", "/upper", "/work"})
    std::filesystem::create_directory(job_.base() + name);
  backends::Plan plan = PlanOf("echo changed > file");
  plan.workspace = backends::WorkspaceMount{job_.base() + "/lower", job_.base() + "/upper",
                                            job_.base() + "/work"};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().kind, ErrorKind::kUnsupported) << job.error().ToString();
  for (const char* name : {"/lower", "/upper", "/work"})
    EXPECT_TRUE(std::filesystem::is_empty(job_.base() + name)) << name;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WithoutSystemCalls);
INSTANTIATE_TEST_SUITE_P(Tiers, WithoutSystemCalls, testing::ValuesIn(Tiers()),
                         [](const auto& tested) { return TheTable()->tiers[tested.param]; });

}  // namespace
}  // namespace writ::test
