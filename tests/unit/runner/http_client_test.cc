#include "writ/runner/http_client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <semaphore>

#include "unit/runner/raw_server.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
using test::JsonAnswer;
using test::RawServer;

class HttpClientTest : public ::testing::Test {
 protected:
  Result<HttpResponse> Get(HttpEndpoint endpoint, milliseconds limit = milliseconds(5000),
                           std::stop_token stop = {}) {
    auto client = HttpClient::Open(std::move(endpoint), clock_);
    if (!client) return std::move(client).error();
    HttpRequest request;
    request.path = "/v1/health";
    request.max_response_bytes = 4096;
    return client->Do(request, Deadline::After(clock_, limit), stop);
  }
  SystemClock clock_;
};

TEST(OriginUrl, TakesPlainHttpToLoopbackOnly) {
  for (const char* ok : {"http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:80/",
                         "https://plane.example.com", "https://Plane.Example.com:8443/base/"})
    EXPECT_TRUE(ParseOriginUrl(ok)) << ok;
  for (const char* bad :
       {"http://10.0.0.1", "http://plane.example.com", "http://127.0.0.1.example.com",
        "http://localhost.example.com", "http://[::ffff:1.2.3.4]"})
    EXPECT_EQ(ParseOriginUrl(bad).error().code, "plane.url_plain_http") << bad;
  for (const char* bad :
       {"", "plane", "ftp://x", "https://", "https://u:p@x", "https://x?y", "https://x#y",
        "https://x:0", "https://x:65536", "https://x:", "https://a b", "https://x\r\nHost: y",
        "https://[::1", "https://[x]", "https://x/%2e"})
    EXPECT_EQ(ParseOriginUrl(bad).error().code, "plane.url_invalid") << bad;
  EXPECT_EQ(ParseOriginUrl("https://Plane.Example.com:8443/base/")->path_prefix, "/base");
}

TEST_F(HttpClientTest, BringsStatusBodyTypeAndDate) {
  RawServer server(RawServer::Security::kPlain,
                   [](auto& c) { c.write(JsonAnswer(404, "{\"error\":\"no\"}")); });
  Result<HttpResponse> answer = Get({.url = server.url()});
  ASSERT_TRUE(answer) << answer.error().ToString();
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->content_type, "application/json");
  EXPECT_EQ(answer->body, "{\"error\":\"no\"}");
  EXPECT_EQ(answer->date, "Sun, 22 Nov 2026 08:35:15 GMT");
}

TEST_F(HttpClientTest, DoesNotFollowRedirects) {
  RawServer server(RawServer::Security::kPlain, [](auto& c) {
    c.write(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/other\r\nContent-Length: "
        "0\r\nConnection: close\r\n\r\n");
  });
  Result<HttpResponse> answer = Get({.url = server.url()});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 302);
  EXPECT_EQ(server.connections(), 1);
}

// L19
TEST_F(HttpClientTest, EndsAtItsDeadlineWhenTheServerDripsForEver) {
  std::promise<void> given_up;
  RawServer server(RawServer::Security::kPlain, [gone = given_up.get_future().share()](auto& c) {
    c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (c.write("1\r\nx\r\n") && gone.wait_for(milliseconds(5)) == std::future_status::timeout) {
    }
  });
  Result<HttpResponse> answer = Get({.url = server.url()}, milliseconds(300));
  given_up.set_value();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.timeout");
  EXPECT_NE(answer.error().message.find(" ms"), std::string::npos);  // the measured wait
}

// Long before the deadline of a large blob, so that the call can be made again.
TEST_F(HttpClientTest, GivesUpAnAnswerThatStandsStillForTheSilenceItIsGiven) {  // L19
  std::promise<void> given_up;
  RawServer server(RawServer::Security::kPlain, [gone = given_up.get_future().share()](auto& c) {
    c.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
    gone.wait();
  });
  auto client = HttpClient::Open({.url = server.url()}, clock_);
  ASSERT_TRUE(client);
  HttpRequest request;
  request.path = "/x";
  request.silence = milliseconds(300);
  const Deadline deadline = Deadline::After(clock_, std::chrono::hours(1));
  auto answer = client->Do(request, deadline, {});
  given_up.set_value();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.timeout");
  EXPECT_FALSE(deadline.Passed());
}

TEST_F(HttpClientTest, WaitsForAnAnswerThatMovesForLongerThanTheSilence) {
  std::binary_semaphore taken(1);
  RawServer server(RawServer::Security::kPlain, [&](auto& c) {
    c.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 5; ++i) {
      taken.acquire();
      c.write("x");
    }
  });
  ManualClock clock(WallTime{0});
  auto client = HttpClient::Open({.url = server.url()}, clock);
  ASSERT_TRUE(client);
  HttpRequest request;
  request.path = "/x";
  request.silence = milliseconds(60'000);
  request.sink = [&](std::string_view) {
    clock.Advance(milliseconds(40'000));
    taken.release();
    return true;
  };
  const Deadline deadline = Deadline::After(clock, std::chrono::hours(1));
  auto answer = client->Do(request, deadline, {});
  ASSERT_TRUE(answer) << answer.error().ToString();
  EXPECT_GT(deadline.Spent(), request.silence);
}

TEST_F(HttpClientTest, RefusesABodyWithoutEnd) {
  RawServer server(RawServer::Security::kPlain, [](auto& c) {
    c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (c.write("400\r\n" + std::string(1024, 'x') + "\r\n")) {
    }
  });
  Result<HttpResponse> answer = Get({.url = server.url()});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.too_large");
}

TEST_F(HttpClientTest, StopsAtOnceWhenAskedTo) {
  std::promise<void> arrived;
  std::promise<void> finish;
  RawServer server(RawServer::Security::kPlain, [&](auto&) {
    arrived.set_value();
    finish.get_future().wait();
  });
  std::stop_source stop;
  auto answer = std::async(std::launch::async, [&] {
    return Get({.url = server.url()}, milliseconds(60000), stop.get_token());
  });
  arrived.get_future().wait();
  stop.request_stop();
  EXPECT_EQ(answer.get().error().kind, ErrorKind::kCancelled);
  finish.set_value();
}

TEST_F(HttpClientTest, IgnoresProxyVariablesAndUsesTheConfiguredProxy) {
  RawServer proxy(RawServer::Security::kPlain, [](auto& c) {
    c.write("HTTP/1.1 403 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  });
  RawServer server(RawServer::Security::kPlain, [](auto& c) { c.write(JsonAnswer(200, "{}")); });
  setenv("http_proxy", proxy.url().c_str(), 1);
  setenv("all_proxy", proxy.url().c_str(), 1);
  Result<HttpResponse> direct = Get({.url = server.url()});
  unsetenv("http_proxy");
  unsetenv("all_proxy");
  ASSERT_TRUE(direct);
  EXPECT_EQ(direct->status, 200);
  EXPECT_EQ(proxy.connections(), 0);
  Result<HttpResponse> proxied = Get({.url = "https://plane.invalid", .proxy = proxy.url()});
  EXPECT_FALSE(proxied);
  EXPECT_EQ(proxy.connections(), 1);
}

// L10
TEST_F(HttpClientTest, ErrorsCarryHostAndMethodButNoHeaderBodyOrUrl) {
  SystemClock clock;
  HttpClient client = HttpClient::Open({.url = "http://127.0.0.1:1"}, clock).value();
  Secret token("very-secret-token");
  HttpRequest request;
  request.method = "POST";
  request.path = "/v1/runs/some-run/complete";
  request.body = "body-marker";
  request.bearer = &token;
  Result<HttpResponse> answer = client.Do(request, Deadline::After(clock, milliseconds(2000)), {});
  ASSERT_FALSE(answer);
  const std::string text = answer.error().ToString();
  EXPECT_NE(text.find("POST to 127.0.0.1:"), std::string::npos) << text;
  for (const char* never : {"very-secret-token", "body-marker", "some-run", "http://"})
    EXPECT_EQ(text.find(never), std::string::npos) << text;
}

class TlsClientTest : public HttpClientTest {
 protected:
  TlsClientTest()
      : server_(RawServer::Security::kTls, [](auto& c) { c.write(JsonAnswer(200, "{}")); }) {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-tls-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    ca_ = dir_ + "/ca.pem";
    std::ofstream(ca_) << server_.certificate_pem();
  }
  ~TlsClientTest() override { std::filesystem::remove_all(dir_); }
  RawServer server_;
  std::string dir_, ca_;
};

TEST_F(TlsClientTest, RefusesACertificateThatNobodyVouchesFor) {
  Result<HttpResponse> answer = Get({.url = server_.url()});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.tls");
}

TEST_F(TlsClientTest, AcceptsTheConfiguredAuthority) {
  EXPECT_TRUE(Get({.url = server_.url(), .ca_file = ca_}));
}

TEST_F(TlsClientTest, RefusesAnotherHostNameUnderTheConfiguredAuthority) {
  Result<HttpResponse> answer =
      Get({.url = "https://localhost:" + std::to_string(server_.port()), .ca_file = ca_});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.tls");
}

TEST_F(TlsClientTest, AcceptsThePinnedKeyAndNoOther) {
  EXPECT_TRUE(Get({.url = server_.url(), .pinned_key = server_.pin()}));
  RawServer other(RawServer::Security::kTls, [](auto& c) { c.write(JsonAnswer(200, "{}")); });
  Result<HttpResponse> answer = Get({.url = other.url(), .pinned_key = server_.pin()});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "plane.tls");
}

TEST_F(TlsClientTest, AuthorityAndPinMustBothHold) {
  RawServer other(RawServer::Security::kTls, [](auto& c) { c.write(JsonAnswer(200, "{}")); });
  EXPECT_FALSE(Get({.url = server_.url(), .ca_file = ca_, .pinned_key = other.pin()}));
}

}  // namespace
}  // namespace writ::runner
