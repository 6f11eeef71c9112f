// QEMU's end may be its guest's: what it says is bounded and strictly read.
#include "qmp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/backends/microvm/pair.h"
#include "vsock_dial.h"
#include "writ/base/unix_socket.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::ElementsAre;
using testing::HasSubstr;

class QmpPeer : public testing::Test {
 protected:
  QmpPeer() {
    StreamPair pair = MakeStreamPair();
    theirs_ = std::move(pair.guest);
    qmp_ = std::make_unique<Qmp>(
        loop_, std::move(pair.host),
        [this](std::string_view event, const json::Value&) { events_.emplace_back(event); });
    Bound(loop_);
  }
  void Say(const std::string& bytes) {
    ASSERT_EQ(::send(theirs_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // What a command given now is told.
  std::string Told() {
    std::string told;
    qmp_->Execute("stop", {}, [&](Status status) {
      told = status ? "done" : status.error().message;
      loop_.Stop();
    });
    loop_.Run();
    return told;
  }

  EventLoop loop_;
  UniqueFd theirs_;
  std::unique_ptr<Qmp> qmp_;
  std::vector<std::string> events_;
};

constexpr char kGreeting[] = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n";

TEST_F(QmpPeer, IsAnsweredInOrderWithEventsBetween) {
  Say(kGreeting + std::string("{\"event\": \"STOP\"}\r\n{\"return\": {}}\r\n"));
  EXPECT_EQ(Told(), "done");
  EXPECT_THAT(events_, ElementsAre("STOP"));
}

TEST_F(QmpPeer, ShowsNoControlBytesToAnOperator) {
  Say(kGreeting + std::string("{\"error\": {\"desc\": \"\\u001b[2J") + std::string(3000, 'x') +
      "\"}}\r\n");
  const std::string told = Told();
  EXPECT_THAT(told, HasSubstr("refused"));
  EXPECT_EQ(told.find('\x1b'), std::string::npos);
  EXPECT_LT(told.size(), 400u);
}

TEST_F(QmpPeer, ThatSpeaksNoJsonOrOutOfTurnIsHeardNoMore) {
  Say(kGreeting + std::string("nonsense\r\n"));
  EXPECT_THAT(Told(), HasSubstr("gone"));
}

TEST_F(QmpPeer, WithoutAnEndOfItsLineIsHeardNoMore) {
  Say("{\"QMP\": \"");
  const std::string more(64 * 1024, 'x');
  const auto id = loop_.Add(theirs_.get(), POLLOUT, [&](short) {
    (void)::send(theirs_.get(), more.data(), more.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  });
  EXPECT_THAT(Told(), HasSubstr("gone"));
  loop_.Remove(id);
}

// The agent's socket is a monitor's too: only its one word lets the guest's bytes through.
TEST(VsockDial, TakesNoOtherAnswerThanItsOwn) {
  EventLoop loop;
  Bound(loop);
  const std::string path = "/tmp/writ-dial-" + std::to_string(::getpid());
  auto listener = ListenAtUnixPath(path, 0600);
  ASSERT_TRUE(listener);
  const std::vector<std::string> answers = {
      "", "\n", "OK\n", "OK x\n", std::string(100, 'O'), "NO 1\n", "OK 7\nguest"};
  std::size_t asked = 0;
  loop.Add(listener->get(), POLLIN, [&](short) {
    UniqueFd peer(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
    char word[32] = {};
    (void)!::read(peer.get(), word, sizeof word - 1);
    EXPECT_STREQ(word, "CONNECT 1000\n");
    const std::string& answer = answers[std::min(asked++, answers.size() - 1)];
    (void)::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  });
  std::string first;
  VsockDial dial(loop, path, 1000, [&](UniqueFd fd) {
    char bytes[16] = {};
    (void)!::read(fd.get(), bytes, sizeof bytes - 1);
    first = bytes;
    loop.Stop();
  });
  loop.Run();
  ::unlink(path.c_str());
  EXPECT_EQ(first, "guest");
  EXPECT_EQ(asked, answers.size());
}

}  // namespace
}  // namespace writ::test
