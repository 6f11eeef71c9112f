// Whatever could have ended a job is killed with its runner: supervisor, proxy, and the launcher
// that waits for the next job. As root, and as an ordinary user (Fault.AsAnOrdinaryUser), where no
// uid names what is left.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "fault/support/expect_well.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

// Of a process that stands still, so that they stay what they are.
std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::vector<pid_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto status = ReadFile(entry.path().string() + "/status", 1 << 16);
    if (status && status->find("\nPPid:\t" + std::to_string(parent) + "\n") != std::string::npos)
      out.push_back(static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10)));
  }
  return out;
}

// The job has said something, and its runner has noted that.
bool JobSpeaks(const std::string& root) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  for (fs::directory_iterator it(root + "/machine/runner/default/work/sessions", ignored), end;
       it != end; it.increment(ignored)) {
    const auto spool = ReadFile(it->path().string() + "/private/live.log", 1 << 16);
    if (spool && spool->find("stubborn") != std::string::npos) return true;
  }
  return false;
}

class SupervisorKill : public ::testing::TestWithParam<const char*> {
 protected:
  FaultWorld world_;
};

// L37, L38, L47
TEST_P(SupervisorKill, LeavesOneReceiptAndNoProcessThatHidFromItsParent) {
  world_.StartPlane();
  world_.StartRunner();
  const std::string run = world_.SubmitStubborn(GetParam());
  ASSERT_TRUE(
      world_.Await([&] { return JobSpeaks(world_.root()); }, std::chrono::milliseconds(60'000)))
      << world_.Log();
  Child& runner = world_.runner().child;
  ASSERT_TRUE(runner.Signal(SIGSTOP));
  const std::vector<pid_t> children = ChildrenOf(runner.pid());
  ASSERT_FALSE(children.empty());
  for (const pid_t child : children) ::kill(child, SIGKILL);
  world_.KillRunner();
  world_.StartRunner();
  ExpectAllWell(world_, {run});
}

INSTANTIATE_TEST_SUITE_P(Tiers, SupervisorKill, ::testing::Values("process", "sandbox"));

}  // namespace
}  // namespace writ::test
