// The way into running sessions, from its socket on: what is understood, who is let in, and that
// nobody inside holds up an end.
#include "access/access_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>

#include "access/copy_record.h"
#include "access/entry_relay.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Ends {
  AccessChannel ours, theirs;
};
Ends MakeEnds() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {AccessChannel(UniqueFd(fds[0])), AccessChannel(UniqueFd(fds[1]))};
}

// The next message, waited for; nullopt: the other side has ended, or cannot be understood.
std::optional<AccessMessage> Await(AccessChannel& channel) {
  for (;;) {
    auto open = channel.Fill();
    auto message = channel.Next();
    if (!open || !message) return std::nullopt;
    if (*message) return **message;
    if (!*open) return std::nullopt;
    pollfd ready{channel.fd(), POLLIN, 0};
    ::poll(&ready, 1, -1);
  }
}

std::string CodeOf(const std::optional<AccessMessage>& message) {
  if (!message || message->word != AccessWord::kFailed) return "not refused";
  return AccessFailure(message->bytes).code;
}

TEST(AccessRequest, ComesBackAsItWent) {
  AccessRequest exec;
  exec.run_id = "run_1";
  exec.argv = {"sh", "-c", "true"};
  exec.cwd = "sub";
  exec.vars = {{"ONE", "1"}};
  exec.terminal = TerminalSize{30, 100};
  auto read = AccessRequest::Parse(json::Write(exec.ToJson()));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(json::Write(read->ToJson()), json::Write(exec.ToJson()));
  EXPECT_EQ(read->terminal->columns, 100);

  AccessRequest attach;
  attach.mode = AccessRequest::Mode::kAttach;
  attach.run_id = "run_1";
  attach.from = 77;
  attach.stream = AccessRequest::Stream::kErrors;
  attach.input = true;
  read = AccessRequest::Parse(json::Write(attach.ToJson()));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->from, 77u);
  EXPECT_EQ(json::Write(read->ToJson()), json::Write(attach.ToJson()));

  AccessRequest copy;
  copy.mode = AccessRequest::Mode::kCopy;
  copy.run_id = "run_1";
  copy.direction = AccessRequest::Direction::kIn;
  copy.path = "a/b";
  read = AccessRequest::Parse(json::Write(copy.ToJson()));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(json::Write(read->ToJson()), json::Write(copy.ToJson()));

  for (auto mode : {AccessRequest::Mode::kPause, AccessRequest::Mode::kResume}) {
    AccessRequest turn;
    turn.mode = mode;
    turn.run_id = "run_1";
    read = AccessRequest::Parse(json::Write(turn.ToJson()));
    ASSERT_TRUE(read) << read.error().ToString();
    EXPECT_EQ(read->mode, mode);
  }
}

TEST(AccessRequest, RefusesWhatItDoesNotUnderstand) {  // L4
  for (const char* text : {
           "",
           "[]",
           R"({"mode":"enter","runId":"r","argv":["x"]})",
           R"({"mode":"exec","argv":["x"]})",
           R"({"mode":"exec","runId":"r","argv":[]})",
           R"({"mode":"exec","runId":"r","argv":[""]})",
           R"({"mode":"exec","runId":"r","argv":["x"],"user":"root"})",
           R"({"mode":"exec","runId":"r","argv":["x"],"terminal":{"rows":0,"columns":80}})",
           R"({"mode":"attach","runId":"r","from":-1})",
           R"({"mode":"copy","runId":"r","direction":"out","path":""})",
           R"({"mode":"pause","runId":"r","path":"x"})",
           R"({"mode":"pause"})",
           R"({"mode":"checkpoint","runId":"r","path":"x"})",
       })
    EXPECT_FALSE(AccessRequest::Parse(text)) << text;
  // What would take the way of the session's traffic or programs elsewhere.
  for (const char* name : {"HTTP_PROXY", "https_proxy", "LD_PRELOAD", "PATH", "A=B", ""})
    EXPECT_FALSE(AccessRequest::Parse(
        json::Write(json::Object{{"mode", "exec"},
                                 {"runId", "r"},
                                 {"argv", json::Value::Texts(std::vector<std::string>{"x"})},
                                 {"vars", json::Object{{name, "x"}}}})))
        << name;
}

TEST(AccessChannel, TakesMessagesInAnyPieces) {
  Ends ends = MakeEnds();
  ASSERT_TRUE(ends.ours.Send(AccessWord::kInput, std::string(1000, 'x')));
  ASSERT_TRUE(ends.ours.Send(AccessWord::kInputEnd, {}));
  auto first = Await(ends.theirs);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->bytes, std::string(1000, 'x'));
  auto second = Await(ends.theirs);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->word, AccessWord::kInputEnd);
}

TEST(AccessChannel, RefusesAWordOrALengthThatItDoesNotKnow) {
  for (const std::string& bytes : {std::string("?\0\0\0\0", 5), std::string("i\xff\xff\xff\x7f", 5),
                                   std::string("i\1\0\1\0", 5)}) {
    Ends ends = MakeEnds();
    ASSERT_TRUE(WriteAll(ends.ours.fd(), bytes));
    ASSERT_TRUE(ends.theirs.Fill());
    auto message = ends.theirs.Next();
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, "access.bad_message");
  }
}

// Who does not read is waited for, but not past the session.
TEST(AccessChannel, GivesUpOnWhoDoesNotReadOnceItIsTimeToHurry) {
  Ends ends = MakeEnds();
  const UniqueFd hurry(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::string piece(kMaxAccessPiece, 'x');
  Status sent;
  while (sent) sent = ends.ours.Send(AccessWord::kOutput, piece, hurry.get());
  EXPECT_EQ(sent.error().code, "access.gone");
}

TEST(CopyRecord, TakesNoOtherNameThanWasAskedFor) {
  std::string stream = "F" + std::string("\x0b\0\0\0", 4) + std::string("\xa4\x01\0\0", 4) +
                       ".bashrc" + std::string("E\0\0\0\0", 5) + std::string("Z\0\0\0\0", 5);
  EXPECT_EQ(CopyRecord({}, "report").Look(stream).error().code, "copy.bad_stream");
  CopyRecord same({}, ".bashrc");
  EXPECT_TRUE(same.Look(stream));
  EXPECT_EQ(same.files(), 1u);
}

// Stays inside until it is told to hurry.
class Door final : public AccessDoor {
 public:
  void Serve(const AccessRequest& request, AccessChannel& channel,
             const protocol::Actor& actor) override {
    actor_ = actor.id;
    (void)channel.Send(AccessWord::kTaken, json::Write(request.ToJson())).has_value();
    inside_.set_value();
    pollfd ready{over_.get(), POLLIN, 0};
    ::poll(&ready, 1, -1);
    (void)channel.Send(AccessWord::kDone, "{}").has_value();
    left_ = true;
  }
  void Hurry() override { ::eventfd_write(over_.get(), 1); }
  void AwaitInside() { inside_.get_future().wait(); }
  const std::string& actor() const { return actor_; }
  bool left() const { return left_; }

 private:
  UniqueFd over_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::promise<void> inside_;
  std::string actor_;
  std::atomic<bool> left_ = false;
};

class AccessServing : public testing::Test {
 protected:
  AccessServing() {
    std::string pattern = testing::TempDir() + "writ-access-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    dir_ = pattern;
    handle_ = std::move(OpenDirectory(dir_)).value();
  }
  ~AccessServing() override { fs::remove_all(dir_); }
  static std::string Request(const std::string& run) {
    AccessRequest request;
    request.run_id = run;
    request.argv = {"true"};
    return json::Write(request.ToJson());
  }
  std::string CodeOfAsking(AccessWord word, const std::string& bytes) {
    auto channel = OpenAccess(dir_);
    if (!channel) return channel.error().code;
    (void)channel->Send(word, bytes).has_value();  // it may be refused before it has asked
    return CodeOf(Await(*channel));
  }

  std::string dir_;
  UniqueFd handle_;
  AccessServer server_;
};

TEST_F(AccessServing, IsNotThereUntilSomethingIsGranted) {
  EXPECT_EQ(CodeOfAsking(AccessWord::kAsk, Request("run_1")), "access.no_runner");
  ASSERT_TRUE(server_.Listen(handle_.get()));
  ASSERT_TRUE(server_.Listen(handle_.get()));
  EXPECT_EQ(CodeOfAsking(AccessWord::kAsk, Request("run_1")), "access.no_such_run");
  struct stat st {};
  ASSERT_EQ(::stat((dir_ + "/access.sock").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(AccessServing, RefusesThoseWhoAskForNothing) {
  ASSERT_TRUE(server_.Listen(handle_.get()));
  EXPECT_EQ(CodeOfAsking(AccessWord::kInput, "x"), "access.bad_message");
  EXPECT_NE(CodeOfAsking(AccessWord::kAsk, "{"), "not refused");
  auto nonsense = OpenAccess(dir_);
  ASSERT_TRUE(nonsense);
  ASSERT_TRUE(WriteAll(nonsense->fd(), "GET / HTTP/1.1\r\n\r\n"));
  EXPECT_EQ(CodeOf(Await(*nonsense)), "access.bad_message");
}

TEST_F(AccessServing, TakesTheSocketOfARunnerThatWasKilled) {  // L38
  {
    AccessServer killed;
    ASSERT_TRUE(killed.Listen(handle_.get()));
  }
  ASSERT_TRUE(fs::exists(dir_ + "/access.sock"));
  EXPECT_EQ(CodeOfAsking(AccessWord::kAsk, Request("run_1")), "access.no_runner");
  ASSERT_TRUE(server_.Listen(handle_.get()));
  EXPECT_EQ(CodeOfAsking(AccessWord::kAsk, Request("run_1")), "access.no_such_run");
}

TEST_F(AccessServing, ClosesADoorOnceNobodyIsInside) {
  ASSERT_TRUE(server_.Listen(handle_.get()));
  Door door;
  server_.Open("run_1", door);
  auto channel = OpenAccess(dir_);
  ASSERT_TRUE(channel);
  ASSERT_TRUE(channel->Send(AccessWord::kAsk, Request("run_1")));
  door.AwaitInside();
  EXPECT_THAT(door.actor(), HasSubstr("(" + std::to_string(::geteuid()) + ")@"));
  server_.Close("run_1");
  EXPECT_TRUE(door.left());
  EXPECT_EQ(Await(*channel)->word, AccessWord::kTaken);
  EXPECT_EQ(Await(*channel)->word, AccessWord::kDone);
  EXPECT_EQ(CodeOfAsking(AccessWord::kAsk, Request("run_1")), "access.no_such_run");
}

// Even where the socket's mode were open to all, the kernel's word counts.
TEST_F(AccessServing, RefusesAnotherUserWhateverTheSocketsMode) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs to be root, to ask as somebody else";
  ASSERT_TRUE(server_.Listen(handle_.get()));
  Door door;
  server_.Open("run_1", door);
  std::string closed, open;
  auto ask_as_another = [this](std::string& code) {
    std::thread([this, &code] {  // the identity of this thread alone
      constexpr uid_t kAnother = 65534;
      if (::syscall(SYS_setresuid, -1, kAnother, -1) != 0) return;
      code = CodeOfAsking(AccessWord::kAsk, Request("run_1"));
    })
        .join();
  };
  ::chmod(dir_.c_str(), 0755);
  ask_as_another(closed);
  EXPECT_EQ(closed, "access.other_user");
  ::chmod((dir_ + "/access.sock").c_str(), 0666);
  ask_as_another(open);
  EXPECT_EQ(open, "access.other_user");
  server_.Close("run_1");
  EXPECT_FALSE(door.left());
}

// An entry that has ended, and whose left-behind children go on writing.
class Chatterer final : public backends::Entry {
 public:
  Chatterer()
      : zero_(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), event_(::eventfd(1, EFD_CLOEXEC)) {}
  int input() const override { return -1; }
  int output() const override { return zero_.get(); }
  int errors() const override { return -1; }
  void CloseInput() override {}
  Status Resize(TerminalSize) override { return {}; }
  Status Signal(int) override { return {}; }
  int event_fd() const override { return event_.get(); }
  std::optional<backends::EntryEnd> End() const override {
    return backends::EntryEnd{ExitStatus{false, 3, 0}, {}};
  }

 private:
  UniqueFd zero_, event_;
};

TEST(EntryRelay, DoesNotWaitForWhatACommandLeftBehind) {
  Ends ends = MakeEnds();
  Chatterer entry;
  std::thread reader([&ends] {
    while (Await(ends.theirs)) {
    }
  });
  const UniqueFd hurry(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  EntryRelay relay(entry, ends.ours, hurry.get());
  auto end = relay.Run();
  ::shutdown(ends.ours.fd(), SHUT_RDWR);
  reader.join();
  ASSERT_TRUE(end) << end.error().ToString();
  EXPECT_EQ(end->status->code, 3);
}

}  // namespace
}  // namespace writ::runner
