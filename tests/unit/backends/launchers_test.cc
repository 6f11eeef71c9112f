#include "writ/backends/job/launchers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>

#include "support/places.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::backends {
namespace {

using Ahead = LaunchedOptions::Ahead;

Launchers MakeLaunchers(Ahead ahead) {
  return Launchers({.launcher = test::BinDir() + "/writ-launch", .ahead = ahead});
}

TEST(Launchers, TheOneThatWaitsIsTakenOnceAndTheNextIsANewOne) {
  Launchers launchers = MakeLaunchers(Ahead::kOne);
  launchers.Prepare();
  launchers.Prepare();  // there is one already
  auto first = launchers.Take();
  auto second = launchers.Take();
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->fresh);
  EXPECT_TRUE(second->fresh);
  EXPECT_NE(first->process.pid(), second->process.pid());
}

TEST(Launchers, NoneWaitsForWhoRunsOneJobOnly) {
  Launchers launchers = MakeLaunchers(Ahead::kNone);
  launchers.Prepare();
  auto taken = launchers.Take();
  ASSERT_TRUE(taken);
  EXPECT_TRUE(taken->fresh);
}

// Nothing of a runner outlives it (L38): what waits has only the socket to go by.
TEST(Launchers, OneThatWaitsLeavesByItselfWhenItsBackendIsGone) {
  Launchers launchers = MakeLaunchers(Ahead::kOne);
  launchers.Prepare();
  auto waiting = launchers.Take();
  ASSERT_TRUE(waiting);
  waiting->control.reset();
  auto status = waiting->process.Wait(std::chrono::seconds(30));
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->ShellCode(), 0);
}

TEST(Launchers, OneThatWasKilledWhileItWaitedIsReplaced) {
  Launchers launchers = MakeLaunchers(Ahead::kOne);
  launchers.Prepare();
  pid_t waiting = 0;
  for (const TreeMember& child : Descendants())
    if (ProgramName(child.pid) == "writ-launch") waiting = child.pid;
  ASSERT_GT(waiting, 0);
  ASSERT_EQ(::kill(waiting, SIGKILL), 0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(waiting), &ended, WEXITED | WNOWAIT), 0);
  auto taken = launchers.Take();
  ASSERT_TRUE(taken);
  EXPECT_TRUE(taken->fresh);
}

}  // namespace
}  // namespace writ::backends
