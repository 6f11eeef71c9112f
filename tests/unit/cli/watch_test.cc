// A run is watched over a plane that fails, restarts and stays away (L18, L19, L43).
#include "watch.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "scripted_requester.h"

namespace writ::cli {
namespace {

using namespace std::chrono_literals;
using test::ScriptedRequester;

const Error kBusy{ErrorKind::kUnavailable, "plane.error", "the plane answers 503", ""};
const Error kLater{ErrorKind::kOverloaded, "rate_limited", "the plane answers 429", ""};
const Error kRefused{ErrorKind::kUnavailable, "plane.unreachable", "connection refused", ""};
const Error kNoSuchCall{ErrorKind::kNotFound, "not_found", "no such call", ""};

struct Watched {
  int code = 0;
  std::string out, err;
};

Watched Follow(ScriptedRequester& plane, const WatchOptions& options = {}, Context context = {}) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  SystemClock clock;
  Watched out;
  out.code = WatchRun(context, plane, clock, "run_1", options);
  out.err = testing::internal::GetCapturedStderr();
  out.out = testing::internal::GetCapturedStdout();
  return out;
}

std::string Lines(std::string_view name, int count) {
  std::string out;
  for (int i = 1; i <= count; ++i) out += std::string(name) + " line " + std::to_string(i) + "\n";
  return out;
}

ScriptedRequester PlaneWith(const std::string& output) {
  ScriptedRequester plane;
  plane.live = plane.log = output;
  return plane;
}

int Count(const std::string& text, std::string_view words) {
  int count = 0;
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1))
    ++count;
  return count;
}

TEST(WatchRun, OfARunThatNobodyClaimedNamesTheFarPlanesRunners) {
  ScriptedRequester plane = PlaneWith("");
  plane.end = plane::RunState::kFailed;
  plane.shows_receipt = false;
  plane.fault = [](const std::string& call, int) -> std::optional<Error> {
    if (call == "bundle") return Error{ErrorKind::kNotFound, "run.no_receipt", "none", ""};
    return std::nullopt;
  };
  const Watched watched = Follow(plane, {.next = {.access = " --plane X", .repository = ""}});
  EXPECT_EQ(watched.code, kFailed);
  EXPECT_NE(watched.err.find("writ runners --plane X"), std::string::npos) << watched.err;
}

TEST(WatchRun, LosesNothingWhereOnlyTheOutputFailsForAWhile) {  // L18
  for (const Error& error : {kBusy, kLater}) {
    ScriptedRequester plane = PlaneWith(Lines("out", 12));
    plane.fault = [&](const std::string& call, int nth) -> std::optional<Error> {
      if (call == "log" && nth >= 4 && nth < 8) return error;
      return std::nullopt;
    };
    const Watched seen = Follow(plane);
    EXPECT_EQ(seen.code, 0);
    EXPECT_EQ(seen.out, plane.live);
    EXPECT_EQ(Count(seen.err, "-- plane away, trying again"), 1) << seen.err;
    EXPECT_EQ(Count(seen.err, "-- the plane answers again"), 1) << seen.err;
    EXPECT_EQ(Count(seen.err, "not whole"), 0) << seen.err;
  }
}

TEST(WatchRun, GoesOnWhereItWasWhenThePlaneIsBackInBothStreams) {  // L18
  for (const bool shows_contract : {true, false}) {
    ScriptedRequester plane = PlaneWith(Lines("out", 30));
    plane.live_err = plane.log_err = Lines("err", 20);
    plane.stderr_apart = true;
    plane.shows_contract = shows_contract;
    int away = 0;
    plane.fault = [&](const std::string& call, int nth) -> std::optional<Error> {
      if (call == "log" && nth == 10) away = 7;
      if (away == 0) return std::nullopt;
      --away;
      return kRefused;
    };
    const Watched seen = Follow(plane);
    EXPECT_EQ(seen.code, 0);
    EXPECT_EQ(seen.out, plane.live);
    std::string err = seen.err;  // notes stand between the pieces; without them it is the stream
    for (std::size_t at = err.find("-- "); at != std::string::npos; at = err.find("-- "))
      err.erase(at, err.find('\n', at) + 1 - at);
    err.erase(err.find("receipt: "));
    EXPECT_EQ(err, plane.live_err);
    EXPECT_EQ(Count(seen.err, "-- plane away"), 1) << seen.err;
  }
}

TEST(WatchRun, APlaneThatStaysAwayEndsTheWatchingAndNotTheRun) {  // L19, L43
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.fault = [](const std::string& call, int nth) -> std::optional<Error> {
    if (call == "log" ? nth >= 3 : nth >= 2) return kRefused;
    return std::nullopt;
  };
  const Watched seen =
      Follow(plane, {.next = {.access = " --plane X", .repository = ""}, .reconnect = 300ms});
  EXPECT_EQ(seen.code, kPlaneUnreachable);
  EXPECT_EQ(seen.out, plane.live.substr(0, seen.out.size()));
  EXPECT_NE(seen.err.find("[plane.away]"), std::string::npos) << seen.err;
  EXPECT_NE(seen.err.find("connection refused [plane.unreachable]"), std::string::npos);
  EXPECT_NE(seen.err.find("hint: the run goes on without its watcher"), std::string::npos);
  EXPECT_NE(seen.err.find("writ watch run_1 --plane X"), std::string::npos) << seen.err;
  EXPECT_EQ(Count(seen.err, "plane.away"), 1);  // once
}

TEST(WatchRun, TakesFromTheLogWhatThePlaneNeverGotLive) {  // L18
  for (const std::string& had : {std::string(), Lines("out", 3), Lines("out", 4) + "out li"}) {
    ScriptedRequester plane = PlaneWith(Lines("out", 12));
    plane.live = had;
    plane.fault = [](const std::string& call, int nth) -> std::optional<Error> {
      if (call == "blob" && nth < 3) return kBusy;
      return std::nullopt;
    };
    const Watched seen = Follow(plane);
    EXPECT_EQ(seen.code, 0);
    EXPECT_EQ(seen.out, plane.log) << had;
  }
}

TEST(WatchRun, TakesFromTheLogsOfTwoStreamsTheRestOfEach) {
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.log_err = Lines("err", 5);
  plane.stderr_apart = true;
  plane.live = Lines("out", 2);
  EXPECT_EQ(Follow(plane).out, plane.log);
  plane = PlaneWith("");
  plane.log_err = Lines("err", 5);
  plane.live_err = Lines("err", 2);
  plane.stderr_apart = true;
  const Watched seen = Follow(plane);
  EXPECT_EQ(seen.out, "");
  EXPECT_EQ(Count(seen.err, "err line"), 5) << seen.err;
}

TEST(WatchRun, SaysThatOutputIsMissingWhereTheRestCannotBeHad) {  // L43
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.live = Lines("out", 3);
  plane.keeps_blobs = false;
  Watched seen = Follow(plane);
  EXPECT_EQ(seen.code, 0);  // the run's
  EXPECT_EQ(seen.out, plane.live);
  EXPECT_NE(seen.err.find("the output above is not whole"), std::string::npos) << seen.err;
  EXPECT_NE(seen.err.find("writ artifacts run_1 --log"), std::string::npos) << seen.err;

  plane = PlaneWith("gone\n");  // an output that is not the log's beginning is no part of it
  plane.log = Lines("out", 12);
  seen = Follow(plane);
  EXPECT_EQ(seen.out, "gone\n");
  EXPECT_NE(seen.err.find("the output above is not whole"), std::string::npos) << seen.err;
}

TEST(WatchRun, OfAPlaneWithoutLiveOutputShowsTheLog) {
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.live = "";
  plane.fault = [](const std::string& call, int) -> std::optional<Error> {
    if (call == "log") return kNoSuchCall;
    return std::nullopt;
  };
  const Watched seen = Follow(plane);
  EXPECT_EQ(seen.out, plane.log);
  EXPECT_EQ(plane.calls["log"], 1);  // a refusal is not asked again
  EXPECT_EQ(Count(seen.err, "away"), 0) << seen.err;
}

TEST(WatchRun, TellsInItsJsonHowLongThePlaneWasAway) {
  ScriptedRequester plane = PlaneWith(Lines("out", 2));
  plane.fault = [](const std::string& call, int nth) -> std::optional<Error> {
    if (call == "run" && nth >= 1 && nth < 4) return kBusy;
    return std::nullopt;
  };
  Context context;
  context.json = true;
  const Watched seen = Follow(plane, {}, context);
  auto value = json::Parse(seen.out);
  ASSERT_TRUE(value) << seen.out;
  EXPECT_EQ(value->FindString("status"), "completed");
  ASSERT_NE(value->Find("planeAwayMs"), nullptr) << seen.out;
  EXPECT_GT(value->Find("planeAwayMs")->AsInteger(), 0);
}

TEST(WatchRun, CtrlCLeavesARunWhosePlaneIsAway) {
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.fault = [](const std::string& call, int nth) -> std::optional<Error> {
    if (nth < 2) return std::nullopt;
    if (call == "run" && nth == 4) ::raise(SIGINT);
    return kRefused;
  };
  const Watched seen = Follow(plane);
  EXPECT_EQ(seen.code, 128 + SIGINT);
  EXPECT_NE(seen.err.find("-- no longer watched; the run goes on"), std::string::npos) << seen.err;
}

TEST(WatchRun, ACancellationIsSentAgainUntilThePlaneHasTakenIt) {
  ScriptedRequester plane = PlaneWith(Lines("out", 12));
  plane.fault = [&](const std::string& call, int nth) -> std::optional<Error> {
    if (call == "cancel") return nth < 3 ? std::optional(kRefused) : std::nullopt;
    if (call == "run" && nth == 3) ::raise(SIGINT);
    if (call == "log" && nth >= 2 && !plane.cancelled) return kRefused;  // else the run would end
    if (nth >= 2 && nth < 6) return kRefused;
    return std::nullopt;
  };
  const Watched seen = Follow(plane, {.on_interrupt = OnInterrupt::kCancelRun});
  EXPECT_TRUE(plane.cancelled);
  EXPECT_EQ(plane.calls["cancel"], 4);
  EXPECT_EQ(seen.code, kRunCancelled);
}

// The failure of a run is told in the same way wherever it ran (L43).
TEST(WatchRun, TellsTheCodeAndTheMendOfAFarRunsFailure) {
  for (const bool shows_receipt : {true, false}) {
    ScriptedRequester plane = PlaneWith("out\n");
    plane.shows_contract = plane.shows_receipt = shows_receipt;
    plane.end = plane::RunState::kFailed;
    plane.receipt =
        R"({"runner":{"environment":{"failureCode":"some.code","failureMend":"do that"}}})";
    const Watched seen = Follow(plane);
    EXPECT_EQ(seen.code, kFailed);
    EXPECT_NE(seen.err.find("[some.code]"), std::string::npos) << seen.err;
    EXPECT_NE(seen.err.find("hint: do that"), std::string::npos) << seen.err;
    EXPECT_NE(seen.err.find("receipt: writ"), std::string::npos) << seen.err;
  }
}

TEST(WatchRun, TheEndIsToldWithoutABundleToo) {
  ScriptedRequester plane = PlaneWith("out\n");
  plane.shows_contract = plane.shows_receipt = false;
  plane.fault = [](const std::string& call, int) -> std::optional<Error> {
    return call == "bundle" ? std::optional(kRefused) : std::nullopt;
  };
  EXPECT_EQ(Follow(plane).code, kDone);
}

}  // namespace
}  // namespace writ::cli
