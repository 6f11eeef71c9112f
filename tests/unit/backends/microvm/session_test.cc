// HTTP/2 over a byte stream: what each side holds against the other.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "unit/backends/microvm/pair.h"
#include "writ/backends/microvm/relay.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::HasSubstr;
using StreamPtr = std::shared_ptr<Stream>;

constexpr char kToken[] = "0123";

struct Two {
  EventLoop loop;
  std::string host_closed;
  std::string guest_closed;
  std::unique_ptr<Session> host;
  std::unique_ptr<Session> guest;

  explicit Two(std::function<void(const StreamPtr&)> on_request, std::string guest_token = kToken) {
    StreamPair pair = MakeStreamPair();
    auto make = [&](UniqueFd fd, Session::Side side, std::string token, std::string& closed) {
      Session::Events events;
      events.on_request = on_request;
      events.on_closed = [this, &closed](const std::string& why) {
        closed = why;
        loop.Stop();
      };
      auto made = Session::Make(loop, std::move(fd), side, std::move(token), std::move(events));
      EXPECT_TRUE(made);
      return std::move(made).value();
    };
    host = make(std::move(pair.host), Session::Side::kHost, kToken, host_closed);
    guest =
        make(std::move(pair.guest), Session::Side::kGuest, std::move(guest_token), guest_closed);
    Bound(loop);
  }
  StreamPtr Ask(std::string_view path) {
    auto stream = host->Request(path);
    EXPECT_TRUE(stream);
    return *stream;
  }
};

// A host with a peer that speaks as it likes.
std::string ClosedBy(const std::string& bytes) {
  EventLoop loop;
  Bound(loop);
  StreamPair pair = MakeStreamPair();
  std::string closed;
  Session::Events events;
  events.on_closed = [&](const std::string& why) {
    closed = why;
    loop.Stop();
  };
  auto host =
      Session::Make(loop, std::move(pair.host), Session::Side::kHost, kToken, std::move(events));
  EXPECT_TRUE(host);
  auto stream = (*host)->Request("/hello");
  EXPECT_TRUE(stream);
  bool stream_closed = false;
  (*stream)->on_closed = [&] { stream_closed = true; };
  // Once the request has come: before that there is no stream to be spoken of.
  EventLoop::WatchId asked = 0;
  asked = loop.Add(pair.guest.get(), POLLIN, [&](short) {
    loop.Remove(asked);
    EXPECT_EQ(::write(pair.guest.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
    ::shutdown(pair.guest.get(), SHUT_WR);
  });
  loop.Run();
  EXPECT_TRUE(stream_closed);
  return closed;
}

std::string RawFrame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                     const std::string& body) {
  std::string out;
  for (int shift : {16, 8, 0}) out += static_cast<char>((body.size() >> shift) & 0xff);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>((stream >> shift) & 0xff);
  return out + body;
}
const std::string kSettings = RawFrame(4, 0, 0, "");

// More is thrown away with the streams that are given up than the connection's window holds.
TEST(MicrovmSession, LosesNoWindowByStreamsThatAreGivenUp) {
  Two two([](const StreamPtr& stream) {
    stream->Answer(200);
    stream->Write(std::string(stream->path() == "/last" ? 5 : kStreamWindow, 'x'));
    stream->Finish();
  });
  std::size_t given_up = 0;
  std::string got;
  std::function<void()> next = [&] {
    auto stream = two.Ask(given_up == kMaxStreams + 8 ? "/last" : "/unread");
    if (stream->path() == "/last") {
      stream->on_bytes = [&](std::string_view bytes) { got += bytes; };
      stream->on_end = [&] { two.loop.Stop(); };
      return;
    }
    auto held = std::make_shared<std::size_t>(0);
    stream->on_bytes = [&, stream, held](std::string_view bytes) {
      *held += bytes.size();
      if (*held == kStreamWindow) stream->Reset();
    };
    stream->on_closed = [&] {
      ++given_up;
      two.loop.Post(next);
    };
  };
  next();
  two.loop.Run();
  EXPECT_EQ(two.host_closed + two.guest_closed, "");
  EXPECT_EQ(given_up, kMaxStreams + 8);
  EXPECT_EQ(got, "xxxxx");
}

TEST(MicrovmSession, AnswersARequestWithItsBytes) {
  Two two([](const StreamPtr& stream) {
    EXPECT_EQ(stream->path(), "/hello");
    stream->Answer(200);
    stream->Write("hel");
    stream->Write("lo");
    stream->Finish();
  });
  std::string got;
  int status = 0;
  auto stream = two.Ask("/hello");
  stream->on_status = [&](int s) { status = s; };
  stream->on_bytes = [&](std::string_view bytes) {
    got += bytes;
    stream->Consumed(bytes.size());
  };
  stream->on_closed = [&] { two.loop.Stop(); };
  stream->Finish();
  two.loop.Run();
  EXPECT_EQ(status, 200);
  EXPECT_EQ(got, "hello");
}

TEST(MicrovmSession, RefusesARequestWithAnotherToken) {
  bool asked = false;
  Two two([&](const StreamPtr&) { asked = true; }, "another");
  int status = 0;
  auto stream = two.Ask("/hello");
  stream->on_status = [&](int s) { status = s; };
  stream->on_closed = [&] { two.loop.Stop(); };
  stream->Finish();
  two.loop.Run();
  EXPECT_EQ(status, 403);
  EXPECT_FALSE(asked);
}

// What nobody takes off a stream stays with its sender.
TEST(MicrovmSession, HoldsNoMoreOfAStreamThanItsWindow) {
  StreamPtr answering;
  Two two([&](const StreamPtr& stream) {
    stream->Answer(200);
    stream->Write(std::string(4u << 20, 'x'));
    answering = stream;
  });
  std::size_t got = 0;
  auto stream = two.Ask("/flood");
  stream->on_bytes = [&](std::string_view bytes) {
    got += bytes.size();
    if (got == kStreamWindow) two.loop.Stop();
    EXPECT_LE(got, kStreamWindow);
  };
  two.loop.Run();
  EXPECT_EQ(got, kStreamWindow);
  EXPECT_EQ(answering->buffered(), (4u << 20) - kStreamWindow);
}

TEST(MicrovmSession, RelaysADescriptorBothWaysToItsEnd) {
  StreamPair inner = MakeStreamPair();
  StreamPair outer = MakeStreamPair();
  int done = 0;
  Two two([&](const StreamPtr& stream) {
    stream->Answer(200);
    StartRelay(two.loop, std::move(inner.guest), stream, Ways::kBoth, [&] {
      if (++done == 2) two.loop.Stop();
    });
  });
  StartRelay(two.loop, std::move(outer.guest), two.Ask("/proxy"), Ways::kBoth, [&] {
    if (++done == 2) two.loop.Stop();
  });
  const std::string there(300'000, 'a');
  const std::string back(500'000, 'b');
  std::jthread one([&] {
    (void)!::write(inner.host.get(), there.data(), there.size());
    ::shutdown(inner.host.get(), SHUT_WR);
  });
  std::string got_there;
  std::string got_back;
  auto read_all = [](int fd, std::string& into) {
    char buffer[65536];
    for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
      into.append(buffer, static_cast<std::size_t>(n));
  };
  std::jthread other([&] {
    (void)!::write(outer.host.get(), back.data(), back.size());
    ::shutdown(outer.host.get(), SHUT_WR);
  });
  std::jthread reads([&] { read_all(inner.host.get(), got_back); });
  std::jthread reads_too([&] { read_all(outer.host.get(), got_there); });
  two.loop.Run();
  for (auto* thread : {&one, &other, &reads, &reads_too}) thread->join();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(got_there, there);
  EXPECT_EQ(got_back, back);
}

TEST(MicrovmSession, EndsWithASentenceWhenThePeerSpeaksAnotherProtocol) {
  EXPECT_THAT(ClosedBy("HTTP/1.1 200 OK\r\n\r\n"), HasSubstr("protocol"));
  EXPECT_THAT(ClosedBy(std::string(100'000, '\0')), HasSubstr("protocol"));
  EXPECT_THAT(ClosedBy(""), HasSubstr("at its end"));
}

TEST(MicrovmSession, RefusesAPromiseAForeignStreamAndAHeadThatIsTooLong) {
  EXPECT_THAT(ClosedBy(kSettings + RawFrame(5, 4, 1, std::string("\0\0\0\2", 4))),
              HasSubstr("protocol"));
  EXPECT_THAT(ClosedBy(kSettings + RawFrame(0, 0, 77, "bytes of no stream")),
              HasSubstr("protocol"));
  // ":status: 200", then a literal field of 100 times 120 bytes without an index.
  std::string head = "\x88";
  for (int i = 0; i < 100; ++i) head += std::string("\0\1x\x78", 4) + std::string(120, 'v');
  EXPECT_THAT(ClosedBy(kSettings + RawFrame(1, 4, 1, head)), HasSubstr("header fields"));
}

// One byte that no header field may have: one stream's fault, and the end of all of them.
TEST(MicrovmSession, EndsByAFrameThatIsWrongForOneStreamOnly) {
  EXPECT_THAT(ClosedBy(kSettings + RawFrame(1, 4, 1, std::string("\x88\0\1x\1\n", 6))),
              HasSubstr("protocol"));
}

// A second head and trailers would connect a job a second time on one stream.
TEST(MicrovmSession, TellsTheHeadOfAnAnswerOnce) {
  EventLoop loop;
  Bound(loop);
  StreamPair pair = MakeStreamPair();
  Session::Events events;
  events.on_closed = [&](const std::string&) { loop.Stop(); };
  auto host =
      Session::Make(loop, std::move(pair.host), Session::Side::kHost, kToken, std::move(events));
  ASSERT_TRUE(host);
  auto stream = (*host)->Request("/proxy");
  ASSERT_TRUE(stream);
  int told = 0;
  (*stream)->on_status = [&](int status) {
    EXPECT_EQ(status, 200);
    ++told;
  };
  EventLoop::WatchId asked = 0;
  asked = loop.Add(pair.guest.get(), POLLIN, [&](short) {
    loop.Remove(asked);
    const std::string bytes =
        kSettings + RawFrame(1, 4, 1, "\x88") + RawFrame(1, 5, 1, std::string("\0\1x\1v", 5));
    EXPECT_EQ(::write(pair.guest.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
    ::shutdown(pair.guest.get(), SHUT_WR);
  });
  loop.Run();
  EXPECT_EQ(told, 1);
}

TEST(MicrovmSession, IsNotDrownedInPings) {
  std::string pings = kSettings;
  for (int i = 0; i < 3000; ++i) pings += RawFrame(6, 0, 0, "12345678");
  EXPECT_NE(ClosedBy(pings), "");
}

TEST(MicrovmSession, TellsOfASignOfLife) {
  Two two([](const StreamPtr&) {});
  bool alive = false;
  two.host->Ping([&] {
    alive = true;
    two.loop.Stop();
  });
  two.loop.Run();
  EXPECT_TRUE(alive);
}

TEST(MicrovmSession, ClosesEveryStreamWhenTheOtherSideGoes) {
  bool closed = false;
  StreamPtr asked;
  Two two([&](const StreamPtr& stream) {
    asked = stream;
    // Answered: both have said all that belongs to the start.
    two.host->Ping([&] { two.loop.Post([&] { two.guest.reset(); }); });
  });
  auto stream = two.Ask("/job");
  stream->on_closed = [&] { closed = true; };
  two.loop.Run();
  EXPECT_TRUE(closed);
  EXPECT_FALSE(asked->open());
  EXPECT_THAT(two.host_closed, HasSubstr("at its end"));
  asked->Write("to nobody");  // does nothing
  stream->Reset();
}

}  // namespace
}  // namespace writ::test
