// What a backend says of itself, for the receipt: what it calls held is held (L47).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Enforcement;

TEST_P(Conformance, SaysOfEachAspectWhatHoldsItOrWhyNot) {
  const backends::Capabilities& can = backend_->Probe();
  EXPECT_EQ(can.tier, backend_->GetTier());
  EXPECT_EQ(can.backend, backend_->Name());
  EXPECT_FALSE(can.version.empty());
  for (const backends::Aspect aspect : backends::kAllAspects) {
    const backends::AspectCapability& held = can.Of(aspect);
    if (held.enforcement == Enforcement::kKernel)
      EXPECT_FALSE(held.mechanism.empty()) << backends::AspectName(aspect);
    else
      EXPECT_FALSE(held.reason.empty()) << backends::AspectName(aspect);
  }
  for (const backends::LimitCapability& limit : can.limits)
    if (limit.holder == backends::LimitHolder::kNone) {
      EXPECT_FALSE(limit.whole_job) << backends::LimitName(limit.kind);
    }
  EXPECT_EQ(backend_->Probe(), can) << "asked again it says the same";
  const backends::Capabilities before = can;
  EXPECT_EQ(backend_->ProbeAgain(), before) << "looking again finds the same here";
  EXPECT_EQ(can, before) << "and what was said before stays";
}

TEST_P(Conformance, KeepsAJobFromTheHostsFilesWhereItSaysThatItDoes) {
  if (backend_->Probe().files.enforcement != Enforcement::kKernel)
    GTEST_SKIP() << "files are not held: " << backend_->Probe().files.reason;
  const std::string outside = job_.base() + "/outside";
  std::ofstream(outside) << "not for jobs";
  ::chmod(outside.c_str(), 0644);
  ::chmod(job_.base().c_str(), 0777);  // no mode bit is in the way
  JobRun run = Sh("cat " + outside + "; echo more >> " + outside + "; touch " + job_.base() +
                  "/planted; echo done");
  EXPECT_EQ(run.out, "done\n") << "nothing was read";
  std::ifstream in(outside);
  std::string text;
  std::getline(in, text);
  EXPECT_EQ(text, "not for jobs");
  EXPECT_NE(::access((job_.base() + "/planted").c_str(), F_OK), 0);
}

TEST_P(Conformance, KeepsAJobFromTheHostsNetworkWhereItSaysThatItDoes) {  // L26
  if (backend_->Probe().network.enforcement != Enforcement::kKernel)
    GTEST_SKIP() << "the network is not held: " << backend_->Probe().network.reason;
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string port = std::to_string(ntohs(address.sin_port));
  JobRun run = Sh("git ls-remote git://127.0.0.1:" + port + "/x 2>&1 | head -n 1; echo done");
  EXPECT_THAT(run.out, testing::EndsWith("done\n"));
  EXPECT_EQ(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), -1);
  EXPECT_EQ(errno, EAGAIN) << "a connection came through";
}

TEST_P(Conformance, KeepsAJobFromOtherProcessesWhereItSaysThatItDoes) {
  if (backend_->Probe().processes.enforcement != Enforcement::kKernel)
    GTEST_SKIP() << "processes are not held: " << backend_->Probe().processes.reason;
  const std::string self = std::to_string(::getpid());
  JobRun run = Sh("kill -0 " + self + " 2>/dev/null && echo reached; cat /proc/" + self +
                  "/environ 2>/dev/null | head -c 1 | wc -c");
  EXPECT_THAT(run.out, testing::Not(testing::HasSubstr("reached")));
  EXPECT_THAT(run.out, testing::EndsWith("0\n"));
}

TEST_P(Conformance, KeepsAJobFromTheKernelsCornersWhereItSaysThatItDoes) {
  if (backend_->Probe().syscalls.enforcement != Enforcement::kKernel)
    GTEST_SKIP() << "system calls are not held: " << backend_->Probe().syscalls.reason;
  JobRun run =
      Sh("unshare -U true 2>/dev/null && echo namespace; mount -t tmpfs x /tmp "
         "2>/dev/null && echo mounted; grep Seccomp: /proc/self/status");
  EXPECT_EQ(run.out, "Seccomp:\t2\n");
}

// Each limit of the plan stands there with what held it, and as the backend had said.
TEST_P(Conformance, TellsOfEachLimitWhatHeldIt) {
  backends::Plan plan = job_.Shell("true");
  plan.limits.cpu_time = std::chrono::seconds(30);
  plan.limits.memory_bytes = 256u << 20;
  plan.limits.cpu_millis = 900;
  plan.limits.disk_bytes = 64u << 20;
  plan.limits.disk_files = 1000;
  const auto planned = backends::PlannedLimits(plan.limits);
  JobRun run = Run(std::move(plan));
  ASSERT_EQ(run.outcome.limits.size(), planned.size());
  for (const backends::HeldLimit& held : run.outcome.limits) {
    const auto& said = backend_->Probe().limits;
    const auto known = std::find_if(
        said.begin(), said.end(), [&](const auto& limit) { return limit.kind == held.limit.kind; });
    ASSERT_NE(known, said.end()) << backends::LimitName(held.limit.kind);
    EXPECT_EQ(known->holder, held.holder) << backends::LimitName(held.limit.kind);
    if (held.holder == backends::LimitHolder::kNone) {
      EXPECT_FALSE(held.note.empty()) << backends::LimitName(held.limit.kind);
    }
  }
}

}  // namespace
}  // namespace writ::test
