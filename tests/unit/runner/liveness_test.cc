#include "engine/liveness.h"

#include <gtest/gtest.h>

namespace writ::runner {
namespace {

using std::chrono::seconds;

TEST(Liveness, NamesALoopThatIsSilentPastItsTimeAndNoOther) {
  ManualClock clock{WallTime{0}};
  Liveness liveness(clock);
  Liveness::Beat first = liveness.Register("slot loop 0");
  Liveness::Beat second = liveness.Register("lease of run_1");
  EXPECT_FALSE(liveness.Stuck());  // one that has said nothing yet is not judged
  first.Within(seconds(10), "claiming");
  second.Within(seconds(100), "renewing");
  clock.Advance(seconds(10));
  EXPECT_FALSE(liveness.Stuck());
  clock.Advance(seconds(5));
  ASSERT_TRUE(liveness.Stuck());
  EXPECT_EQ(*liveness.Stuck(), "slot loop 0 (claiming) is 5000 ms late");
  first.Within(seconds(10), "claiming");
  EXPECT_FALSE(liveness.Stuck());
}

TEST(Liveness, DoesNotJudgeWhoWaitsForWorkOrHasGone) {
  ManualClock clock{WallTime{0}};
  Liveness liveness(clock);
  Liveness::Beat waiting = liveness.Register("slot loop 0");
  waiting.Within(seconds(1), "claiming");
  waiting.Pause();
  {
    Liveness::Beat gone = liveness.Register("run run_1");
    gone.Within(seconds(1), "watching the job");
    Liveness::Beat moved = std::move(gone);
  }
  clock.Advance(seconds(1000));
  EXPECT_FALSE(liveness.Stuck());
}

// Only the monotonic hand counts.
TEST(Liveness, DoesNotCareForAWallClockThatJumps) {
  ManualClock clock{WallTime{0}};
  Liveness liveness(clock);
  Liveness::Beat beat = liveness.Register("slot loop 0");
  beat.Within(seconds(10), "claiming");
  clock.SetWall(WallTime{1'000'000'000'000});
  EXPECT_FALSE(liveness.Stuck());
}

}  // namespace
}  // namespace writ::runner
