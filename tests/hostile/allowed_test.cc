// What must go on working in the process tier beside all that the table refuses.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "conformance/job_fixture.h"
#include "support/places.h"
#include "writ/backends/process_backend.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;

class Allowed : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    backend_ = MakeBackend("process");
  }
  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_F(Allowed, ReachesTheProxyAndIsCounted) {
  backends::Plan plan = job_.MakePlan(
      {"bash", "-c",
       "exec 3<>/dev/tcp/127.0.0.1/$PORT && echo hello >&3 && read -r answer <&3 && echo $answer"});
  plan.network = backends::ProxiedNetwork{};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  auto listener = (*job)->TakeProxyListener();
  ASSERT_TRUE(listener);
  const std::string address = (*job)->ProxyAddress();
  backends::Environment late;
  late.vars = {{"PORT", address.substr(address.rfind(':') + 1)}};
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  std::jthread proxy([fd = listener->get()] {
    pollfd ready{fd, POLLIN, 0};
    ::poll(&ready, 1, 10000);
    UniqueFd peer(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
    char line[16];
    if (::read(peer.get(), line, sizeof line) == 6) (void)!::write(peer.get(), "welcome\n", 8);
  });
  Outcome outcome = (*job)->Watch(sink, {});
  EXPECT_EQ(run.out, "welcome\n") << run.err;
  EXPECT_EQ(outcome.proxied_total, 1u);
  EXPECT_EQ(outcome.refused_total, 0u);
}

TEST_F(Allowed, RefusesEvenTheProxyPortWhereThePlanHasNoNetwork) {
  JobRun run = job_.Run(
      *backend_, job_.MakePlan({"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9 && echo through"}));
  EXPECT_EQ(run.out, "");
  ASSERT_EQ(run.outcome.refused.size(), 1u);
  EXPECT_EQ(run.outcome.refused.front().address, "127.0.0.1:9");
  EXPECT_EQ(run.outcome.refused.front().reason, "this job has no network");
}

TEST_F(Allowed, ListsInterfacesOverNetlinkRoute) {
  if (::access("/usr/bin/perl", X_OK) != 0) GTEST_SKIP() << "perl is not here";
  // bind, send and receive on NETLINK_ROUTE, as getifaddrs does
  const char* script =
      "socket(S, 16, 3, 0) or die $!; bind(S, pack('SSLL', 16, 0, 0, 0)) or die $!; "
      "send(S, pack('LSSLLCx3', 20, 18, 0x301, 1, 0, 0), 0) or die $!; recv(S, $b, 65536, 0); "
      "print length($b) > 20 ? 'ok' : 'no'";
  JobRun run = job_.Run(*backend_, job_.MakePlan({"perl", "-e", script}));
  EXPECT_EQ(run.out, "ok") << run.err;
}

TEST_F(Allowed, FailsNameLookupsFastWithoutAResolver) {  // L24
  backends::Plan plan = job_.MakePlan({"getent", "hosts", "name.example.com"});
  // A lookup that waited for an answer would wait past the job's time.
  plan.env.vars.push_back({"RES_OPTIONS", "timeout:30 attempts:1"});
  plan.limits.wall_timeout = seconds(20);
  JobRun run = job_.Run(*backend_, std::move(plan));
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited);
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 2);  // no such host
}

TEST_F(Allowed, RefusesAnUnsupervisedNetworkUnlessGranted) {  // L4
  auto without = backends::MakeProcessBackend(
      {.launcher = writ::test::BinDir() + "/writ-launch",
       .user_notification = backends::ProcessBackendOptions::UserNotification::kAssumeAbsent});
  EXPECT_EQ(without->Probe().network.enforcement, backends::Enforcement::kAdvisory);
  EXPECT_FALSE(without->Probe().network.reason.empty());
  Status refused = without->Check(job_.Shell("true"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  backends::Plan granted = job_.Shell("echo ran");
  granted.require.advisory_network = backends::AdvisoryNetworkGrant{"operator.yaml: lab machines"};
  JobRun run = job_.Run(*without, std::move(granted));
  EXPECT_EQ(run.out, "ran\n");
}

}  // namespace
}  // namespace writ::test
