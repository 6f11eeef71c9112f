// A runner and a plane that crash while they have a secret in their memory leave no core file (L8).
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "fault/support/expect_well.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

// "0": none may be written.
std::string CoreLimit(const Daemon& daemon) {
  std::ifstream in("/proc/" + std::to_string(daemon.child.pid()) + "/limits");
  constexpr std::string_view kName = "Max core file size";
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(kName)) {
      const std::size_t from = line.find_first_not_of(' ', kName.size());
      return line.substr(from, line.find(' ', from) - from);
    }
  return "not told";
}

TEST(CoreFiles, AreNotLeftByAPlaneOrARunnerThatCrashes) {
  rlimit all{};
  ASSERT_EQ(getrlimit(RLIMIT_CORE, &all), 0);
  all.rlim_cur = all.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_CORE, &all), 0);
  if (all.rlim_max == 0) GTEST_SKIP() << "this host writes no core files at all";
  FaultWorld world;
  world.StartPlane();
  world.StartRunner();
  const std::string run = world.Submit();
  ASSERT_TRUE(world.Await([&] { return world.Run(run).FindString("status") == "running"; },
                          milliseconds(45'000)))
      << world.Log();
  for (Daemon* daemon : {&world.runner(), &world.plane()}) {
    EXPECT_EQ(CoreLimit(*daemon), "0");
    ASSERT_TRUE(daemon->child.Signal(SIGSEGV));
    auto status = daemon->child.Wait(milliseconds(30'000));
    ASSERT_TRUE(status && *status && (*status)->signalled);
    EXPECT_EQ((*status)->signal, SIGSEGV);
  }
  for (const auto& entry : std::filesystem::directory_iterator(world.root()))
    EXPECT_FALSE(entry.path().filename().string().starts_with("core")) << entry.path();
  EXPECT_EQ(world.SecretProblems(), std::vector<std::string>());
  world.StartPlane();
  world.StartRunner();
  ExpectAllWell(world, {run});
}

}  // namespace
}  // namespace writ::test
