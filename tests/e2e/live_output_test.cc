// Live output at the plane: byte for byte, whatever calls fail in between (L18).
#include <set>
#include <sstream>

#include "e2e/support/leased_world.h"
#include "e2e/support/slow_link.h"

namespace writ {
namespace {

using test::Eventually;
using test::FakeJobView;
using test::FakePlane;

using LiveOutputTest = test::LeasedWorld;

// Every byte value, no period that a lost piece could hide in.
std::string Pattern(std::size_t bytes) {
  std::string out(bytes, '\0');
  std::uint32_t state = 12345;
  for (char& c : out) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return out;
}

TEST_F(LiveOutputTest, IsSentAgainFromWhereThePlaneStandsAfterFailedCalls) {
  const std::string output = Pattern(1'500'000);
  std::atomic<int> calls{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/log") && ++calls % 3 == 0) return FakePlane::Answer{503, "{}"};
        return std::nullopt;
      });
  world_.AddFake([&](FakeJobView& job) {
    for (std::size_t at = 0; at < output.size(); at += 100'000)
      job.Print(std::string_view(output).substr(at, 100'000));
    (void)gate_.Pass(job.stop);
    return test::Exited(0);
  });
  plane_.Add(Draft("run_live"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.max_runs = 1}));
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_live").log.size() == output.size(); }));
  EXPECT_TRUE(plane_.Get("run_live").log == output);
  gate_.Open();
  engine.Wait();
  ExpectOneGoodReceipt("run_live", "completed");
}

// A plane restored from an older copy has less than it said it had.
TEST_F(LiveOutputTest, FillsTheGapOfAPlaneThatHasLostSome) {
  const std::string output = Pattern(600'000);
  test::JobGate more;
  world_.AddFake([&](FakeJobView& job) {
    job.Print(std::string_view(output).substr(0, 400'000));
    (void)more.Pass(job.stop);
    job.Print(std::string_view(output).substr(400'000));
    (void)gate_.Pass(job.stop);
    return test::Exited(0);
  });
  plane_.Add(Draft("run_gap"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.max_runs = 1}));
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_gap").log.size() == 400'000; }));
  plane_.CutLog("run_gap", 123'457);
  more.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_gap").log.size() == output.size(); }));
  EXPECT_TRUE(plane_.Get("run_gap").log == output);
  gate_.Open();
  engine.Wait();
}

TEST_F(LiveOutputTest, KeepsStderrApartWhereTheContractCapturesItByItself) {
  const std::string output = Pattern(400'000);
  std::atomic<int> calls{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/log") && ++calls % 2 == 0) return FakePlane::Answer{503, "{}"};
        return std::nullopt;
      });
  world_.AddFake([&](FakeJobView& job) {
    job.Print(output);
    job.sink->OnOutput(backends::Stream::kStderr, "only this\n", std::chrono::nanoseconds(1));
    (void)gate_.Pass(job.stop);
    return test::Exited(0);
  });
  protocol::Contract draft = Draft("run_streams");
  draft.execution->log.emplace().stderr_mode = protocol::StderrMode::kCapture;
  plane_.Add(std::move(draft));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start({.max_runs = 1}));
  ASSERT_TRUE(Eventually([&] {
    const FakePlane::Run run = plane_.Get("run_streams");
    return run.log.size() == output.size() && run.stderr_log == "only this\n";
  }));
  EXPECT_TRUE(plane_.Get("run_streams").log == output);
  gate_.Open();
  engine.Wait();
  ExpectOneGoodReceipt("run_streams", "completed");
}

TEST_F(LiveOutputTest, EndsForAPlaneWhosePlaceInItCannotBeAndTheRunGoesOn) {
  for (const char* answer : {R"({"nextOffset":99999999})", R"({"nextOffset":-1})",
                             R"({"nextOffset":"12"})", R"({"nextOffset":0})"}) {
    SCOPED_TRACE(answer);
    FakePlane plane(clock_, FakePlane::Dialect::kLeased);
    FakePlane::LoadRecordedBlobs(plane);
    test::RunnerWorld world(plane, clock_);
    std::atomic<int> calls{0};
    plane.SetFault(
        [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
          if (!path.ends_with("/log")) return std::nullopt;
          ++calls;
          return FakePlane::Answer{409, answer};
        });
    world.AddFake([&](FakeJobView& job) {
      job.Print("some output\n");
      EXPECT_TRUE(Eventually([&] { return calls > 0; }));
      return test::Exited(0);
    });
    plane.Add(Draft("run_odd"));
    ASSERT_TRUE(world.RunOne());
    EXPECT_EQ(plane.Get("run_odd").completions, 1);
    EXPECT_LE(calls, 20);
  }
}

// For those who watch from afar: what takes more than a second is told while it lasts.
TEST_F(LiveOutputTest, LongTransfersAreToldInAStreamOfTheirOwn) {
  // The recorded blobs come in pieces, and the answers to uploads drip.
  test::SlowLink link(plane_.url(), [](const std::string& line) {
    if (line.starts_with("GET /v1/blobs/"))
      return test::SlowLink::Pace{64, std::chrono::milliseconds(200)};
    if (line.starts_with("POST /v1/blobs"))
      return test::SlowLink::Pace{16, std::chrono::milliseconds(150)};
    return test::SlowLink::Pace{};
  });
  world_.config.plane.url = link.url();
  world_.AddFake([](FakeJobView& job) {
    job.Write("made.txt", "new\n");
    return test::Exited(0);
  });
  plane_.Add(Draft("run_far"));
  ASSERT_TRUE(world_.RunOne());
  world_.Close();  // before the link goes
  ExpectOneGoodReceipt("run_far", "completed");
  std::set<std::string> phases;
  std::istringstream lines(plane_.Get("run_far").progress);
  for (std::string line; std::getline(lines, line);) {
    Result<json::Value> told = json::Parse(line);
    ASSERT_TRUE(told) << line;
    phases.emplace(told->FindString("phase").value_or(""));
    EXPECT_GT(told->Find("bytes")->AsInteger().value_or(0), 0) << line;
    EXPECT_GT(told->Find("files")->AsInteger().value_or(-1), -1) << line;
  }
  EXPECT_EQ(phases, (std::set<std::string>{"fetching", "uploading"}));
  EXPECT_EQ(plane_.Get("run_far").log, "");
}

TEST_F(LiveOutputTest, DoesNotLeaveTheRunnerWhereTheContractDisclosesNoLogs) {
  for (auto disclosure : {protocol::Disclosure::kNone, protocol::Disclosure::kMetadataOnly}) {
    const std::string run_id =
        "run_" + std::to_string(disclosure == protocol::Disclosure::kNone ? 1 : 2);
    FakePlane plane(clock_, FakePlane::Dialect::kLeased);
    FakePlane::LoadRecordedBlobs(plane);
    test::RunnerWorld world(plane, clock_);
    world.AddFake([](FakeJobView& job) {
      job.Print("what nobody may see\n");
      return test::Exited(0);
    });
    protocol::Contract draft = Draft(run_id);
    draft.disclosure = disclosure;
    plane.Add(std::move(draft));
    ASSERT_TRUE(world.RunOne());
    EXPECT_EQ(plane.Get(run_id).completions, 1);
    EXPECT_EQ(plane.Calls("POST /v1/runs/" + run_id + "/log"), 0);
  }
}

}  // namespace
}  // namespace writ
