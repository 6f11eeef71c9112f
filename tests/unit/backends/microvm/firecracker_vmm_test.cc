#include <gmock/gmock.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <thread>

#include "unit/backends/microvm/api_vmm_fixture.h"
#include "writ/base/unix_socket.h"

namespace writ::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const ApiMonitor kFirecracker{
    "firecracker", {1, 16, 1}, MakeFirecracker, "vmm-api/firecracker-1.16.1.yaml"};
class FirecrackerVmm : public ApiVmms {
 protected:
  FirecrackerVmm() : ApiVmms(kFirecracker) {}
};

TEST_F(FirecrackerVmm, BootsAndIsSnapshotted) {
  spec_.inputs = "/placeholder";
  Behave("late=2");  // the guest is not there at once
  ASSERT_EQ(Boot(), "done");
  EXPECT_THAT(Lines(), ElementsAre("GET /version", "PUT /machine-config", "PUT /boot-source",
                                   "PUT /drives/root", "PUT /drives/inputs", "PUT /vsock",
                                   "PUT /entropy", "PUT /actions"));
  EXPECT_EQ(Echo(), "first and more");
  EXPECT_EQ(Pause(), "done");
  EXPECT_EQ(Snapshot(), "done");
  for (const std::string& part : vmm_->Parts().state)
    EXPECT_TRUE(fs::exists(spec_.place + "/snapshot/" + part));
  EXPECT_TRUE(fs::exists(spec_.place + "/snapshot/" + vmm_->Parts().memory));
  EXPECT_EQ(Snapshot(SnapshotKind::kDifferential), "done");
  EXPECT_EQ(Requests().back().body.FindString("snapshot_type"), "Diff");
  EXPECT_EQ(Resume(), "done");
  vmm_->Kill();
  EXPECT_TRUE(ends_.empty());
}

TEST_F(FirecrackerVmm, IsRestoredFromAFileWithOtherInputs) {
  ASSERT_EQ(Restore(MemoryFile{}, AfterRestore::kPaused), "done");
  EXPECT_EQ(PutInputs(), "done");
  EXPECT_EQ(Resume(), "done");
  EXPECT_THAT(Lines(), ElementsAre("GET /version", "PUT /snapshot/load", "PATCH /drives/inputs",
                                   "PATCH /vm"));
  const json::Value load = Requests()[1].body;
  EXPECT_EQ(load.Find("mem_backend")->FindString("backend_type"), "File");
  EXPECT_EQ(*load.Find("resume_vm"), json::Value(false));
  EXPECT_EQ(Echo(), "first and more");
}

// The handler's side of the handshake, once: regions and the descriptor, then one page.
std::string ServeOnePage(int listener) {
  pollfd ready{listener, POLLIN, 0};
  ::poll(&ready, 1, 30'000);
  UniqueFd peer(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  auto hello = ReceiveWithFds(peer.get(), 64 * 1024);
  if (!hello || hello->fds.size() != 1) return "no descriptor";
  auto regions = json::Parse(hello->bytes);
  if (!regions || !regions->is_array() || regions->array().size() != 1) return "no regions";
  pollfd fault{hello->fds[0].get(), POLLIN, 0};
  uffd_msg message{};
  if (::poll(&fault, 1, 30'000) != 1 ||
      ::read(fault.fd, &message, sizeof message) != sizeof message)
    return "no fault";
  char page[4096] = "page!";
  uffdio_copy copy{};
  copy.dst = message.arg.pagefault.address & ~std::uint64_t{4095};
  copy.src = reinterpret_cast<std::uint64_t>(page);
  copy.len = sizeof page;
  return ::ioctl(fault.fd, UFFDIO_COPY, &copy) == 0 ? "served" : "not served";
}

TEST_F(FirecrackerVmm, IsRestoredByAPageServer) {
  if (UniqueFd probe(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC))); !probe)
    GTEST_SKIP() << "no userfaultfd for this user";
  const std::string socket = spec_.place + "/pages.sock";
  auto listener = ListenAtUnixPath(socket, 0600);
  ASSERT_TRUE(listener);
  std::string served;
  std::thread server([&] { served = ServeOnePage(listener->get()); });
  EXPECT_EQ(Restore(PageServer{socket, ""}, AfterRestore::kRunning), "done");
  server.join();
  EXPECT_EQ(served, "served");
  EXPECT_EQ(Read("touched"), "page!");
  EXPECT_EQ(Requests().back().body.Find("mem_backend")->FindString("backend_type"), "Uffd");
}

TEST_F(FirecrackerVmm, IsDestroyedWhereNoPageServerAnswers) {  // L36
  EXPECT_THAT(Restore(PageServer{spec_.place + "/none", ""}, AfterRestore::kRunning),
              HasSubstr("no handler"));
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kBroken);
}

TEST_F(FirecrackerVmm, OfAnotherVersionThanProbedIsNotUsed) {
  Behave("version=1.15.1");
  EXPECT_THAT(Boot(), HasSubstr("not the version that was probed"));
  EXPECT_THAT(Lines(), ElementsAre("GET /version"));
  EXPECT_EQ(ends_.size(), 1u);
}

// 1.16.0 and 1.16.1 gate what goes to the guest on every resume, and open it for a snapshot's
// alone.
TEST_F(FirecrackerVmm, IsNotResumedWhereThatWouldCutItsChannel) {
  ASSERT_EQ(Boot(), "done");
  ASSERT_EQ(Pause(), "done");
  EXPECT_THAT(Resume(), HasSubstr("without a snapshot"));
  EXPECT_TRUE(ends_.empty()) << "it stands still, and is said to";
  EXPECT_EQ(Snapshot(), "done");
  EXPECT_EQ(Resume(), "done");
}

// L36, and a hostile monitor: every answer is bounded, strictly read, and not waited for too long.
TEST_F(FirecrackerVmm, IsDestroyedWhenItDoesNotPause) {
  Behave("refuse=/vm");
  ASSERT_EQ(Boot(), "done");
  EXPECT_THAT(Pause(), HasSubstr("as the test wants"));
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_THAT(ends_[0].text, HasSubstr("could not pause and was destroyed"));
  EXPECT_THAT(Resume(), HasSubstr("in no state to resume"));
}

TEST_F(FirecrackerVmm, MaySayWhatItWillAndIsNotBelieved) {
  for (const char* words : {"long=/version", "garbage=/version", "version=9"}) {
    Behave(words);
    vmm_ = monitor_.make(loop_);
    fs::remove(spec_.place + "/api.sock");
    const std::string told = Boot();
    EXPECT_NE(told, "done") << words;
    EXPECT_LT(told.size(), 600u);
  }
  EXPECT_EQ(ends_.size(), 3u);
}

TEST_F(FirecrackerVmm, StaysPausedWhenItRefusesASnapshot) {
  Behave("refuse=/snapshot/create");
  ASSERT_EQ(Boot(), "done");
  ASSERT_EQ(Pause(), "done");
  EXPECT_THAT(Snapshot(), HasSubstr("400"));
  EXPECT_TRUE(ends_.empty());
  EXPECT_EQ(PutInputs(), "done");
}

TEST_F(FirecrackerVmm, EndsWithItsMonitorInTheMiddleOfACall) {
  Behave("dies=/vm");
  ASSERT_EQ(Boot(), "done");
  EXPECT_NE(Pause(), "done");
  ASSERT_EQ(ends_.size(), 1u);
}

TEST_F(FirecrackerVmm, IsKilledInTheMiddleOfACallAtOnce) {
  Behave("hang=/vm");
  ASSERT_EQ(Boot(), "done");
  bool told = false;
  vmm_->Pause([&](Status) { told = true; });
  vmm_->Kill();
  vmm_.reset();
  loop_.At(EventLoop::Clock::now() + std::chrono::milliseconds(50), [this] { loop_.Stop(); });
  loop_.Run();
  EXPECT_FALSE(told);
}

TEST_F(FirecrackerVmm, TellsAPanicAndAResetApart) {
  Behave("panic");
  (void)Boot();
  Until([this] { return !ends_.empty(); });
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kPanicked) << ends_[0].text;
  ends_.clear();
  Behave("resets");
  for (const char* name : {"/api.sock", "/agent.sock"}) fs::remove(spec_.place + name);
  vmm_ = monitor_.make(loop_);
  (void)Boot();
  Until([this] { return !ends_.empty(); });
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kPoweredOff) << ends_[0].text;
}

TEST_F(FirecrackerVmm, EmulatesNothing) {
  spec_.acceleration = Acceleration::kTcg;
  EXPECT_THAT(Boot(), HasSubstr("needs KVM"));
}

}  // namespace
}  // namespace writ::test
