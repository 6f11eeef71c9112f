// A process is killed before and after the commit of each sort of note, alone and together with its
// machine's power: the next one opens the journal, finds the run, and finds the note whole or not
// at all (L38). What was reported is there - after a power cut what was reported to be on the disk,
// and all that was noted before that.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <sstream>
#include <tuple>

#include "fault/support/elsewhere.h"
#include "fault/support/power_cut.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/protocol/events.h"
#include "writ/runner/journal.h"

namespace writ::runner {
namespace {

using test::JournalPoints;

enum class Death { kKilled, kPowerCut };

// The notes that are on the disk when they have returned (journal.h).
bool IsOnDisk(const std::string& note) {
  return note == "begin" || note == "acknowledged" || note == "events" || note == "park";
}

class JournalKill : public ::testing::TestWithParam<std::tuple<std::string_view, Death>> {
 protected:
  JournalKill() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-jkill-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
  }
  ~JournalKill() override { std::filesystem::remove_all(dir_); }

  static std::string Point() { return std::string(std::get<0>(GetParam())); }

  // Every sort of note, in the order of a run; each one that returned is told as a line. In a child
  // only: a process reads its fault once.
  void TakeEveryNote(int told) {
    auto tell = [&](const std::string& note, const Status& done) {
      if (!done) _exit(3);
      if (!WriteAll(told, note + "\n")) _exit(4);
    };
    auto journal = OpenJournal(dir_, clock_);
    if (!journal) _exit(5);
    (*journal)->UseKeys({"plane", "runner"});
    protocol::EventChain chain(protocol::Sha256("contract"));
    json::Array before{chain.Append(clock_.Now(), protocol::events::RunCreated()).ToJson()};
    auto run = (*journal)->Begin(
        {protocol::RunId::Parse("run_k").value(), json::Object{}, before, true, 0, true},
        Secret("first-token"));
    if (!run) _exit(6);
    tell("begin", {});
    tell("acknowledged", (*run)->NoteAcknowledged(before));
    tell("step", (*run)->NoteStep("start", StepPhase::kBegun));
    tell("session", (*run)->NoteSession("s-1", "process"));
    tell("prepared", (*run)->NotePrepared("7 1 boot 2001"));
    tell("started", (*run)->NoteStarted(json::Object{}));
    tell("left", (*run)->NoteLeft());
    tell("output", (*run)->NoteOutput(5));
    tell("token", (*run)->NoteToken(Secret("second-token")));
    const protocol::Digest digest = protocol::Sha256("log");
    const std::vector<JournalUpload> uploads{
        {protocol::ArtifactKind::kLog, "session-log", digest, 3, false, ""}};
    tell("collected", (*run)->NoteCollected({}, json::Object{{"blobs", true}}, uploads));
    tell("uploaded", (*run)->NoteUploaded(digest));
    if (!(*run)->NoteReceipt(json::Object{{"status", "completed"}})) _exit(7);
    const std::vector<protocol::Event> ours{
        chain.Append(clock_.Now(), protocol::events::RunCompleted())};
    tell("events", (*run)->NoteEvents(ours, ChainDelivery{1, 2}));
    tell("waiting", (*run)->NoteWaiting({.code = "plane.unreachable", .message = "nobody"}));
    // One of the two ends of a run.
    if (Point().starts_with("journal.park"))
      tell("park", (*run)->Park({.code = "plane.forgotten", .message = "forgotten"}));
    tell("close", (*run)->Close());
    tell("forget_left", (*journal)->ForgetLeft(protocol::RunId::Parse("run_k").value()));
  }
  // The first thing that is not as `told` says; empty: all is well. In a child too.
  std::string Compare(const std::string& told) {
    auto had = [&](const std::string& note) {
      return ("\n" + told).find("\n" + note + "\n") != std::string::npos;
    };
    auto journal = OpenJournal(dir_, clock_);
    if (!journal) return "the journal does not open: " + journal.error().ToString();
    auto open = (*journal)->FindOpen();
    if (!open) return "the journal cannot be read";
    const auto kept = ListKeptReceipts(dir_);
    if (!kept) return "the kept receipts cannot be read";
    const auto left = (*journal)->Left();
    if (!left) return "what is left cannot be read";
    if (had("left") && !had("close") && !had("park") && left->size() != 1)
      return "what is left is forgotten";
    if (had("forget_left") && !left->empty()) return "what is gone is not forgotten";
    std::size_t parked = 0;
    for (const KeptReceipt& receipt : *kept) parked += receipt.parked ? 1 : 0;
    if (open->size() + parked > 1) return "the run is there twice";
    if (had("close") && !open->empty()) return "a closed run is open";
    if (had("park") && parked != 1) return "the parked bundle is lost";
    if (open->empty()) {
      const bool may_be_gone = !had("begin") || had("waiting") || parked == 1;
      return may_be_gone ? "" : "the run is lost";
    }
    const OpenRun& run = open->front();
    if (had("acknowledged") && run.claim.offered) return "the acknowledgement is lost";
    if (had("step") && run.step != "start") return "the step is lost";
    if (had("session") && run.place.session_name != "s-1") return "the session is lost";
    if (had("prepared") && run.place.leftovers.empty()) return "the supervisor is lost";
    if (had("output") && run.output_bytes != 5) return "the output's place is lost";
    if (run.claim_token.Reveal() != "second-token" &&
        (had("token") || run.claim_token.Reveal() != "first-token"))
      return "the token is lost";
    if (had("collected") && (!run.ending || run.uploads.size() != 1)) return "the output is lost";
    if (run.ending.has_value() != (run.uploads.size() == 1)) return "half of the output is noted";
    if (had("uploaded") && !run.uploads.front().uploaded) return "the upload is lost";
    if (had("events") && (run.events.size() != 2 || !run.receipt)) return "events are lost";
    if (run.receipt.has_value() != (run.events.size() == 2)) return "half of the end is noted";
    return "";
  }
  // Of the notes that returned those that a power cut must leave.
  static std::string ThatLast(const std::string& notes) {
    std::istringstream in(notes);
    std::string all, lasting;
    for (std::string note; std::getline(in, note);) {
      all += note + "\n";
      if (IsOnDisk(note)) lasting = all;
    }
    return lasting;
  }
  std::string dir_;
  SystemClock clock_;
};

TEST_P(JournalKill, LeavesEveryNoteWholeOrNotAtAll) {
  auto told = MakePipe().value();
  const pid_t worker = fork();
  if (worker == 0) {
    setenv("WRIT_FAULT", (Point() + ":kill").c_str(), 1);
    if (std::get<1>(GetParam()) == Death::kPowerCut) WritPowerCutBelow(dir_.c_str());
    TakeEveryNote(told.write_end.get());
    _exit(0);
  }
  told.write_end.reset();
  std::string notes = ReadAll(told.read_end.get(), 1 << 16).value();
  int status = 0;
  ASSERT_EQ(waitpid(worker, &status, 0), worker);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      << "the point was not reached; notes:\n"
      << notes << "exit " << WEXITSTATUS(status);
  if (std::get<1>(GetParam()) == Death::kPowerCut) notes = ThatLast(notes);
  auto answer = MakePipe().value();
  const pid_t reader = fork();
  if (reader == 0) {
    (void)WriteAll(answer.write_end.get(), Compare(notes));
    _exit(0);
  }
  answer.write_end.reset();
  EXPECT_EQ(ReadAll(answer.read_end.get(), 1 << 16).value(), "") << notes;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

std::string NameOf(const ::testing::TestParamInfo<JournalKill::ParamType>& info) {
  std::string name(std::get<0>(info.param));
  for (char& c : name)
    if (c == '.' || c == '-') c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(EveryNote, JournalKill,
                         ::testing::Combine(::testing::ValuesIn(JournalPoints()),
                                            ::testing::Values(Death::kKilled)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(EveryNoteAndThePower, JournalKill,
                         ::testing::Combine(::testing::ValuesIn(JournalPoints()),
                                            ::testing::Values(Death::kPowerCut)),
                         NameOf);

}  // namespace
}  // namespace writ::runner
