// Who speaks first on a channel that may have been another host's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "unit/backends/microvm/pair.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::HasSubstr;
using StreamPtr = std::shared_ptr<Stream>;

constexpr char kToken[] = "0123";

// A guest whose snapshot was taken: what its last host had still sent is no part of the new
// session.
TEST(MicrovmSession, BeginsAnewWhereTheHostDoesAndSaysNothingBefore) {
  EventLoop loop;
  Bound(loop);
  StreamPair pair = MakeStreamPair();
  const std::string rest = "PRI * HTTP/2.0" + std::string(5000, 'x') + "PRI * HT";
  ASSERT_EQ(::write(pair.host.get(), rest.data(), rest.size()), static_cast<ssize_t>(rest.size()));
  Session::Events events;
  events.on_request = [](const StreamPtr& stream) {
    stream->Answer(200);
    stream->Finish();
  };
  auto guest = Session::Make(loop, std::move(pair.guest), Session::Side::kGuest, kToken, events);
  ASSERT_TRUE(guest);
  loop.At(EventLoop::Clock::now() + std::chrono::milliseconds(20), [&] { loop.Stop(); });
  loop.Run();
  char byte = 0;
  EXPECT_EQ(::recv(pair.host.get(), &byte, 1, MSG_DONTWAIT), -1) << "the guest spoke first";
  auto host = Session::Make(loop, std::move(pair.host), Session::Side::kHost, kToken, {});
  ASSERT_TRUE(host);
  auto stream = (*host)->Request("/hello");
  ASSERT_TRUE(stream);
  int status = 0;
  (*stream)->on_status = [&](int got) { status = got; };
  (*stream)->on_closed = [&] { loop.Stop(); };
  (*stream)->Finish();
  loop.Run();
  EXPECT_EQ(status, 200);
}

TEST(MicrovmSession, DoesNotWaitForEverForAHostThatDoesNotBegin) {
  EventLoop loop;
  Bound(loop);
  StreamPair pair = MakeStreamPair();
  Session::Events events;
  std::string closed;
  events.on_closed = [&](const std::string& why) {
    closed = why;
    loop.Stop();
  };
  auto guest = Session::Make(loop, std::move(pair.guest), Session::Side::kGuest, kToken, events);
  ASSERT_TRUE(guest);
  const std::string noise(64 * 1024, 'x');
  const auto id = loop.Add(pair.host.get(), POLLOUT, [&](short) {
    (void)::send(pair.host.get(), noise.data(), noise.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  });
  loop.Run();
  loop.Remove(id);
  EXPECT_THAT(closed, HasSubstr("does not begin"));
}

}  // namespace
}  // namespace writ::test
