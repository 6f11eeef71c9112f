// Slots by CPU, memory and disk: what does not fit is declined and not begun, what was reserved
// comes back.
#include <atomic>
#include <mutex>
#include <vector>

#include "e2e/support/leased_world.h"

namespace writ {
namespace {

using test::Eventually;
using test::FakePlane;
using Limits = protocol::ExecutionLimits;

constexpr std::int64_t kMiB = 1 << 20;

class SlotsTest : public test::LeasedWorld {
 protected:
  SlotsTest() {
    world_.config.slots = 4;
    world_.config.capacity.memory_bytes = 64 * kMiB;
    world_.config.limits.min_free_memory_bytes = 0;
    world_.config.limits.min_free_disk_bytes = 0;
  }
  void AddAsking(const std::string& run_id, std::optional<std::int64_t> Limits::*member,
                 std::int64_t value) {
    protocol::Contract draft = Draft(run_id);
    draft.execution->limits.*member = value;
    plane_.Add(std::move(draft));
  }
  bool Declined(const std::string& run_id) { return !plane_.Get(run_id).declined.empty(); }
};

TEST_F(SlotsTest, ARunThatDoesNotFitBesideTheOthersIsDeclinedUntilItDoes) {  // L41
  AddWaitingAgent();
  AddAsking("run_big", &Limits::memory_bytes, 40 * kMiB);
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  AddAsking("run_too", &Limits::memory_bytes, 40 * kMiB);
  ASSERT_TRUE(Eventually([&] { return Declined("run_too"); }));
  EXPECT_EQ(plane_.Get("run_too").acknowledgements, 0);
  EXPECT_EQ(engine.ActiveRuns(), 1u);
  AddAsking("run_small", &Limits::memory_bytes, 16 * kMiB);  // beside it there is room
  ASSERT_TRUE(gate_.WaitForStart(2));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_too").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  for (const char* run : {"run_big", "run_too", "run_small"})
    ExpectOneGoodReceipt(run, "completed");
}

TEST_F(SlotsTest, DiskIsGivenToOneRunAtATime) {  // L41, L42
  world_.config.capacity.disk_bytes = 64 * kMiB;
  AddWaitingAgent();
  AddAsking("run_big", &Limits::disk_bytes, 40 * kMiB);
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  AddAsking("run_too", &Limits::disk_bytes, 40 * kMiB);
  ASSERT_TRUE(Eventually([&] { return Declined("run_too"); }));
  EXPECT_EQ(plane_.Get("run_too").acknowledgements, 0);
  AddAsking("run_small", &Limits::disk_bytes, 8 * kMiB);  // beside it there is room
  ASSERT_TRUE(gate_.WaitForStart(2));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_too").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  for (const char* run : {"run_big", "run_too", "run_small"})
    ExpectOneGoodReceipt(run, "completed");
}

// A loop that found no room asks again as soon as there is some.
TEST_F(SlotsTest, EverySlotWorksAgainAfterOneRunHadTheWholeMachine) {
  AddWaitingAgent();
  AddAsking("run_all", &Limits::memory_bytes, 64 * kMiB);
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart());
  // Until the other loops have nothing left to ask for.
  int asked = 0, same = 0;
  ASSERT_TRUE(Eventually([&] {
    const int now = plane_.Calls("POST /v1/claims");
    same = now == asked ? same + 1 : 0;
    asked = now;
    return same > 100;
  }));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_all").completions == 1; }));
  gate_.Close();
  for (const char* run : {"run_1", "run_2", "run_3", "run_4"}) plane_.Add(Draft(run));
  EXPECT_TRUE(gate_.WaitForStart(5));  // all four are in work at once
  EXPECT_TRUE(Eventually([&] { return engine.ActiveRuns() == 4; }));
  gate_.Open();
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
}

// Four loops ask at once, and what they might get is not reserved for them.
TEST_F(SlotsTest, AnIdleRunnerHasAllOfItsMachineForOneRun) {
  world_.config.long_poll = std::chrono::seconds(10);
  AddWaitingAgent();
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(Eventually([&] { return plane_.Calls("POST /v1/claims") >= 4; }));
  AddAsking("run_all", &Limits::memory_bytes, 64 * kMiB);
  ASSERT_TRUE(gate_.WaitForStart());
  EXPECT_FALSE(Declined("run_all"));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_all").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
}

TEST_F(SlotsTest, ARunThatIsTooLargeForTheMachineIsNeverTaken) {  // L4, L42
  AddWaitingAgent();
  AddAsking("run_huge", &Limits::memory_bytes, 65 * kMiB);
  AddAsking("run_wide", &Limits::cpu_millis, 1 << 20);
  AddAsking("run_deep", &Limits::disk_bytes, std::int64_t{1} << 50);
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  for (const char* run : {"run_huge", "run_wide", "run_deep"})
    ASSERT_TRUE(Eventually([&] { return Declined(run); })) << run;
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  for (const char* run : {"run_huge", "run_wide", "run_deep"})
    EXPECT_EQ(plane_.Get(run).acknowledgements, 0) << run;
}

TEST_F(SlotsTest, ARunThatNobodyElseIsAskedForIsRefusedInItsReceipt) {  // L4
  world_.config.slots = 1;
  world_.config.only_run = "run_huge";
  AddWaitingAgent();
  AddAsking("run_huge", &Limits::memory_bytes, 65 * kMiB);
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_huge", "failed");
  EXPECT_EQ(LastEvent("run_huge", "failure"), "capability_mismatch");
}

TEST_F(SlotsTest, EachOfSeveralRunsHasItsShareOfMemoryAndDiskAsItsLimit) {
  std::mutex mutex;
  world_.config.capacity.disk_bytes = 32 * kMiB;
  std::vector<std::uint64_t> memory, disk;
  std::vector<std::string> sources;
  test::FakeBackend& backend = world_.AddFake([&](test::FakeJobView& job) {
    std::lock_guard lock(mutex);
    memory.push_back(job.limits.memory_bytes);
    disk.push_back(job.limits.disk_bytes);
    sources.emplace_back(LimitSourceName(job.limits.sources.memory));
    sources.emplace_back(LimitSourceName(job.limits.sources.disk));
    return test::Exited(0);
  });
  plane_.Add(Draft("run_plain"));
  ASSERT_TRUE(world_.RunOne());
  ASSERT_EQ(backend.prepared, 1);
  EXPECT_EQ(memory, (std::vector<std::uint64_t>{16 * kMiB}));
  EXPECT_EQ(disk, (std::vector<std::uint64_t>{8 * kMiB}));
  EXPECT_EQ(sources, (std::vector<std::string>{"pool", "pool"}));
}

// A plane without offers gives runs that cannot be given back: they wait until they fit, and what
// waits holds nothing, so that two that are too large together do not wait for each other.
TEST(SlotsOfTakenRuns, WaitForOneAnotherWithoutADeadlock) {  // L42
  SystemClock clock;
  FakePlane plane(clock, FakePlane::Dialect::kBase);
  FakePlane::LoadRecordedBlobs(plane);
  test::RunnerWorld world(plane, clock);
  world.config.slots = 2;
  world.config.capacity.memory_bytes = 64 * kMiB;
  std::atomic<int> at_once{0}, most{0};
  world.AddFake([&](test::FakeJobView&) {
    most = std::max(most.load(), ++at_once);
    --at_once;
    return test::Exited(0);
  });
  for (const char* id : {"run_a", "run_b", "run_c"}) {
    protocol::Contract draft = plane.Draft(id);
    draft.execution = protocol::Execution();
    draft.execution->kind = protocol::Execution::Kind::kShell;
    draft.execution->script = "true";
    draft.execution->limits.memory_bytes = 40 * kMiB;
    plane.Add(std::move(draft));
  }
  runner::Engine& engine = world.Open();
  ASSERT_TRUE(engine.Start());
  for (const char* id : {"run_a", "run_b", "run_c"})
    ASSERT_TRUE(Eventually([&] { return plane.Get(id).completions == 1; })) << id;
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_EQ(most, 1);
}

}  // namespace
}  // namespace writ
