// A guest whose agent is an enemy's: whatever it says, its host ends with a sentence, takes no more
// than it has room for, and believes nothing that is out of turn.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <map>

#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/guest_client.h"
#include "writ/base/paths.h"

namespace writ::test {

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
  void Run(backends::microvm::TreeLimits limits = {}) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    Session::Events guest_events;
    guest_events.on_request = [this](const StreamPtr& stream) {
      if (auto it = on.find(stream->path()); it != on.end()) return it->second(stream);
      if (stream->path().starts_with("/entry/") && on_entry) on_entry(stream);
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
    events.on_started = [this] {
      started = true;
      if (on_started) on_started();
    };
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
  std::function<void()> on_started;
  std::function<void(const StreamPtr&)> on_entry;

  // A job that runs until its test is through.
  void RunsOn() {
    on["/stdout"] = [](const StreamPtr& s) { s->Answer(200); };
    on["/job"] = [](const StreamPtr& s) {
      s->Answer(200);
      Word(s, Prepared{});
      Word(s, Started{});
    };
  }
  // Puts one thing beside the job; what it says goes to `entries`.
  struct Entered {
    bool started = false;
    std::optional<EntryFailed> failed;
    std::optional<ExitStatus> ended;
    std::string out;
    UniqueFd in_end, out_end, err_end;
  };
  std::vector<std::shared_ptr<Entered>> entries;
  Status Enter() {
    auto entered = std::make_shared<Entered>();
    Pipe in, out, err;
    for (auto* pipe : {&in, &out, &err}) {
      auto made = MakePipe();
      if (!made) std::abort();
      *pipe = std::move(*made);
    }
    entered->in_end = std::move(in.write_end);
    entered->out_end = std::move(out.read_end);
    entered->err_end = std::move(err.read_end);
    GuestEntries::Events events;
    events.on_started = [entered] { entered->started = true; };
    events.on_failed = [this, entered](const EntryFailed& failed) {
      entered->failed = failed;
      loop.Stop();
    };
    events.on_ended = [this, entered](const ExitStatus& status) {
      entered->ended = status;
      ::fcntl(entered->out_end.get(), F_SETFL, O_NONBLOCK);
      std::array<char, 65536> buffer{};
      for (ssize_t n; (n = ::read(entered->out_end.get(), buffer.data(), buffer.size())) > 0;)
        entered->out.append(buffer.data(), static_cast<std::size_t>(n));
      loop.Stop();
    };
    backends::launch::EntryRequest request;
    request.argv = {"true"};
    request.cwd = "/";
    Status status = client->Enter(
        entries.size() + 1, std::move(request),
        {std::move(in.read_end), std::move(out.write_end), std::move(err.write_end), UniqueFd()},
        std::move(events));
    entries.push_back(std::move(entered));
    return status;
  }
  static void EntryWord(const StreamPtr& stream, const EntryGuestWord& word) {
    stream->Write(Frame(Encode(word)));
  }
  std::string changes;
  std::string lost;
};

}  // namespace writ::test
