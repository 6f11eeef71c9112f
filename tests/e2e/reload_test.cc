// A changed configuration of a runner at work: runs that come have it, runs in work keep what they
// began with, and what needs a restart is named.
#include <sys/stat.h>

#include <fstream>
#include <mutex>
#include <vector>

#include "e2e/support/leased_world.h"

namespace writ {
namespace {

using test::Eventually;

class ReloadTest : public test::LeasedWorld {
 protected:
  // A gate for the first job only; each job's limit of processes is noted at its start and its end.
  void AddNotingAgent() {
    world_.AddFake([this](test::FakeJobView& job) {
      bool first = false;
      {
        std::lock_guard lock(mutex_);
        first = processes_.empty();
        processes_.push_back(job.limits.processes);
      }
      if (first) (void)gate_.Pass(job.stop);
      return test::Exited(0);
    });
  }
  std::vector<std::uint64_t> Processes() {
    std::lock_guard lock(mutex_);
    return processes_;
  }
  bool Done(const char* run) { return plane_.Get(run).completions == 1; }
  std::mutex mutex_;
  std::vector<std::uint64_t> processes_;
};

TEST_F(ReloadTest, RunsThatComeHaveWhatChangedAndTheOneInWorkGoesOn) {
  world_.config.slots = 2;
  world_.config.limits.processes = 100;
  AddNotingAgent();
  plane_.Add(Draft("run_before"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  runner::RunnerConfig next = world_.config;
  next.limits.processes = 50;
  auto reloaded = engine.Reload(next);
  ASSERT_TRUE(reloaded) << reloaded.error().ToString();
  EXPECT_EQ(reloaded->applied, std::vector<std::string>{"limits"});
  EXPECT_TRUE(reloaded->kept.empty());
  plane_.Add(Draft("run_after"));
  ASSERT_TRUE(Eventually([&] { return Done("run_after"); }));
  ASSERT_TRUE(Eventually([&] { return engine.ActiveRuns() == 1; }));  // the other one still works
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return Done("run_before"); }));
  EXPECT_EQ(Processes(), (std::vector<std::uint64_t>{100, 50}));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  ExpectOneGoodReceipt("run_before", "completed");
  ExpectOneGoodReceipt("run_after", "completed");
}

TEST_F(ReloadTest, WhatNeedsARestartIsNamedAndKeepsItsValue) {
  AddWaitingAgent();
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  runner::RunnerConfig next = world_.config;
  next.pool = "other";
  next.capacity.cpu_millis = 500;
  next.cancel_grace = std::chrono::seconds(1);
  auto reloaded = engine.Reload(next);
  ASSERT_TRUE(reloaded);
  EXPECT_EQ(reloaded->applied, std::vector<std::string>{"cancelGraceMs"});
  EXPECT_EQ(reloaded->kept, (std::vector<std::string>{"pool", "capacity"}));
  // The pool is the old one: a run of it is still taken.
  plane_.Add(Draft("run_old_pool"));
  ASSERT_TRUE(gate_.WaitForStart());
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return Done("run_old_pool"); }));
  // The same again changes nothing more.
  auto again = engine.Reload(next);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->applied.empty());
  EXPECT_EQ(again->kept.size(), 2u);
}

TEST_F(ReloadTest, AConfigurationThatIsWrongChangesNothing) {
  world_.config.limits.processes = 100;
  AddNotingAgent();
  gate_.Open();
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  runner::RunnerConfig next = world_.config;
  next.limits.processes = 50;
  next.default_isolation = "no-such-tier";
  EXPECT_FALSE(engine.Reload(next));
  plane_.Add(Draft("run_then"));
  ASSERT_TRUE(Eventually([&] { return Done("run_then"); }));
  EXPECT_EQ(Processes(), std::vector<std::uint64_t>{100});
}

TEST_F(ReloadTest, TheNextHookIsTheNewOne) {
  world_.AddFake([](test::FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  plane_.Add(Draft("run_free"));
  ASSERT_TRUE(Eventually([&] { return Done("run_free"); }));
  const std::string path = world_.root() + "/veto";
  std::ofstream(path) << "#!/bin/sh\nexit 1\n";
  ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  runner::RunnerConfig next = world_.config;
  next.hooks[runner::HookKind::kBeforeRun] = {.path = path};
  auto reloaded = engine.Reload(next);
  ASSERT_TRUE(reloaded) << reloaded.error().ToString();
  EXPECT_EQ(reloaded->applied, std::vector<std::string>{"hooks"});
  plane_.Add(Draft("run_vetoed"));
  ASSERT_TRUE(Eventually([&] { return Done("run_vetoed"); }));
  ExpectOneGoodReceipt("run_free", "completed");
  ExpectOneGoodReceipt("run_vetoed", "failed");
  EXPECT_EQ(LastEvent("run_vetoed", "failure"), "policy_denied");
}

TEST_F(ReloadTest, AHookBeforeClaimsThatAReloadBroughtIsAsked) {
  world_.AddFake([](test::FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  const std::string path = world_.root() + "/not-now";
  std::ofstream(path) << "#!/bin/sh\nexit 1\n";
  ASSERT_EQ(chmod(path.c_str(), 0755), 0);
  runner::RunnerConfig next = world_.config;
  next.hooks[runner::HookKind::kBeforeClaim] = {.path = path};
  ASSERT_TRUE(engine.Reload(next));
  plane_.Add(Draft("run_declined"));
  ASSERT_TRUE(Eventually([&] { return !plane_.Get("run_declined").declined.empty(); }));
  EXPECT_EQ(plane_.Get("run_declined").acknowledgements, 0);
}

}  // namespace
}  // namespace writ
