// Clocks that are off: the plane's decides what has expired, time in the chain never runs
// backwards, and the receipt says how far the two were apart.
#include <gtest/gtest.h>

#include <atomic>

#include "e2e/support/runner_world.h"
#include "writ/protocol/bundle.h"

namespace writ {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

// The system's clock with a wall hand that tests move; waits stay real.
class MovableClock final : public Clock {
 public:
  void Move(milliseconds by) { shift_ms_ += by.count(); }
  WallTime Now() const override { return system_.Now() + milliseconds(shift_ms_); }
  std::chrono::nanoseconds Monotonic() const override { return system_.Monotonic(); }

 private:
  SystemClock system_;
  std::atomic<std::int64_t> shift_ms_{0};
};

class ClockOff : public ::testing::TestWithParam<milliseconds> {
 protected:
  // The runner's clock is right; the plane's is ahead of it by the parameter.
  ClockOff() : plane_(plane_clock_, FakePlane::Dialect::kExtended), world_(plane_, runner_clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
    plane_clock_.Move(GetParam());
  }
  // Valid from now on for so long, by the plane's clock.
  void Add(milliseconds valid) {
    protocol::Contract draft = plane_.DraftOfTrue("run_clock");
    draft.issued_at = plane_clock_.Now() + milliseconds(hours(-2));
    draft.expires_at = plane_clock_.Now() + valid;
    plane_.Add(std::move(draft));
  }
  // The problems that verifying finds are those.
  FakePlane::Run Finish(const std::vector<std::string>& problems = {}) {
    EXPECT_TRUE(world_.RunOne());
    FakePlane::Run run = plane_.Get("run_clock");
    EXPECT_EQ(run.completions, 1);
    if (run.completions != 1) return run;
    protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle("run_clock"));
    std::vector<std::string> found;
    for (const auto& problem : report.problems) found.push_back(problem.code);
    EXPECT_EQ(found, problems) << protocol::RenderText(report, "run_clock");
    for (std::size_t i = 1; i < run.events.size(); ++i)
      EXPECT_GE(run.events[i].ts, run.events[i - 1].ts) << run.events[i].type();
    EXPECT_EQ(run.receipt.FindString("startedAt"), FormatRfc3339(run.events.front().ts));
    EXPECT_EQ(run.receipt.FindString("endedAt"), FormatRfc3339(run.events.back().ts));
    return run;
  }
  // As the receipt says it; HTTP's Date has whole seconds, and the test may be held up.
  static void ExpectOffset(const FakePlane::Run& run, milliseconds want) {
    const json::Value* said = run.receipt.Find("runner")->Find("environment")->Find("clock");
    ASSERT_NE(said, nullptr);
    const json::Value* offset = said->Find("planeOffsetMs");
    ASSERT_NE(offset, nullptr);
    milliseconds off = milliseconds(offset->AsInteger().value_or(0)) - want;
    EXPECT_LT(std::chrono::abs(off), minutes(10)) << json::Write(*said);
  }
  MovableClock plane_clock_, runner_clock_;
  FakePlane plane_;
  RunnerWorld world_;
};

TEST_P(ClockOff, RunsAContractThatIsValidByThePlanesClockAndSaysTheOffset) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  Add(minutes(30));  // expired or not yet issued by the runner's own clock
  FakePlane::Run run = Finish();
  EXPECT_EQ(run.receipt.FindString("status"), "completed")
      << run.events.back().event.FindString("message").value_or("");
  ExpectOffset(run, GetParam());
}

TEST_P(ClockOff, RefusesAContractThatHasExpiredByThePlanesClock) {  // L1
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return Exited(0); });
  Add(minutes(-30));  // with a plane that is ahead: still valid by the runner's own clock
  // What this plane did - it gave out what had expired - is seen by whoever verifies, too.
  FakePlane::Run run = Finish({"contract.expired_at_claim"});
  EXPECT_EQ(run.receipt.FindString("status"), "failed");
  EXPECT_EQ(run.events.back().event.FindString("failure"), "policy_denied");
  EXPECT_NE(run.events.back().event.FindString("message").value_or("").find("expire"),
            std::string_view::npos);
  EXPECT_EQ(backend.prepared, 0);
  ExpectOffset(run, GetParam());
}

// L17: durations come from the monotonic hand.
TEST_P(ClockOff, KeepsTimeInOrderWhenTheRunnersClockJumpsWhileTheJobRuns) {
  world_.AddFake([this](FakeJobView& job) {
    runner_clock_.Move(-GetParam());
    job.Write("made.txt", "new\n");
    return Exited(0);
  });
  Add(minutes(30));
  FakePlane::Run run = Finish();
  EXPECT_EQ(run.receipt.FindString("status"), "completed");
  for (const protocol::Event& event : run.events)
    if (event.type() == "session.closed") {
      EXPECT_GT(event.event.Find("durationMs")->AsInteger().value_or(0), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(ByAnHour, ClockOff,
                         ::testing::Values(milliseconds(hours(1)), milliseconds(hours(-1))),
                         [](const auto& shift) {
                           return shift.param > milliseconds(0) ? "PlaneAhead" : "PlaneBehind";
                         });

}  // namespace
}  // namespace writ
