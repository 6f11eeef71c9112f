// How long a runner serves: a number of runs, a time without one, a signal; and the change of its
// key in between.
#include <poll.h>

#include <condition_variable>
#include <mutex>

#include "e2e/support/leased_world.h"

namespace writ {
namespace {

using std::chrono::milliseconds;
using test::Eventually;
using test::FakeJobView;
using test::FakePlane;

using ServeTest = test::LeasedWorld;

bool Ended(const runner::Engine& engine) {
  pollfd entry{engine.ended_fd(), POLLIN, 0};
  return poll(&entry, 1, 20'000) == 1;
}

TEST_F(ServeTest, LeavesAfterTheNumberOfRunsAndTakesNoneMoreWithAnyNumberOfSlots) {
  world_.config.slots = 4;
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  for (int i = 0; i < 6; ++i) plane_.Add(Draft("run_" + std::to_string(i)));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.max_runs = 3}));
  ASSERT_TRUE(Ended(engine));
  engine.Wait();
  int done = 0, offered = 0;
  for (int i = 0; i < 6; ++i) {
    FakePlane::Run run = plane_.Get("run_" + std::to_string(i));
    done += run.completions;
    offered += run.offers;
  }
  EXPECT_EQ(done, 3);
  EXPECT_EQ(offered, 3);  // none was asked for that could not be taken
  EXPECT_FALSE(engine.Trouble());
}

TEST_F(ServeTest, LeavesWhenIdleButNotWhileARunIsInWork) {
  world_.config.slots = 2;
  AddWaitingAgent();
  plane_.Add(Draft("run_long"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.exit_when_idle = milliseconds(150)}));
  ASSERT_TRUE(gate_.WaitForStart());
  // The other slot asks on; several times the idle time passes.
  const int asked = plane_.Calls("POST /v1/claims");
  ASSERT_TRUE(Eventually([&] { return plane_.Calls("POST /v1/claims") > asked + 8; }));
  EXPECT_EQ(engine.ActiveRuns(), 1u);
  gate_.Open();
  ASSERT_TRUE(Ended(engine));
  engine.Wait();
  ExpectOneGoodReceipt("run_long", "completed");
}

// L41: a host that cannot start a session is idle too.
TEST_F(ServeTest, LeavesWhenIdleThoughTheHostIsNotReady) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  backend.usable = false;
  ASSERT_TRUE(engine.Start({.exit_when_idle = milliseconds(150)}));
  ASSERT_TRUE(Ended(engine));
  engine.Wait();
  EXPECT_EQ(plane_.Calls("POST /v1/claims"), 0);
}

// L40: where the plane does not answer an upload, the second signal still ends the runner, and the
// receipt waits.
TEST_F(ServeTest, LeavesOnTheSecondSignalThoughAnUploadIsNotAnswered) {
  world_.config.call_timeout = milliseconds(500);  // and so the last moment
  world_.AddFake([](FakeJobView& job) {
    job.Write("made.txt", "made\n");
    return test::Exited(0);
  });
  std::mutex mutex;
  std::condition_variable changed;
  bool uploading = false, silent = true;
  plane_.SetFault(
      [&](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (method != "POST" || path != "/v1/blobs") return std::nullopt;
        std::unique_lock lock(mutex);
        uploading = true;
        changed.notify_all();
        changed.wait(lock, [&] { return !silent; });
        return FakePlane::Answer{503, "{}"};
      });
  plane_.Add(Draft("run_owed"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return uploading; }));
  }
  engine.RequestStop(runner::StopMode::kDrain);
  engine.RequestStop(runner::StopMode::kCancelRuns);
  // Its upload may take ten minutes.
  EXPECT_TRUE(Ended(engine));
  {
    std::lock_guard lock(mutex);
    silent = false;
    changed.notify_all();
  }
  engine.Wait();
  world_.Close();
  EXPECT_EQ(plane_.Get("run_owed").completions, 0);
  // The next start delivers what was owed, and keeps the lease for as long as that takes.
  const int renewed = plane_.Get("run_owed").renewals;
  plane_.SetFault(
      [&](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (method == "POST" && path == "/v1/blobs") {
          EXPECT_TRUE(Eventually([&] { return plane_.Get("run_owed").renewals > renewed + 2; }));
        }
        return std::nullopt;
      });
  world_.Open().Wait();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_owed").completions == 1; }));
  ExpectOneGoodReceipt("run_owed", "completed");
}

TEST_F(ServeTest, EndsByItselfWhenItIsRevokedWhileIdle) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  plane_.Revoke();
  ASSERT_TRUE(Ended(engine));
  ASSERT_TRUE(engine.Trouble());
  EXPECT_EQ(engine.Trouble()->code, "plane.revoked");
}

TEST_F(ServeTest, SaysThatItsLoopsTurn) {
  AddWaitingAgent();
  plane_.Add(Draft("run_alive"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  EXPECT_FALSE(engine.Stuck());
  gate_.Open();
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_FALSE(engine.Stuck());
}

TEST_F(ServeTest, ChangesItsKeyWhenAskedAndNoRunIsOpen) {
  AddWaitingAgent();
  plane_.Add(Draft("run_before"));
  runner::Engine& engine = world_.Open();
  const std::string old_key = plane_.runner_key().ToPem();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  plane_.SetLease({.renew_after_ms = 100, .ask_rotation = true});
  const int renewed = plane_.Get("run_before").renewals;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_before").renewals > renewed + 3; }));
  EXPECT_EQ(plane_.Calls("POST /v1/runners/rotate"), 0);  // a run is open
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Calls("POST /v1/runners/rotate") > 0; }));
  ExpectOneGoodReceipt("run_before", "completed");  // by the old key, which is in force still
  plane_.Add(Draft("run_after"));
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_after").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_NE(plane_.runner_key().ToPem(), old_key);
  ExpectOneGoodReceipt("run_after", "completed");  // by the new one
  EXPECT_EQ(plane_.Calls("POST /v1/runners/rotate"), 1);
}

TEST_F(ServeTest, RepeatsALostChangeOfKeyWithTheSameKey) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  // The plane does it four times over and its answers are lost: those of the first call's attempts,
  // and one of the second's.
  plane_.SetLease({.ask_rotation = true, .lose_rotations = 4});
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(Eventually([&] { return plane_.Calls("POST /v1/runners/rotate") >= 5; }));
  plane_.Add(Draft("run_rotated"));
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_rotated").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_EQ(plane_.violations(), std::vector<std::string>());
  // A new process has the new identity.
  auto store = runner::IdentityStore::Open(world_.config.state_dir);
  ASSERT_TRUE(store);
  auto identity = store->Load();
  ASSERT_TRUE(identity && *identity);
  EXPECT_EQ((*identity)->token.Reveal(), "runner-token-after-rotation");
  EXPECT_EQ((*identity)->key.Public().ToPem(), plane_.runner_key().ToPem());
}

}  // namespace
}  // namespace writ
