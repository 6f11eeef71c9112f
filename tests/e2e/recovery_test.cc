// What a dead runner left is brought to its end, and what the plane could not take goes out later.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "e2e/support/leased_world.h"
#include "e2e/support/runner_world.h"
#include "writ/base/file.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"
#include "writ/runner/journal.h"
#include "writ/runner/plane_client.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

class RecoveryTest : public ::testing::Test {
 protected:
  RecoveryTest() : plane_(clock_, FakePlane::Dialect::kExtended), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
    world_.config.call_timeout = std::chrono::milliseconds(2000);
    backend_ = &world_.AddFake([](FakeJobView& job) {
      job.Write("made.txt", "made\n");
      return Exited(0);
    });
  }
  void Add(const std::string& run_id) { plane_.Add(plane_.DraftOfTrue(run_id)); }
  // What a runner had done that then was killed: claimed and noted.
  struct Left {
    std::unique_ptr<runner::Journal> journal;
    std::unique_ptr<runner::RunJournal> note;
    protocol::EventChain chain{protocol::Digest()};
    std::string session;  // folder
  };
  Left Claim(const std::string& run_id) {
    Add(run_id);
    auto identity = runner::Enroll(world_.config, Secret("testkit-enroll-token"), clock_).value();
    auto plane = runner::PlaneClient::Open(world_.config.plane, clock_).value();
    auto claim = plane
                     .Claim(identity.token, "default", std::nullopt,
                            runner::Deadline::After(clock_, std::chrono::seconds(5)), {})
                     .value();
    Left left;
    left.journal = runner::OpenJournal(world_.config.state_dir, clock_).value();
    left.note =
        left.journal
            ->Begin({claim->run_id, claim->contract, claim->events, true, 0}, claim->claim_token)
            .value();
    left.chain =
        protocol::EventChain::FromEvents(protocol::HashWithout(claim->contract, "signatures"),
                                         protocol::Event::ParseAll(claim->events).value())
            .value();
    const std::string name = "s-" + protocol::Sha256(run_id).ToHex().substr(0, 24);
    left.session = world_.config.work_dir + "/sessions/" + name;
    std::filesystem::create_directories(left.session + "/private/out");
    EXPECT_TRUE(left.note->NoteSession(name, "fake"));
    return left;
  }
  // Collected: one log, stored under its hash.
  void Collect(Left& left, const std::string& log, const std::string& stored) {
    const protocol::Digest digest = protocol::Sha256(log);
    std::ofstream(left.session + "/private/out/" + digest.ToHex()) << stored;
    std::vector<protocol::Event> events{
        left.chain.Append(clock_.Now(), protocol::events::SessionClosed({}, 5))};
    const std::vector<runner::JournalUpload> uploads{
        {protocol::ArtifactKind::kLog, "session-log", digest, log.size(), false}};
    ASSERT_TRUE(left.note->NoteCollected(
        events, json::Object{{"blobs", true}, {"isolation", "process"}}, uploads));
  }
  void ExpectVerifies(const std::string& run_id) {
    EXPECT_EQ(plane_.Get(run_id).completions, 1);
    protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle(run_id));
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, run_id);
    // Removed beside what goes on.
    EXPECT_TRUE(test::Eventually([&] { return world_.Sessions().empty(); }));
  }
  void Restart() {
    world_.Close();
    world_.Open().Wait();
  }
  bool Finding(const std::string& run_id, const std::string& code) {
    for (const protocol::Event& event : plane_.Get(run_id).events)
      if (event.type() == "finding" && event.event.FindString("code") == code) return true;
    return false;
  }
  void AwaitCompletions(const std::string& run_id, int count) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (plane_.Get(run_id).completions < count && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    EXPECT_EQ(plane_.Get(run_id).completions, count);
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
  test::FakeBackend* backend_;
};

// L38
TEST_F(RecoveryTest, ClosesARunWithWhatIsKnownOfIt) {
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
  }
  Restart();
  EXPECT_EQ(backend_->recovered, 1);
  ExpectVerifies("run_dead");
  FakePlane::Run run = plane_.Get("run_dead");
  EXPECT_EQ(run.receipt.FindString("status"), "failed");
  EXPECT_EQ(run.events.back().event.FindString("failure"), "session_failed");
  EXPECT_TRUE(Finding("run_dead", "session.interrupted"));
  EXPECT_NE(run.events.back().event.FindString("message")->find("while its job was at work"),
            std::string_view::npos);
}

// L18, L38, L47: what it had printed is the log that its receipt names, and what held its job is
// told.
TEST_F(RecoveryTest, TheReceiptOfAKilledRunNamesWhatHeldItsJobAndWhatItHadPrinted) {
  const json::Value ending =
      json::Object{{"blobs", true},
                   {"isolation", "sandbox"},
                   {"environment", json::Object{{"tier", "sandbox"}, {"key", "software"}}}};
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStarted(ending));
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
    std::ofstream(left.session + "/private/live.log") << "printed\n";
    std::ofstream(left.session + "/private/live.stderr.log") << "warned\n";
  }
  Restart();
  AwaitCompletions("run_dead", 1);
  ExpectVerifies("run_dead");
  const json::Value receipt = plane_.Get("run_dead").receipt;
  EXPECT_EQ(receipt.FindString("status"), "failed");
  EXPECT_EQ(receipt.Find("runner")->FindString("isolation"), "sandbox");
  const json::Value* environment = receipt.Find("runner")->Find("environment");
  EXPECT_EQ(environment->FindString("tier"), "sandbox");
  EXPECT_NE(environment->Find("interrupted"), nullptr);
  EXPECT_EQ(environment->FindString("failureCode"), "session.interrupted");
  for (const char* printed : {"printed\n", "warned\n"}) {
    const std::string hash = protocol::Sha256(printed).ToHex();
    EXPECT_NE(json::Write(*receipt.Find("workspaceOut")).find(hash), std::string::npos);
    EXPECT_EQ(plane_.Blob(hash), printed);
  }
}

// L38: a run whose output may leave by its hash alone, or not at all, keeps to that.
TEST_F(RecoveryTest, TheOutputOfAKilledRunLeavesByItsDisclosureOnly) {
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStarted(json::Object{{"blobs", false}, {"isolation", "sandbox"}}));
    std::ofstream(left.session + "/private/live.log") << "printed\n";
  }
  Restart();
  AwaitCompletions("run_dead", 1);
  ExpectVerifies("run_dead");
  EXPECT_FALSE(plane_.HasBlob(protocol::Sha256("printed\n").ToHex()));
}

// L37, L47: what is left of a killed run is told in its receipt and in the counters, and no job is
// put beside it - not after its receipt is delivered, nor by the next start, until it is gone.
TEST_F(RecoveryTest, ASlotIsNotUsedWhileSomethingOfAKilledRunIsLeftInIt) {
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NotePrepared("7 1 boot 210000"));
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
  }
  backend_->left = {{"process", "pid 7 (sleep)"}};
  {
    runner::Engine& engine = world_.Open();
    ASSERT_TRUE(engine.Start());
    const std::string metrics = test::AskRunner(world_.config.state_dir, "/metrics");
    engine.Wait();  // it has no slot, so it leaves
    ASSERT_TRUE(engine.Trouble());
    EXPECT_EQ(engine.Trouble()->code, "runner.no_slot");
    EXPECT_NE(metrics.find("writ_runner_leaks_total 1\n"), std::string::npos) << metrics;
    EXPECT_NE(
        metrics.find("writ_runner_runs_total{status=\"failed\",failure=\"session_failed\"} 1"),
        std::string::npos)
        << metrics;
    EXPECT_NE(metrics.find("writ_runner_slots{state=\"out_of_service\"} 1"), std::string::npos)
        << metrics;
  }
  ExpectVerifies("run_dead");
  bool told = false;
  for (const protocol::Event& event : plane_.Get("run_dead").events)
    if (event.type() == "session.closed")
      told = json::Write(event.event).find("pid 7 (sleep)") != std::string::npos;
  EXPECT_TRUE(told);
  EXPECT_EQ(plane_.Get("run_dead").events.back().event.FindString("message")->find("ended with it"),
            std::string_view::npos);
  Add("run_next");
  world_.Close();
  auto refused = world_.Open().RunOnce(std::chrono::milliseconds(0));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "runner.no_slot");
  EXPECT_EQ(plane_.Get("run_next").completions, 0);
  world_.Close();
  backend_->left.clear();
  auto ran = world_.Open().RunOnce(std::chrono::milliseconds(0));
  ASSERT_TRUE(ran && *ran) << (ran ? "nothing" : ran.error().ToString());
  ExpectVerifies("run_next");
}

// L37: another slot may have the uid that the run had when its runner was configured otherwise.
TEST_F(RecoveryTest, ASlotWhoseUidIsThatOfALeftProcessIsNotUsed) {
  world_.config.slots = 4;
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
  }
  world_.config.uid_range = runner::UidRange{210'000, 16};
  backend_->left = {{"process", "processes"}};
  backend_->left_uid = 210'002;
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  EXPECT_NE(test::AskRunner(world_.config.state_dir, "/metrics")
                .find("writ_runner_slots{state=\"out_of_service\"} 2"),
            std::string::npos);  // its own, and the third
}

TEST_F(RecoveryTest, CountsTheRunsOfItsJournalAndNotThoseInWork) {
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
  }
  auto open = [&] {
    const std::string metrics = test::AskRunner(world_.config.state_dir, "/metrics");
    const std::string name = "writ_runner_journal_runs{state=\"open\"} ";
    const auto at = metrics.find(name);
    return at == std::string::npos ? "none" : metrics.substr(at + name.size(), 1);
  };
  ASSERT_TRUE(world_.Open().Start());
  EXPECT_EQ(open(), "0");  // closed: what is left of it waits, or is with the plane
  // One that another process left, as far as this one's journal goes.
  auto journal = runner::OpenJournal(world_.config.state_dir, clock_).value();
  ASSERT_TRUE(journal->Begin(
      {protocol::RunId::Parse("run_open").value(), json::Object{}, json::Array{}, true, 0},
      Secret("token")));
  EXPECT_EQ(open(), "1");
}

// L44
TEST_F(RecoveryTest, TheHookAfterARunIsToldOfOneThatADeadRunnerLeft) {
  const std::string path = world_.root() + "/after";
  std::ofstream(path) << "#!/bin/sh\ncat > \"$0.told\"\nexit 3\n";
  std::filesystem::permissions(path, std::filesystem::perms(0755));
  world_.config.hooks[runner::HookKind::kAfterRun] = {.path = path,
                                                      .failure = runner::HookFailure::kIgnore};
  {
    Left left = Claim("run_dead");
    ASSERT_TRUE(left.note->NoteStep("watch", runner::StepPhase::kBegun));
  }
  Restart();
  auto told = json::Parse(ReadFile(path + ".told", 1 << 16).value_or(""));
  ASSERT_TRUE(told);
  const json::Value* run = told->Find("run");
  ASSERT_NE(run, nullptr);
  EXPECT_EQ(run->FindString("runId"), "run_dead");
  EXPECT_EQ(run->FindString("code"), "session.interrupted");
  EXPECT_TRUE(*run->Find("recovered")->if_bool());
  ExpectVerifies("run_dead");  // it broke nothing
}

// L38
TEST_F(RecoveryTest, UploadsWhatADeadRunnerHadCollectedAndCompletesItsRun) {
  {
    Left left = Claim("run_collected");
    Collect(left, "the log\n", "the log\n");
  }
  Restart();
  ExpectVerifies("run_collected");
  EXPECT_EQ(plane_.Get("run_collected").receipt.FindString("status"), "completed");
  EXPECT_EQ(plane_.Blob(protocol::Sha256("the log\n").ToHex()), "the log\n");
}

// L15
TEST_F(RecoveryTest, NeverUploadsCollectedBytesThatHaveChangedSince) {
  {
    Left left = Claim("run_torn");
    Collect(left, "the log\n", "the lo");
  }
  Restart();
  ExpectVerifies("run_torn");
  EXPECT_EQ(plane_.Get("run_torn").events.back().event.FindString("failure"), "transfer_failed");
  EXPECT_FALSE(plane_.HasBlob(protocol::Sha256("the lo").ToHex()));
}

// What is of this process alone: no mapped file.
std::int64_t AnonymousKiB() {
  const std::string status = ReadFile("/proc/self/status", 1 << 16).value_or("");
  const auto at = status.find("RssAnon:");
  return at == std::string::npos ? -1 : std::strtoll(status.c_str() + at + 8, nullptr, 10);
}

// Issue 3, 6: streamed. One collected file may be 4 GiB.
TEST_F(RecoveryTest, HoldsNoCollectedFileInMemoryWhileItIsUploaded) {
  constexpr std::size_t kBytes = 64u << 20;
  {
    Left left = Claim("run_large");
    const std::string log(kBytes, 'x');
    Collect(left, log, log);
  }
  const std::int64_t before = AnonymousKiB();
  std::atomic<std::int64_t> while_asked{-1};
  plane_.SetFault(
      [&](const std::string& method, const std::string&) -> std::optional<FakePlane::Answer> {
        if (method == "HEAD") while_asked = AnonymousKiB();
        return std::nullopt;
      });
  Restart();
  AwaitCompletions("run_large", 1);
  ExpectVerifies("run_large");
  ASSERT_GT(before, 0);
  ASSERT_GT(while_asked, 0) << "it was not asked for";
  EXPECT_LT(while_asked - before, static_cast<std::int64_t>(kBytes / 1024 / 2));
}

TEST_F(RecoveryTest, TakesNoFolderForTheRunsThatItsJournalNamesWrongly) {
  const std::string other = world_.config.work_dir + "/sessions/somebody-elses";
  std::filesystem::create_directories(other);
  {
    Left left = Claim("run_wrong");
    ASSERT_TRUE(left.note->NoteSession("somebody-elses", "fake"));  // L13
  }
  Restart();
  EXPECT_TRUE(std::filesystem::exists(other));
  EXPECT_EQ(plane_.Get("run_wrong").completions, 1);
}

TEST_F(RecoveryTest, ReceiptsWaitForThePlaneAndGoOutInTheirOrderWithoutHoldingUpNewRuns) {
  std::mutex mutex;
  std::vector<std::string> completed;
  bool down = true;
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (!path.ends_with("/complete")) return std::nullopt;
        std::lock_guard lock(mutex);
        if (down) return FakePlane::Answer{503, "{\"error\":\"busy\"}"};
        completed.push_back(path.substr(9, path.size() - 18));
        return std::nullopt;
      });
  world_.config.call_timeout = std::chrono::milliseconds(300);
  const std::vector<std::string> runs{"run_1", "run_2", "run_3"};
  for (const std::string& run : runs) {
    Add(run);
    auto ran = world_.Open().RunOnce(std::chrono::milliseconds(0));
    ASSERT_TRUE(ran && *ran);
    EXPECT_EQ(**ran, run);
  }
  EXPECT_EQ(backend_->prepared, 3);  // none waited for the one before it
  EXPECT_EQ(runner::ListKeptReceipts(world_.config.state_dir)->size(), 3u);
  EXPECT_NE(world_.observer.steps().find("waiting"), std::string::npos);
  {
    std::lock_guard lock(mutex);
    down = false;
  }
  AwaitCompletions("run_3", 1);
  {
    std::lock_guard lock(mutex);
    // On a busy host an answer comes after its time-out, and the same is told again.
    completed.erase(std::unique(completed.begin(), completed.end()), completed.end());
    EXPECT_EQ(completed, runs);
  }
  world_.Close();
  EXPECT_TRUE(runner::ListKeptReceipts(world_.config.state_dir)->empty());
  for (const std::string& run : runs) ExpectVerifies(run);
}

TEST_F(RecoveryTest, ParksTheBundleOfARunThatThePlaneHasForgotten) {
  plane_.SetFault(
      [](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/complete"))
          return FakePlane::Answer{404, "{\"error\":\"no such run\"}"};
        return std::nullopt;
      });
  Add("run_forgotten");
  ASSERT_TRUE(world_.RunOne());
  const auto kept = runner::ListKeptReceipts(world_.config.state_dir).value();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_TRUE(kept[0].parked);
  Restart();  // and is not taken up again
  EXPECT_EQ(runner::ListKeptReceipts(world_.config.state_dir)->size(), 1u);
  EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
}

}  // namespace
}  // namespace writ
