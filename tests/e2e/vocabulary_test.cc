// Which words a runner uses towards a plane is asked before the first claim, and a plane in trouble
// is never taken for one without the extension (L4, L40).
#include <atomic>
#include <condition_variable>
#include <set>

#include "e2e/support/leased_world.h"
#include "writ/base/log.h"

namespace writ {
namespace {

using std::chrono::milliseconds;
using test::Eventually;
using test::FakePlane;

struct BadHealth {
  const char* name;
  int status;
  const char* body;
  const char* type;
};

constexpr BadHealth kBad[] = {
    {"AnError", 500, "oops", "text/plain"},
    {"Busy", 503, R"({"error":"later"})", "application/json"},
    {"AWebPage", 200, "<html>sign in</html>", "text/html"},
    {"NoJson", 200, "{\"ok\":tr", "application/json"},
    {"AnotherShape", 200, R"({"status":"up"})", "application/json"},
    {"AnotherList", 200, R"({"ok":true,"extensions":"writ.1"})", "application/json"},
};

std::size_t Count(const std::string& text, const std::string& words) {
  std::size_t count = 0;
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1))
    ++count;
  return count;
}

class Vocabulary : public test::LeasedWorld {
 protected:
  // Before `end_trouble` nothing is claimed; afterwards the run is a leased one.
  void ExpectNothingIsClaimedBefore(const std::function<void()>& end_trouble) {
    world_.AddFake([](test::FakeJobView&) { return test::Exited(0); });
    plane_.Add(Draft("run_v"));
    runner::Engine& engine = world_.Open();
    log::Configure(log::Level::kInfo, log::Format::kText);
    ::testing::internal::CaptureStderr();
    ASSERT_TRUE(engine.Start());
    EXPECT_TRUE(Eventually([&] { return plane_.Calls("GET /v1/health") >= 3; }));
    EXPECT_EQ(plane_.Calls("POST /v1/claims"), 0);
    end_trouble();
    EXPECT_TRUE(Eventually([&] { return plane_.Get("run_v").completions == 1; }));
    engine.RequestStop(runner::StopMode::kDrain);
    engine.Wait();
    const std::string log = ::testing::internal::GetCapturedStderr();
    log::Configure(log::Level::kWarn, log::Format::kText);
    EXPECT_EQ(Count(log, "info runner.vocabulary:"), 1u) << log;
    ExpectOneGoodReceipt("run_v", "completed");
    const FakePlane::Run run = plane_.Get("run_v");
    EXPECT_EQ(run.acknowledgements, 1);
    EXPECT_GT(run.renewals, 0);
    EXPECT_NE(run.receipt.Find("runner")->Find("environment"), nullptr);
  }
};

class VocabularyOfAPlaneInTrouble : public Vocabulary,
                                    public ::testing::WithParamInterface<BadHealth> {};

TEST_P(VocabularyOfAPlaneInTrouble, IsNotKnownAndNothingIsClaimed) {
  std::atomic<bool> trouble{true};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (!trouble || path != "/v1/health") return std::nullopt;
        return FakePlane::Answer{GetParam().status, GetParam().body, GetParam().type};
      });
  world_.config.call_timeout = milliseconds(1'000);
  ExpectNothingIsClaimedBefore([&] { trouble = false; });
}

INSTANTIATE_TEST_SUITE_P(EachAnswer, VocabularyOfAPlaneInTrouble, ::testing::ValuesIn(kBad),
                         [](const auto& bad) { return std::string(bad.param.name); });

TEST_F(Vocabulary, OfAPlaneThatDoesNotAnswerInTimeIsNotKnownAndNothingIsClaimed) {
  std::mutex mutex;
  std::condition_variable wake;
  bool released = false;
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        std::unique_lock lock(mutex);
        if (path == "/v1/health") wake.wait(lock, [&] { return released; });
        return std::nullopt;
      });
  world_.config.call_timeout = milliseconds(1'000);
  ExpectNothingIsClaimedBefore([&] {
    std::lock_guard lock(mutex);
    released = true;
    wake.notify_all();
  });
}

// A plane without the extension: it has no list, or not even the call.
class VocabularyOfABasePlane : public ::testing::TestWithParam<bool> {
 protected:
  SystemClock clock_;
  FakePlane plane_{clock_, FakePlane::Dialect::kBase};
  test::RunnerWorld world_{plane_, clock_};
};

TEST_P(VocabularyOfABasePlane, IsTheBaseOneAndTheLogSaysItOnce) {
  FakePlane::LoadRecordedBlobs(plane_);
  if (GetParam())
    plane_.SetFault([](const std::string&,
                       const std::string& path) -> std::optional<FakePlane::Answer> {
      return path == "/v1/health" ? std::optional(FakePlane::Answer{404, R"({"error":"no route"})"})
                                  : std::nullopt;
    });
  world_.AddFake([](test::FakeJobView&) { return test::Exited(0); });
  // L4: what can have no effect is said.
  world_.config.plane_lost = {runner::PlaneLost::Policy::kStop, milliseconds(60'000)};
  ::testing::internal::CaptureStderr();
  for (const char* run : {"run_1", "run_2"}) {
    plane_.Add(plane_.DraftOfTrue(run));
    EXPECT_TRUE(world_.RunOne());
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(Count(log, "warn runner.vocabulary:"), 1u) << log;
  EXPECT_EQ(Count(log, "warn lease.none:"), 2u) << log;  // once a run
  EXPECT_EQ(plane_.Get("run_2").completions, 1);
  EXPECT_EQ(plane_.violations(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutTheCall, VocabularyOfABasePlane, ::testing::Bool());

// Runners whose calls began together end them apart.
TEST_F(Vocabulary, OfALongPollHasADurationThatIsNeverTheSameForLong) {
  world_.AddFake([](test::FakeJobView&) { return test::Exited(0); });
  world_.config.long_poll = milliseconds(20'000);
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(Eventually([&] { return plane_.waits().size() > 8; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  const std::vector<std::int64_t> waits = plane_.waits();
  EXPECT_GT(std::set<std::int64_t>(waits.begin(), waits.end()).size(), 2u);
  for (std::int64_t wait : waits) {
    EXPECT_GE(wait, 10'000);
    EXPECT_LE(wait, 20'000);
  }
}

}  // namespace
}  // namespace writ
