// The journal: what it tells after a kill, what it refuses, what it survives.
#include "writ/runner/journal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "journal/schema.h"
#include "writ/base/sqlite/database.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

using sqlite::Database;

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-journal-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    journal_ = OpenJournal(dir_, clock_).value();
    journal_->UseKeys({"plane-key", "runner-key"});
  }
  ~JournalTest() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<RunJournal> Begin(Journal& journal, const std::string& run) {
    protocol::EventChain chain(protocol::Sha256("contract"));
    json::Array events{chain.Append(clock_.Now(), protocol::events::RunCreated()).ToJson()};
    return journal
        .Begin({protocol::RunId::Parse(run).value(), json::Object{{"version", "x"}},
                std::move(events), true, 3},
               Secret("claim-token"))
        .value();
  }
  std::unique_ptr<RunJournal> Begin(const std::string& run) { return Begin(*journal_, run); }
  // The runner's one event behind that of Begin.
  std::vector<protocol::Event> OurEvents() {
    protocol::EventChain chain(protocol::Sha256("contract"));
    (void)chain.Append(clock_.Now(), protocol::events::RunCreated());
    return {chain.Append(clock_.Now(), protocol::events::RunCompleted())};
  }
  static json::Value Receipt() { return json::Object{{"status", "completed"}}; }
  std::string Path() const { return dir_ + "/journal/journal.db"; }
  void Change(const char* sql) {
    auto db = Database::Open(Path(), Database::Mode::kReadWrite);
    ASSERT_TRUE(db);
    ASSERT_TRUE((*db)->Exec(sql));
  }
  std::string dir_;
  SystemClock clock_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalTest, TellsWhatWasNotedAboutAnOpenRunAndNothingOfAClosedOne) {
  std::unique_ptr<RunJournal> open = Begin("run_open");
  ASSERT_TRUE(Begin("run_closed")->Close());
  const protocol::Digest digest = protocol::Sha256("diff");
  const std::vector<JournalUpload> uploads = {
      {protocol::ArtifactKind::kDiff, "code-diff", digest, 4, false},
      {protocol::ArtifactKind::kLog, "session-log", protocol::Sha256("log"), 3, false}};
  ASSERT_TRUE(open->NoteSession("s-1", "process"));
  ASSERT_TRUE(open->NotePrepared("7 1 boot 2001"));
  ASSERT_TRUE(open->NoteStarted(json::Object{{"isolation", "sandbox"}}));
  ASSERT_TRUE(open->NoteStep("started", StepPhase::kDone));
  ASSERT_TRUE(open->NoteOutput(42));
  ASSERT_TRUE(open->NoteToken(Secret("renewed-token")));
  ASSERT_TRUE(open->NoteCollected({}, json::Object{{"status", "completed"}}, uploads));
  ASSERT_TRUE(open->NoteUploaded(digest));
  ASSERT_TRUE(open->NoteReceipt(Receipt()));
  ASSERT_TRUE(open->NoteEvents(OurEvents(), ChainDelivery{1, 2}));
  std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 1u);
  const OpenRun& run = runs[0];
  EXPECT_EQ(run.claim.run_id.text(), "run_open");
  EXPECT_TRUE(run.claim.extended);
  EXPECT_FALSE(run.claim.offered);
  EXPECT_EQ(run.claim.slot, 3u);
  EXPECT_EQ(run.claim_token.Reveal(), "renewed-token");
  ASSERT_EQ(run.events.size(), 2u);
  EXPECT_EQ(run.events[1].type(), "run.completed");
  EXPECT_EQ(run.delivery, (ChainDelivery{1, 2}));
  EXPECT_EQ(run.place.backend, "process");
  EXPECT_EQ(run.place.session_name, "s-1");
  EXPECT_EQ(run.place.leftovers, "7 1 boot 2001");
  EXPECT_EQ(run.place.slot, 3u);
  EXPECT_EQ(run.started->FindString("isolation"), "sandbox");
  EXPECT_EQ(run.step, "started");
  EXPECT_EQ(run.step_phase, StepPhase::kDone);
  EXPECT_EQ(run.output_bytes, 42u);
  ASSERT_EQ(run.uploads.size(), 2u);
  EXPECT_EQ(run.uploads[0].digest, digest);
  EXPECT_TRUE(run.uploads[0].uploaded);
  EXPECT_FALSE(run.uploads[1].uploaded);
  EXPECT_EQ(run.ending->FindString("status"), "completed");
  EXPECT_EQ(run.receipt->FindString("status"), "completed");
}

TEST_F(JournalTest, IsClosedToOthers) {
  struct stat info {};
  ASSERT_EQ(stat((dir_ + "/journal").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(JournalTest, AnAcknowledgedOfferHasThePlanesWholeChain) {
  protocol::EventChain chain(protocol::Sha256("contract"));
  json::Array offered{chain.Append(clock_.Now(), protocol::events::RunCreated()).ToJson()};
  auto note = journal_->Begin(
      {protocol::RunId::Parse("run_offer").value(), json::Object{}, offered, true, 0, true},
      Secret("claim-token"));
  ASSERT_TRUE(note);
  EXPECT_TRUE(journal_->FindOpen()->front().claim.offered);
  json::Array whole = offered;
  whole.push_back(chain.Append(clock_.Now(), protocol::events::RunCompleted()).ToJson());
  ASSERT_TRUE((*note)->NoteAcknowledged(whole));
  const std::vector<OpenRun> runs = journal_->FindOpen().value();
  EXPECT_FALSE(runs[0].claim.offered);
  EXPECT_EQ(runs[0].events.size(), 2u);
  EXPECT_EQ(runs[0].delivery.sent, 2u);
}

// L38: every note that returned is there after a kill, in the order of the claims.
TEST_F(JournalTest, KeepsEachNoteThatReturnedWhenItsProcessIsKilled) {
  journal_.reset();
  pid_t child = fork();
  if (child == 0) {
    auto journal = OpenJournal(dir_, clock_);
    if (!journal) _exit(1);
    auto second = Begin(**journal, "run_b");
    auto first = Begin(**journal, "run_a");
    if (!first->NoteStep("planned", StepPhase::kBegun)) _exit(2);
    if (!second->NoteEvents(OurEvents(), ChainDelivery{1, 2})) _exit(3);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  journal_ = OpenJournal(dir_, clock_).value();
  std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].claim.run_id.text(), "run_b");
  EXPECT_EQ(runs[0].events.size(), 2u);
  EXPECT_EQ(runs[1].step, "planned");
}

TEST_F(JournalTest, BeginsARunAfreshThatThePlaneGivesAgain) {
  std::unique_ptr<RunJournal> first = Begin("run_again");
  ASSERT_TRUE(first->NoteEvents(OurEvents(), ChainDelivery{1, 2}));
  std::unique_ptr<RunJournal> second = Begin("run_again");
  const std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].events.size(), 1u);
}

TEST_F(JournalTest, KeepsTheWholeBundleOfAParkedRunAndListsWhatWaits) {
  std::unique_ptr<RunJournal> parked = Begin("run_parked"), waiting = Begin("run_waiting");
  for (auto* note : {&parked, &waiting}) {
    ASSERT_TRUE((*note)->NoteReceipt(Receipt()));
    ASSERT_TRUE((*note)->NoteEvents(OurEvents(), ChainDelivery{1, 2}));
  }
  const Error why{.kind = ErrorKind::kNotFound, .code = "plane.refused", .message = "404"};
  ASSERT_TRUE(parked->Park(why));
  ASSERT_TRUE(waiting->NoteWaiting({.code = "plane.unreachable", .message = "nobody there"}));
  EXPECT_EQ(journal_->FindOpen()->size(), 1u);  // the one that waits
  const std::vector<KeptReceipt> kept = ListKeptReceipts(dir_).value();
  ASSERT_EQ(kept.size(), 2u);
  for (const KeptReceipt& receipt : kept) {
    EXPECT_EQ(receipt.parked, receipt.run_id.text() == "run_parked");
    EXPECT_EQ(receipt.code, receipt.parked ? "plane.refused" : "plane.unreachable");
    EXPECT_EQ(receipt.status, "completed");
    const json::Value bundle = ReadKeptBundle(dir_, receipt.run_id).value();
    EXPECT_EQ(bundle.FindString("version"), protocol::kBundleVersion);
    EXPECT_EQ(bundle.Find("events")->if_array()->size(), 2u);
    EXPECT_EQ(bundle.Find("keys")->FindString("runnerPublicKeyPem"), "runner-key");
  }
  auto other = ReadKeptBundle(dir_, protocol::RunId::Parse("run_other").value());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, "receipts.unknown_run");
}

TEST_F(JournalTest, RefusesToParkARunWithoutAReceipt) {
  EXPECT_FALSE(Begin("run_bare")->Park({.code = "x", .message = "y"}));
  EXPECT_EQ(journal_->FindOpen()->size(), 1u);
}

// L39
TEST_F(JournalTest, SetsADamagedEntryAsideAndReadsTheOthers) {
  std::unique_ptr<RunJournal> good = Begin("run_good"), bad = Begin("run_bad");
  Change("UPDATE runs SET contract = '{' WHERE run_id = 'run_bad'");
  for (int i = 0; i < 2; ++i) {
    std::vector<OpenRun> runs = journal_->FindOpen().value();
    ASSERT_EQ(runs.size(), 1u);
    EXPECT_EQ(runs[0].claim.run_id.text(), "run_good");
  }
}

// L39
TEST_F(JournalTest, SetsADamagedDatabaseAsideAndBeginsANewOne) {
  Begin("run_lost");
  journal_.reset();
  std::filesystem::remove(Path() + "-wal");
  std::ofstream(Path(), std::ios::trunc) << std::string(8192, 'x');
  journal_ = OpenJournal(dir_, clock_).value();
  EXPECT_TRUE(journal_->FindOpen()->empty());
  Begin("run_new");
  int aside = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_ + "/journal"))
    if (entry.path().filename().string().starts_with("damaged-"))
      aside += std::filesystem::exists(entry.path() / "journal.db") ? 1 : 0;
  EXPECT_EQ(aside, 1);
}

TEST_F(JournalTest, RefusesAJournalOfANewerVersionAndLeavesItAlone) {
  std::unique_ptr<RunJournal> note = Begin("run_newer");
  journal_.reset();
  const auto present = Database::Open(Path(), Database::Mode::kReadWrite)
                           .value()
                           ->Number("PRAGMA user_version")
                           .value()
                           .value();
  Change("PRAGMA user_version=99");
  auto opened = OpenJournal(dir_, clock_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "journal.newer");
  Change(("PRAGMA user_version=" + std::to_string(present)).c_str());
  EXPECT_EQ(OpenJournal(dir_, clock_).value()->FindOpen()->size(), 1u);
}

TEST_F(JournalTest, OpensTheJournalOfEveryOlderVersion) {
  for (std::size_t version = 0; version < kJournalMigrations.size(); ++version) {
    journal_.reset();
    std::filesystem::remove_all(dir_ + "/journal");
    std::filesystem::create_directory(dir_ + "/journal");
    for (std::size_t step = 0; step < version; ++step) Change(kJournalMigrations[step]);
    Change(("PRAGMA user_version=" + std::to_string(version)).c_str());
    if (version > 0)
      Change(
          "INSERT INTO runs (run_id, claimed_at, extended, slot, contract, plane_events) VALUES "
          "('run_old', 1, 1, 0, '{}', '[]'); INSERT INTO progress (ord, claim_token, offered) "
          "VALUES (1, 't', 0); INSERT INTO uploads (ord, n, kind, data_class, hash, bytes) "
          "SELECT 1, 0, 'log', 'session-log', hex(zeroblob(32)), 3");
    journal_ = OpenJournal(dir_, clock_).value();
    std::vector<OpenRun> runs = journal_->FindOpen().value();
    ASSERT_EQ(runs.size(), version > 0 ? 1u : 0u) << "version " << version;
    if (version > 0) {
      EXPECT_EQ(runs[0].uploads.size(), 1u);
    }
    Begin("run_now");
  }
}

// L37: a run's end is not that of what it left.
TEST_F(JournalTest, RemembersWhatIsLeftOfARunUntilItIsSaidToBeGone) {
  auto run = Begin("run_left");
  ASSERT_TRUE(run->NoteSession("s-1", "process"));
  ASSERT_TRUE(run->NotePrepared("7 1 boot 2001"));
  EXPECT_EQ(journal_->CountOpen().value(), 1u);
  ASSERT_TRUE(run->NoteLeft());
  ASSERT_TRUE(run->NoteLeft());  // seen again
  ASSERT_TRUE(run->Close());
  EXPECT_EQ(journal_->CountOpen().value(), 0u);
  journal_ = nullptr;
  journal_ = OpenJournal(dir_, clock_).value();
  const auto left = journal_->Left().value();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].run_id.text(), "run_left");
  EXPECT_EQ(left[0].slot, 3u);
  EXPECT_EQ(left[0].session_name, "s-1");
  EXPECT_EQ(left[0].backend, "process");
  EXPECT_EQ(left[0].leftovers, "7 1 boot 2001");
  ASSERT_TRUE(journal_->ForgetLeft(left[0].run_id));
  EXPECT_TRUE(journal_->Left()->empty());
}

TEST_F(JournalTest, TakesNotesOfManySessionsAtTheSameTime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        auto note = Begin("run_" + std::to_string(t) + "_" + std::to_string(i));
        EXPECT_TRUE(note->NoteStep("claimed"));
        EXPECT_TRUE(note->NoteEvents(OurEvents(), ChainDelivery{1, 2}));
        if (i % 2 == 0) {
          EXPECT_TRUE(note->Close());
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(journal_->FindOpen()->size(), 40u);
}

}  // namespace
}  // namespace writ::runner
