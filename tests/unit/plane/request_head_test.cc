// The head of a request: what two parsers could read differently is refused (L29).
#include "http/request_head.h"

#include <gtest/gtest.h>

#include "http/backoff.h"
#include "support/shared_dir.h"
#include "test_plane.h"
#include "writ/protocol/json.h"

namespace writ::plane::http {
namespace {

Result<RequestHead> Parse(std::string_view head) {
  return ParseRequestHead(head, {});
}
int Refusal(std::string_view head) {
  auto parsed = Parse(head);
  return parsed ? 0 : StatusOf(parsed.error());
}

TEST(RequestHead, ReadsMethodPathQueryAndLength) {
  auto head = Parse(
      "POST /v1/runs/x/log?offset=12&name=a%20b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
      "Authorization: Bearer t\r\n\r\n");
  ASSERT_TRUE(head) << head.error().ToString();
  EXPECT_EQ(head->path, "/v1/runs/x/log");
  EXPECT_EQ(head->query.at("offset"), "12");
  EXPECT_EQ(head->query.at("name"), "a b");
  EXPECT_EQ(head->content_length, 5u);
  EXPECT_EQ(head->authorization, "Bearer t");
}

TEST(RequestHead, RefusesFramingThatTwoParsersCouldReadDifferently) {  // L29
  const std::string start = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const char* lines : {
           "Content-Length: 5\r\nContent-Length: 6\r\n",
           "Content-Length: 5\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
           "Content-Length: 5, 5\r\n",
           "Content-Length: +5\r\n",
           "Content-Length: 0x5\r\n",
           "Content-Length: \r\n",
           "Content-Length: 99999999999999999999\r\n",
           "Transfer-Encoding: gzip, chunked\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding : chunked\r\n",
           "Content-Length : 5\r\n",
           "X: a\r\n Content-Length: 5\r\n",
           "X: a\n",
           "X: a\nY: b\r\n",
           "X: a\rb\r\n",
           "X\r\n",
           ": v\r\n",
           "Host: other\r\n",
           "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
       }) {
    EXPECT_EQ(Refusal(start + lines + "\r\n"), 400) << lines;
  }
  EXPECT_EQ(Refusal(std::string("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 35)), 400);
}

TEST(RequestHead, RefusesRequestLinesThatAreNotThreeWords) {
  for (const char* line :
       {"GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /", "GET / a HTTP/1.1",
        "GET\t/ HTTP/1.1", "G(T / HTTP/1.1", "GET http://h/ HTTP/1.1", "GET * HTTP/1.1",
        "GET /a#b HTTP/1.1", "GET /\x01 HTTP/1.1", "GET /\xc3\xa9 HTTP/1.1", "GET /?a=%zz HTTP/1.1",
        "GET /?a=1&a=2 HTTP/1.1", "GET / HTTPS/1.1"}) {
    EXPECT_EQ(Refusal(std::string(line) + "\r\nHost: h\r\n\r\n"), 400) << line;
  }
  EXPECT_EQ(Refusal("GET / HTTP/1.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(Refusal("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(Refusal("GET / HTTP/1.1\r\n\r\n"), 400) << "a request without Host";
}

TEST(RequestHead, HasItsOwnStatusForEachLimit) {
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 70; ++i) many += "X-" + std::to_string(i) + ": v\r\n";
  EXPECT_EQ(Refusal(many + "\r\n"), 431);
  EXPECT_EQ(Refusal("GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"), 414);
  EXPECT_EQ(Refusal("POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n\r\n"), 415);
  EXPECT_EQ(Refusal("POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n"), 417);
}

TEST(RequestHead, TheCanonicalFormHasNothingOfTheClientsText) {
  auto head =
      Parse("PUT /evil/..%2f?x=y HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 7\r\n\r\n");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->Canonical(), "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n");
}

TEST(RequestHead, RefusesEveryHeadThatAnotherStrictParserRefuses) {
  WRIT_REQUIRE_SHARED_TESTDATA("http1/llhttp-requests.json");
  auto cases =
      json::Parse(test::ReadText(test::SharedDir() + "/testdata/http1/llhttp-requests.json"))
          .value();
  auto replace = [](std::string text, std::string_view from, std::string_view to) {
    for (size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
    return text;
  };
  int refused_there = 0;
  for (const auto& entry : cases.Find("cases")->array()) {
    if (!*entry.Find("rejected")->if_bool()) continue;
    std::string text(entry.FindString("http").value());
    for (const auto& [from, to] :
         {std::pair{"\n", "\r\n"}, {"\\r", "\r"}, {"\\n", "\n"}, {"\\t", "\t"}, {"\\f", "\f"}}) {
      text = replace(text, from, to);
    }
    // Only what is wrong in the head is this parser's; broken chunks are seen when the body is
    // read.
    auto end = text.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    ++refused_there;
    auto ours = Parse(text.substr(0, end + 4));
    if (ours) {
      EXPECT_TRUE(ours->HasBody() || end + 4 < text.size()) << text;
    }
  }
  EXPECT_GT(refused_there, 10);
}

TEST(Backoff, LetsGoodWilledMistakesPassAndThenDoublesTheWait) {
  using std::chrono::seconds;
  ManualClock clock(test::kTestStart);
  Backoff backoff(clock);
  const std::string peer = "192.0.2.1";
  for (int i = 0; i <= Backoff::kFree; ++i) EXPECT_EQ(backoff.Failed(peer).count(), 0) << i;
  for (int wait : {1, 2, 4, 8, 16, 32, 60, 60}) {
    EXPECT_EQ(backoff.Failed(peer), seconds(wait));
    EXPECT_EQ(backoff.Failed(peer), seconds(wait)) << "what comes meanwhile adds nothing";
    clock.Advance(seconds(wait));
    EXPECT_EQ(backoff.Failed(peer).count(), 0);
  }
  EXPECT_EQ(backoff.Failed("192.0.2.2").count(), 0) << "another address is not punished";
  clock.Advance(std::chrono::minutes(11));
  EXPECT_EQ(backoff.Failed(peer).count(), 0);
  EXPECT_EQ(backoff.Failed(peer).count(), 0) << "a quiet spell forgives";
}

TEST(Backoff, ItsMemoryIsBounded) {
  ManualClock clock(test::kTestStart);
  Backoff backoff(clock);
  for (int i = 0; i < 10'000; ++i) backoff.Failed("host-" + std::to_string(i));
  EXPECT_EQ(backoff.size(), Backoff::kMaxAddresses);
}

}  // namespace
}  // namespace writ::plane::http
