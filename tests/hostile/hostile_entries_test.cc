// What a guest says of what is put beside its job, and around a pause, where its agent is an
// enemy's.
#include "hostile/hostile_guest.h"

namespace writ::test {
namespace {

TEST_F(HostileGuest, EndsAnEntryOnlyWithWhatItSaidThatItWrote) {
  RunsOn();
  StreamPtr out;
  on_entry = [&out](const StreamPtr& s) {
    s->Answer(200);
    if (s->path() == "/entry/1/out") out = s;
    if (s->path() != "/entry/1/err") return;
    // Opened last; the end is said ahead of the bytes that it counts.
    out->Write("abc");
    out->Write("def");
  };
  auto inner = on_entry;
  on_entry = [&, inner](const StreamPtr& s) {
    if (s->path() == "/entry/1") {
      s->Answer(200);
      EntryWord(s, EntryStarted{});
      EntryWord(s, EntryEnded{ExitStatus{false, 3, 0}, 6, 0});
      return;
    }
    inner(s);
  };
  on_started = [this] { ASSERT_TRUE(Enter()); };
  Run();
  EXPECT_EQ(lost, "");
  ASSERT_EQ(entries.size(), 1u);
  ASSERT_TRUE(entries[0]->ended);
  EXPECT_EQ(entries[0]->ended->code, 3);
  EXPECT_EQ(entries[0]->out, "abcdef");
}

TEST_F(HostileGuest, SpeaksOfAnEntryInTurnOrNotAtAll) {
  const EntryGuestWord over = EntryEnded{ExitStatus{}, 1000, 0};  // which never come
  const std::vector<std::vector<EntryGuestWord>> wrong = {
      {over},
      {EntryStarted{}, EntryStarted{}},
      {EntryStarted{}, EntryFailed{}},
      {EntryStarted{}, over, over},
  };
  for (const auto& words : wrong) {
    RunsOn();
    lost.clear();
    entries.clear();
    on_entry = [&words](const StreamPtr& s) {
      s->Answer(200);
      if (s->path() == "/entry/1")
        for (const EntryGuestWord& word : words) EntryWord(s, word);
    };
    on_started = [this] { ASSERT_TRUE(Enter()); };
    Run();
    on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
    EXPECT_THAT(lost, HasSubstr("out of turn"));
    EXPECT_FALSE(entries[0]->ended);
  }
}

TEST_F(HostileGuest, FillsNoMemoryWithAWordOfAnEntry) {
  RunsOn();
  on_entry = [](const StreamPtr& s) {
    s->Answer(200);
    if (s->path() == "/entry/1") s->Write(std::string("\xff\xff\xff\x7f", 4) + "x");
  };
  on_started = [this] { ASSERT_TRUE(Enter()); };
  Run();
  EXPECT_THAT(lost, HasSubstr("longer than it may be"));
}

TEST_F(HostileGuest, ShowsNoControlBytesOfAnEntryToAnOperator) {
  RunsOn();
  on_entry = [](const StreamPtr& s) {
    s->Answer(200);
    if (s->path() == "/entry/1")
      EntryWord(s, EntryFailed{"\x1b]0;owned\x07" + std::string(3000, 'x'), 5});
  };
  on_started = [this] { ASSERT_TRUE(Enter()); };
  Run();
  EXPECT_EQ(lost, "");
  ASSERT_TRUE(entries.at(0)->failed);
  EXPECT_EQ(entries[0]->failed->stage.find('\x1b'), std::string::npos);
  EXPECT_LE(entries[0]->failed->stage.size(), 200u);
}

TEST_F(HostileGuest, GivesAnEntryUpWithoutAWordAndItHasFailed) {  // L17
  RunsOn();
  on_entry = [](const StreamPtr& s) { s->Reset(); };
  on_started = [this] { ASSERT_TRUE(Enter()); };
  Run();
  EXPECT_EQ(lost, "");
  ASSERT_TRUE(entries.at(0)->failed);
  EXPECT_FALSE(entries[0]->ended);
}

TEST_F(HostileGuest, HoldsNoMoreEntriesThanThereMayBe) {
  RunsOn();
  on_entry = [](const StreamPtr& s) { s->Answer(200); };
  std::optional<Status> last;
  on_started = [this, &last] {
    for (std::size_t i = 0; i < kMaxGuestEntries; ++i) ASSERT_TRUE(Enter());
    last = Enter();
    Turn(100);
  };
  Run();
  EXPECT_EQ(lost, "");
  ASSERT_TRUE(last);
  ASSERT_FALSE(*last);
  EXPECT_EQ(last->error().kind, ErrorKind::kOverloaded);
}

// Nobody reads what sixteen of them write: the job's own word is heard all the same.
TEST_F(HostileGuest, HoldsUpNothingElseWithWhatNobodyReads) {
  RunsOn();
  StreamPtr job;
  on["/job"] = [&job](const StreamPtr& s) {
    s->Answer(200);
    job = s;
    Word(s, Prepared{});
    Word(s, Started{});
  };
  on["/stdout"] = [](const StreamPtr& s) { Say(s, ""); };
  std::size_t opened = 0;
  on_entry = [&](const StreamPtr& s) {
    s->Answer(200);
    if (s->path().ends_with("/out") || s->path().ends_with("/err"))
      s->Write(std::string(2 * kStreamWindow, 'x'));
    if (++opened < 4 * kMaxGuestEntries) return;
    Word(job, Exited());
    job->Finish();
  };
  on_started = [this] {
    for (std::size_t i = 0; i < kMaxGuestEntries; ++i) ASSERT_TRUE(Enter());
  };
  Run();
  EXPECT_EQ(lost, "");
  EXPECT_TRUE(ended);
  EXPECT_EQ(changes, "all");
}

TEST_F(HostileGuest, TakesTheTimeAndHoldsItsJobOnlyWhenAsked) {
  RunsOn();
  auto job = on["/job"];
  GuestWord word;
  on["/job"] = [job, &word](const StreamPtr& s) {
    job(s);
    Word(s, word);
  };
  for (const GuestWord& one : {GuestWord(ClockSet{1}), GuestWord(Held{true})}) {
    word = one;
    lost.clear();
    Run();
    on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
    EXPECT_THAT(lost, HasSubstr("out of turn"));
  }
}

TEST_F(HostileGuest, TakesTheTimeAndNothingIsBelievedOfIt) {  // L36
  RunsOn();
  StreamPtr job;
  on["/job"] = [&job](const StreamPtr& s) {
    s->Answer(200);
    job = s;
    Word(s, Prepared{});
    Word(s, Started{});
    auto frames = std::make_shared<FrameReader>(kMaxOrderBytes);
    s->on_bytes = [s, frames](std::string_view bytes) {
      s->Consumed(bytes.size());
      (void)frames
          ->Add(bytes,
                [s](std::string_view word) -> Status {
                  auto said = DecodeHostWord(word);
                  if (said && std::holds_alternative<Hold>(*said)) Word(s, Held{true});
                  if (said && std::holds_alternative<SetClock>(*said)) Word(s, ClockSet{~0ull});
                  return {};
                })
          .has_value();
    };
  };
  bool set = false;
  on_started = [&] {
    client->HoldStill([&] {
      client->GoOn([&] {
        set = true;
        loop.Stop();
      });
    });
  };
  Run();
  EXPECT_EQ(lost, "");
  EXPECT_TRUE(set);
}

}  // namespace
}  // namespace writ::test
