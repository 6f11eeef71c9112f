// What a runner says of itself to its plane, and when it looks at its host again.
#include "engine/capability_report.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <list>

namespace writ::runner {
namespace {

using backends::Capabilities;
using backends::Enforcement;
using protocol::Tier;

Capabilities Usable(backends::Tier tier) {
  Capabilities can;
  can.tier = tier;
  can.backend = std::string(backends::TierName(tier));
  can.version = "test";
  can.usable = true;
  for (auto* aspect : {&can.files, &can.network, &can.syscalls, &can.resources, &can.processes})
    aspect->enforcement = Enforcement::kKernel;
  can.limits = {{backends::LimitKind::kMemory, backends::LimitHolder::kCgroupV2, true, ""},
                {backends::LimitKind::kCpuShare, backends::LimitHolder::kNone, false, "no cpu"}};
  return can;
}

TEST(Report, SaysWhatEachTierIsHereAndWhyNot) {
  RunnerConfig config;
  config.default_isolation = "sandbox";
  config.minimum_isolation = "sandbox";
  config.isolation_words = {{"hermetic", "container"}};
  config.limits.memory_bytes = 2ull << 30;
  const Capabilities process = Usable(backends::Tier::kProcess);
  Capabilities container = Usable(backends::Tier::kContainer);
  container.usable = false;
  container.unusable_reason = "no OCI runtime";
  container.unusable_mend = "install crun";
  ReportFacts facts;
  facts.backends = {&process, &container};
  facts.agents = {{protocol::AgentKind::Parse("mock").value(), "1.0"}};
  facts.machine = {2000, 4ull << 30, 9ull << 30};
  facts.share.most_memory_bytes = 1ull << 30;
  const protocol::RunnerCapabilities out = MakeReport(config, facts);
  EXPECT_EQ(out.default_isolation, Tier::kSandbox);
  EXPECT_EQ(out.minimum_isolation, Tier::kSandbox);
  EXPECT_EQ(out.words.at("hermetic"), Tier::kContainer);
  ASSERT_NE(out.Find(Tier::kProcess), nullptr);
  EXPECT_TRUE(out.Find(Tier::kProcess)->offered);
  EXPECT_EQ(out.Find(Tier::kProcess)->enforcement.at("network"), "kernel");
  ASSERT_EQ(out.Find(Tier::kProcess)->limits.size(), 2u);
  EXPECT_EQ(out.Find(Tier::kProcess)->limits[0].holder, "kernel-cgroup-v2");
  EXPECT_FALSE(out.Find(Tier::kProcess)->limits[1].contract);
  EXPECT_FALSE(out.Find(Tier::kContainer)->offered);
  EXPECT_EQ(out.Find(Tier::kContainer)->reason, "no OCI runtime");
  EXPECT_EQ(out.Find(Tier::kSandbox), nullptr);
  EXPECT_EQ(out.most.memory_bytes, 1ull << 30) << "the smaller of the operator's and the machine's";
  EXPECT_TRUE(protocol::RunnerCapabilities::Parse(out.ToJson())) << "our plane takes it";
}

TEST(Report, OffersNoTierWhoseNetworkTheKernelDoesNotHoldUnlessItsOperatorGrantsThat) {  // L4
  Capabilities process = Usable(backends::Tier::kProcess);
  process.network = {Enforcement::kAdvisory, "proxy variables", "no user notification",
                     "Linux 5.9"};
  ReportFacts facts;
  facts.backends = {&process};
  RunnerConfig config;
  EXPECT_FALSE(MakeReport(config, facts).Find(Tier::kProcess)->offered);
  EXPECT_NE(MakeReport(config, facts).Find(Tier::kProcess)->reason.find("no user notification"),
            std::string::npos);
  config.grants.advisory_network = true;
  EXPECT_TRUE(MakeReport(config, facts).Find(Tier::kProcess)->offered);
}

TEST(Report, OffersATierThatOneOfItsBackendsHas) {
  Capabilities broken = Usable(backends::Tier::kSandbox);
  broken.usable = false;
  broken.unusable_reason = "no";
  const Capabilities good = Usable(backends::Tier::kSandbox);
  for (const auto& order : {std::vector<const Capabilities*>{&broken, &good},
                            std::vector<const Capabilities*>{&good, &broken}}) {
    ReportFacts facts;
    facts.backends = order;
    const auto out = MakeReport(RunnerConfig(), facts);
    ASSERT_EQ(out.tiers.size(), 1u);
    EXPECT_TRUE(out.tiers[0].offered);
  }
}

// A backend whose host changes.
class ChangingBackend final : public backends::Backend {
 public:
  ChangingBackend() { found_.push_back(Usable(backends::Tier::kProcess)); }
  std::string_view Name() const override { return "changing"; }
  backends::Tier GetTier() const override { return backends::Tier::kProcess; }
  const Capabilities& Probe() override { return found_.back(); }
  const Capabilities& ProbeAgain() override {
    ++probed_again;
    Capabilities next = Usable(backends::Tier::kProcess);
    next.usable = usable;
    if (!(next == found_.back())) found_.push_back(std::move(next));
    return found_.back();
  }
  Status Alive() override {
    if (alive) return {};
    return Error{.kind = ErrorKind::kUnavailable, .code = "gone", .message = "gone"};
  }
  Status Check(const backends::Plan&) override { return {}; }
  Result<std::unique_ptr<backends::Job>> Prepare(backends::Plan) override { return Error{}; }
  Result<backends::Recovered> Recover(const backends::LeftJob&,
                                      std::chrono::milliseconds) override {
    return Error{};
  }
  bool usable = true, alive = true;
  int probed_again = 0;

 private:
  std::list<Capabilities> found_;
};

class ReportRefresh : public ::testing::Test {
 protected:
  ReportRefresh() {
    auto backend = std::make_unique<ChangingBackend>();
    backend_ = backend.get();
    EXPECT_TRUE(registry_.Add(std::move(backend)));
    report_.Refresh();
    EXPECT_EQ(backend_->probed_again, 0) << "just found";
  }
  ManualClock clock_{WallTime{0}};
  backends::BackendRegistry registry_;
  ChangingBackend* backend_ = nullptr;
  CapabilityReport report_{registry_, clock_};
};

TEST_F(ReportRefresh, ProbesAgainAfterTenMinutesAndNotBefore) {
  clock_.Advance(std::chrono::minutes(9));
  report_.Refresh();
  EXPECT_EQ(backend_->probed_again, 0);
  const Capabilities& before = backend_->Probe();
  backend_->usable = false;
  clock_.Advance(std::chrono::minutes(2));
  report_.Refresh();
  report_.Refresh();
  EXPECT_EQ(backend_->probed_again, 1);
  EXPECT_FALSE(backend_->Probe().usable);
  EXPECT_TRUE(before.usable) << "jobs at work keep what they were prepared with";
}

TEST_F(ReportRefresh, ProbesAgainWhereABackendHasLostSomethingButNotAllTheTime) {  // L41
  backend_->alive = false;
  backend_->usable = false;
  clock_.Advance(std::chrono::seconds(11));
  report_.Refresh();
  EXPECT_EQ(backend_->probed_again, 1);
  report_.Refresh();
  EXPECT_EQ(backend_->probed_again, 1);
}

TEST_F(ReportRefresh, ProbesAgainWhenItIsInvalidated) {
  report_.Invalidate();
  report_.Refresh();
  report_.Refresh();
  EXPECT_EQ(backend_->probed_again, 1);
}

TEST_F(ReportRefresh, IsAboutTheMachineThatItStandsOn) {
  RunnerConfig config;
  config.mock_agent = "/bin/true";
  UniqueFd here(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto out = report_.Of(config, here.get(), MachineShare{});
  EXPECT_GT(out.machine.cpu_millis, 0u);
  EXPECT_GT(out.machine.memory_bytes, 0u);
  EXPECT_GT(out.machine.disk_bytes, 0u);
  bool command = false, mock = false, pi = false;
  for (const auto& agent : out.agents) {
    command |= agent.kind.text() == "command";
    mock |= agent.kind.text() == "mock";
    pi |= agent.kind.text() == "pi";
  }
  EXPECT_TRUE(command) << "needs no program";
  EXPECT_TRUE(mock);
  EXPECT_FALSE(pi) << "never started by a runner";
  EXPECT_EQ(json::Write(out.ToJson()), json::Write(report_.Of(config, here.get(), {}).ToJson()))
      << "the same again where nothing has changed: the plane writes nothing";
}

}  // namespace
}  // namespace writ::runner
