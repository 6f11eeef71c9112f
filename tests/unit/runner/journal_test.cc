#include "writ/runner/journal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-journal-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    journal_ = OpenFileJournal(dir_).value();
  }
  ~JournalTest() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<RunJournal> Begin(const std::string& run) {
    protocol::EventChain chain(protocol::Sha256("contract"));
    json::Array events{chain.Append(clock_.Now(), protocol::events::RunCreated()).ToJson()};
    return journal_
        ->Begin({protocol::RunId::Parse(run).value(), json::Object{{"version", "x"}},
                 std::move(events), true, 3},
                Secret("claim-token"))
        .value();
  }
  std::string dir_;
  SystemClock clock_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalTest, TellsWhatWasNotedAboutAnOpenRunAndNothingOfAClosedOne) {
  std::unique_ptr<RunJournal> open = Begin("run_open");
  ASSERT_TRUE(Begin("run_closed")->Close());
  protocol::EventChain chain(protocol::Sha256("contract"));
  (void)chain.Append(clock_.Now(), protocol::events::RunCreated());
  std::vector<protocol::Event> ours = {
      chain.Append(clock_.Now(), protocol::events::RunCompleted())};
  ASSERT_TRUE(open->NoteEvents(ours));
  ASSERT_TRUE(open->NoteSession("s-1", "process"));
  ASSERT_TRUE(open->NoteStep("started"));
  ASSERT_TRUE(open->NoteToken(Secret("renewed-token")));
  ASSERT_TRUE(open->NoteReceipt(json::Object{{"status", "completed"}}));
  std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].claim.run_id.text(), "run_open");
  EXPECT_TRUE(runs[0].claim.extended);
  EXPECT_EQ(runs[0].claim.slot, 3u);
  EXPECT_EQ(runs[0].claim_token.Reveal(), "renewed-token");
  ASSERT_EQ(runs[0].events.size(), 2u);
  EXPECT_EQ(runs[0].events[1].type(), "run.completed");
  EXPECT_EQ(runs[0].backend, "process");
  EXPECT_EQ(runs[0].step, "started");
  EXPECT_EQ(runs[0].receipt->FindString("status"), "completed");
  struct stat info {};
  ASSERT_EQ(stat((dir_ + "/journal").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(JournalTest, LeavesOutALineThatTheCrashCutOff) {
  std::unique_ptr<RunJournal> open = Begin("run_cut");
  std::ofstream(dir_ + "/journal/run_cut/events.jsonl") << "{\"seq\":1,\"ts\":";
  std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].events.size(), 1u);
}

// L39
TEST_F(JournalTest, SetsADamagedEntryAsideAndReadsTheOthers) {
  std::unique_ptr<RunJournal> good = Begin("run_good");
  std::unique_ptr<RunJournal> bad = Begin("run_bad");
  std::ofstream(dir_ + "/journal/run_bad/claim.json") << "{";
  std::vector<OpenRun> runs = journal_->FindOpen().value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].claim.run_id.text(), "run_good");
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/journal/run_bad.damaged"));
  EXPECT_EQ(journal_->FindOpen()->size(), 1u);
}

}  // namespace
}  // namespace writ::runner
