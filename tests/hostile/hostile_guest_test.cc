// What a guest says of its job, its connections and its changes, where its agent is an enemy's.
#include "hostile/hostile_guest.h"

namespace writ::test {
namespace {

TEST_F(HostileGuest, IsHeardToItsEndWhereItIsNone) {  // the rows below differ from this in one word
  Run();
  EXPECT_EQ(lost, "");
  EXPECT_TRUE(prepared && started && ended);
  EXPECT_EQ(changes, "all");
}

TEST_F(HostileGuest, IsNotTakenForAnotherThatWasBooted) {
  on["/hello"] = [this](const StreamPtr& s) {
    Hello hello = MakeHello();
    hello.token = GuestTokens::Make().guest;
    Say(s, Encode(hello));
  };
  Run();
  EXPECT_THAT(lost, HasSubstr("not the one that was booted"));
  EXPECT_FALSE(prepared);
}

TEST_F(HostileGuest, HasTheNameThatItWasGiven) {  // L33
  named_ = "-other";
  Run();
  EXPECT_THAT(lost, HasSubstr("its own name"));
  EXPECT_FALSE(prepared);
}

TEST_F(HostileGuest, FillsNoMemoryWithAnAnswer) {
  on["/hello"] = [](const StreamPtr& s) { Say(s, std::string(8u << 20, 'x')); };
  Run();
  EXPECT_THAT(lost, HasSubstr("longer than it may be"));
}

TEST_F(HostileGuest, FillsNoMemoryWithAWord) {
  on["/job"] = [](const StreamPtr& s) {
    s->Answer(200);
    s->Write(std::string("\xff\xff\xff\x7f", 4) + std::string(1u << 20, 'x'));
  };
  Run();
  EXPECT_THAT(lost, HasSubstr("longer than it may be"));
}

TEST_F(HostileGuest, ShowsNoControlBytesToAnOperator) {
  on["/hello"] = [this](const StreamPtr& s) {
    Hello hello = MakeHello();
    hello.usable = false;
    hello.unusable_reason = "\x1b]0;owned\x07\n" + std::string(5000, 'x');
    Say(s, Encode(hello));
  };
  Run();
  EXPECT_EQ(lost.find('\x1b'), std::string::npos);
  EXPECT_LT(lost.size(), 500u);
}

TEST_F(HostileGuest, SpeaksInTurnOrNotAtAll) {
  const std::vector<std::vector<GuestWord>> wrong = {
      {Started{}},
      {Prepared{}, Prepared{}},
      {Prepared{}, Started{}, Started{}},
      {Prepared{}, Started{}, Exited(), Exited()},
      {Prepared{}, Started{}, Exited(), Refused{}},
  };
  for (const auto& words : wrong) {
    lost.clear();
    on["/job"] = [&words](const StreamPtr& s) {
      s->Answer(200);
      for (const GuestWord& word : words) Word(s, word);
    };
    // Its output stays open, so that no end is told before every word was heard.
    on["/stdout"] = [](const StreamPtr& s) { s->Answer(200); };
    auto identity = on["/identity"];
    Run();
    on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
    (void)identity;
    EXPECT_THAT(lost, HasSubstr("out of turn")) << words.size();
    EXPECT_FALSE(ended) << "an end is not believed before it is whole";
  }
}

TEST_F(HostileGuest, GivesUpTheJobAndIsNoExit) {  // L17
  on["/job"] = [](const StreamPtr& s) {
    s->Answer(200);
    Word(s, Prepared{});
    s->Finish();
  };
  Run();
  EXPECT_THAT(lost, HasSubstr("without a word"));
  EXPECT_FALSE(ended);
}

TEST_F(HostileGuest, TellsOfNoMoreRefusedConnectionsThanAreKept) {
  on["/job"] = [](const StreamPtr& s) {
    s->Answer(200);
    Word(s, Prepared{});
    for (int i = 0; i < 2000; ++i)
      Word(s, Refused{"\x1b[2J", std::string(4000, 'a'), std::to_string(i)});
    Word(s, Exited());
    s->Finish();
  };
  Run();
  EXPECT_EQ(refused.size(), backends::kMaxRefusedRecords);
  EXPECT_LE(refused.front().address.size(), 300u);
  EXPECT_EQ(refused.front().program.find('\x1b'), std::string::npos);
}

TEST_F(HostileGuest, OpensNoMoreConnectionsThanItsHostAllows) {
  std::vector<StreamPtr> held;
  on["/job"] = [](const StreamPtr& s) {
    s->Answer(200);
    Word(s, Prepared{});
  };
  on["/proxy"] = [&held](const StreamPtr& s) {
    s->Answer(200);
    held.push_back(s);
  };
  on_connection = [this] {
    // All there can be; a few turns of the loop later one too many would have come.
    if (peers.size() == 128) Turn(100);
  };
  Run();
  EXPECT_EQ(peers.size(), 128u);
}

TEST_F(HostileGuest, DoesNotKeepItsHostBusyByRefusingConnections) {
  on["/job"] = [](const StreamPtr& s) {
    s->Answer(200);
    Word(s, Prepared{});
  };
  on["/proxy"] = [](const StreamPtr& s) { s->Reset(); };
  Run();
  EXPECT_THAT(lost, HasSubstr("refuses its job's connections"));
}

TEST_F(HostileGuest, ChangesNothingOutsideItsWorkspace) {  // L13
  const std::string outside = base_ + "/outside";
  auto text = [](const std::string& s) { return Number(s.size()) + s; };
  for (const std::string& name : {std::string(".."), std::string("../outside"), outside}) {
    const std::string file =
        Frame(Number(2) + text(name) + Number(0644) + Number(0) + Number(0)) + Frame(Number(4));
    const std::string link =
        Frame(Number(2) + text("inside") + Number(0644) + Number(0) + Number(1)) +
        Frame(Number(4)) + Frame(Number(10) + text(name) + Number(1));
    for (const std::string& records : {file, link}) {
      on["/changes"] = [&](const StreamPtr& s) { Say(s, records + Frame(Number(9) + Number(1))); };
      Run();
      on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
      EXPECT_EQ(changes, "microvm.tree") << name;
      EXPECT_FALSE(fs::exists(outside));
    }
  }
}

TEST_F(HostileGuest, FillsNoDiskWithChanges) {
  on["/changes"] = [](const StreamPtr& s) {
    s->Answer(200);
    auto text = [](const std::string& t) { return Number(t.size()) + t; };
    s->Write(Frame(Number(2) + text("endless") + Number(0644) + Number(1ull << 40) + Number(0)));
    auto at = std::make_shared<std::uint64_t>(0);
    auto more = [s, at, text] {
      s->Write(Frame(Number(3) + Number(*at) + text(std::string(65536, 'x'))));
      *at += 65536;
    };
    s->on_drained = more;
    more();
  };
  Run({.bytes = 10u << 20, .entries = 0});
  EXPECT_EQ(changes, "microvm.tree_too_large");
}

TEST_F(HostileGuest, CutsItsChangesShortAndIsFound) {
  on["/changes"] = [](const StreamPtr& s) { Say(s, ""); };
  Run();
  EXPECT_EQ(changes, "microvm.changes_cut");
}

}  // namespace
}  // namespace writ::test
