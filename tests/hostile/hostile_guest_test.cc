// A guest whose agent is an enemy's: whatever it says, its host ends with a sentence, takes no more
// than it has room for, and believes nothing that is out of turn.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/guest_client.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using namespace backends::microvm;
using backends::Outcome;
using testing::HasSubstr;
using StreamPtr = std::shared_ptr<Stream>;

// Answers as a good agent would, but for what a test replaces: `on[path]`.
class HostileGuest : public testing::Test {
 protected:
  HostileGuest() {
    std::string pattern = "/tmp/writ-hostile-guest-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base_ = pattern;
    fs::create_directory(base_ + "/workspace");
    on["/hello"] = [this](const StreamPtr& s) { Say(s, Encode(MakeHello())); };
    on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
    on["/stdout"] = on["/stderr"] = [](const StreamPtr& s) { Say(s, ""); };
    on["/job"] = [](const StreamPtr& s) {
      s->Answer(200);
      Word(s, Prepared{});
      Word(s, Started{});
      Word(s, Exited());
      s->Finish();
    };
    on["/changes"] = [](const StreamPtr& s) { Say(s, Frame(Number(9) + Number(0))); };
  }
  ~HostileGuest() override { fs::remove_all(base_); }

  Hello MakeHello() const { return {tokens_.guest, "agent", "kernel", true, "", ""}; }
  static Ended Exited() {
    Ended ended;
    ended.kind = Outcome::Kind::kExited;
    ended.status = ExitStatus{};
    return ended;
  }
  static std::string Number(std::uint64_t n) {
    backends::launch::Writer out;
    out.Number(n);
    return out.Take();
  }
  static void Say(const StreamPtr& stream, std::string_view bytes) {
    stream->Answer(200);
    stream->Write(bytes);
    stream->Finish();
  }
  static void Word(const StreamPtr& stream, const GuestWord& word) {
    stream->Write(Frame(Encode(word)));
  }

  void Turn(int left) {
    if (left == 0) return loop.Stop();
    loop.Post([this, left] { Turn(left - 1); });
  }

  // Until something final was told.
  void Run(TreeLimits limits = {}) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    Session::Events guest_events;
    guest_events.on_request = [this](const StreamPtr& stream) {
      if (auto it = on.find(stream->path()); it != on.end()) it->second(stream);
    };
    guest_events.on_closed = [](const std::string&) {};
    auto guest = Session::Make(loop, UniqueFd(fds[1]), Session::Side::kGuest, tokens_.host,
                               std::move(guest_events));
    ASSERT_TRUE(guest);
    // The real one changes its token when it is told to; this one must too, to be heard further.
    auto identity = on["/identity"];
    on["/identity"] = [this, &guest, identity](const StreamPtr& stream) {
      auto bytes = std::make_shared<std::string>();
      stream->on_bytes = [stream, bytes](std::string_view more) {
        bytes->append(more);
        stream->Consumed(more.size());
      };
      stream->on_end = [this, &guest, bytes, stream, identity] {
        if (auto given = DecodeIdentity(*bytes)) {
          (*guest)->SetToken(given->token);
          taken_ = {given->realtime_ns, true, given->host_name + named_, given->machine_id};
        }
        identity(stream);
      };
    };
    GuestClient::Events events;
    events.on_prepared = [this] {
      prepared = true;
      client->Start({{"A=b"}});
    };
    events.on_started = [this] { started = true; };
    events.on_refused = [this](const Refused& one) { refused.push_back(one); };
    events.on_ended = [this, limits](const Ended& one) {
      ended = one;
      auto dir = OpenDirectory(base_ + "/workspace");
      ASSERT_TRUE(dir);
      client->FetchChanges(std::move(dir).value(), limits);
    };
    events.on_changes = [this](Status taken) {
      changes = taken ? "all" : taken.error().code;
      loop.Stop();
    };
    events.connect = [this] {
      int pair[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
      peers.emplace_back(pair[1]);
      if (on_connection) on_connection();
      return UniqueFd(pair[0]);
    };
    events.on_lost = [this](const std::string& why) {
      lost = why;
      loop.Stop();
    };
    client = std::make_unique<GuestClient>(loop, tokens_, std::move(events));
    loop.At(EventLoop::Clock::now() + std::chrono::seconds(60), [this] {
      ADD_FAILURE() << "the host waits for ever";
      loop.Stop();
    });
    UniqueFd out(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    UniqueFd err(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(client->Begin(UniqueFd(fds[0]), JobOrder(), {std::move(out), std::move(err)}));
    loop.Run();
    client.reset();
  }

  std::map<std::string, std::function<void(const StreamPtr&)>> on;
  EventLoop loop;
  GuestTokens tokens_ = GuestTokens::Make();
  IdentityTaken taken_;
  std::string named_;  // what the guest makes of its name
  std::unique_ptr<GuestClient> client;
  std::string base_;
  bool prepared = false;
  bool started = false;
  std::optional<Ended> ended;
  std::vector<Refused> refused;
  std::vector<UniqueFd> peers;
  std::function<void()> on_connection;
  std::string changes;
  std::string lost;
};

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
    on["/changes"] = [&, name](const StreamPtr& s) {
      Say(s, Frame(Number(2) + text(name) + Number(0644) + Number(0)) + Frame(Number(4)) +
                 Frame(Number(9) + Number(1)));
    };
    Run();
    on["/identity"] = [this](const StreamPtr& s) { Say(s, Encode(taken_)); };
    EXPECT_EQ(changes, "microvm.tree") << name;
    EXPECT_FALSE(fs::exists(outside));
  }
}

TEST_F(HostileGuest, FillsNoDiskWithChanges) {
  on["/changes"] = [](const StreamPtr& s) {
    s->Answer(200);
    auto text = [](const std::string& t) { return Number(t.size()) + t; };
    s->Write(Frame(Number(2) + text("endless") + Number(0644) + Number(1ull << 40)));
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
