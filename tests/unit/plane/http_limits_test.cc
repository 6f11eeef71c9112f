// What one client can take of a plane: bodies, heads, rates, guesses, connections.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "http/connection.h"
#include "http_api.h"
#include "writ/base/unique_fd.h"

namespace writ::test {
namespace {

using json::Object;
using std::chrono::milliseconds;

TEST_F(Api, BodiesAndHeadsHaveLimits) {
  plane::Config config;
  config.max_json_bytes = 4096;
  config.max_blob_bytes = 10'000;
  config.max_head_bytes = 4096;
  Start(config);
  auto token = Token("req", {plane::Role::kRequester});
  EXPECT_EQ(client
                ->Send({.method = "POST",
                        .path = "/v1/runs",
                        .token = token,
                        .body = std::string(5000, ' ')})
                .status,
            413);
  EXPECT_EQ(client
                ->Send({.method = "POST",
                        .path = "/v1/blobs",
                        .token = token,
                        .body = std::string(10'001, 'x')})
                .status,
            413);
  EXPECT_EQ(client
                ->Send({.method = "POST",
                        .path = "/v1/blobs",
                        .token = token,
                        .body = std::string(10'000, 'x')})
                .status,
            200);
  EXPECT_EQ(client->Get("/v1/health", std::string(5000, 't')).status, 431);
  std::string chunked = "POST /v1/blobs HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + token +
                        "\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) chunked += "3e8\r\n" + std::string(1000, 'y') + "\r\n";
  EXPECT_TRUE(RawExchange(server->port(), chunked + "0\r\n\r\n").starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(
      RawExchange(server->port(),
                  "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
          .starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(RawExchange(server->port(),
                          "POST /v1/claims HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                          "chunked\r\nConnection: close\r\n\r\nzz\r\n")
                  .starts_with("HTTP/1.1 400"));
  int left = 0;
  for (const auto& file : std::filesystem::directory_iterator(plane->dir() + "/plane/tmp"))
    left += file.exists() ? 1 : 0;
  EXPECT_EQ(left, 0) << "a refused upload leaves nothing behind";
}

TEST_F(Api, GuessesBackOffPerAddressAndARightTokenBesideThemIsServed) {
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  TestRunner runner(**plane, plane->local);
  HttpAnswer last;
  for (int i = 0; i < 40 && last.status != 429; ++i)
    last = client->Get("/v1/runs", "wrong-" + std::to_string(i));
  EXPECT_EQ(last.status, 429);
  EXPECT_EQ(last.headers["retry-after"], "1");
  EXPECT_EQ(last.Json().FindString("detail"), "auth.backoff");
  const Object wrong{{"runnerToken", "guess"}, {"pool", "default"}};
  EXPECT_EQ(client->Post("/v1/claims", wrong).status, 429) << "one back-off for every credential";
  // A guesser behind the same address locks nobody out.
  EXPECT_EQ(client->Get("/v1/runs", token).status, 200);
  EXPECT_EQ(
      client->Post("/v1/claims", Object{{"runnerToken", runner.token}, {"pool", "default"}}).status,
      200);
  EXPECT_EQ(client->Get("/v1/health").status, 200);
}

TEST_F(Api, EveryCallOfARunnerIsServedWhileItsAddressBacksOff) {
  Start();
  TestRunner runner(**plane, plane->local);
  for (int i = 0; i < 40; ++i) client->Get("/v1/runs", "wrong-" + std::to_string(i));
  auto enroll =
      (*plane)->CreateEnrollToken(plane->local, std::chrono::hours(1), "default").value().token;
  auto pem = protocol::PrivateKey::Generate().Public().ToPem();
  EXPECT_EQ(client
                ->Post("/v1/runners/enroll",
                       Object{{"enrollToken", enroll}, {"publicKeyPem", pem}, {"pool", "default"}})
                .status,
            200);
  Submit(*plane);
  auto claim = Claimed(*plane, runner);
  auto finished = FinishClaim(claim, runner, plane->clock.Now());
  const std::string run = "/v1/runs/" + claim.run_id;
  EXPECT_EQ(client
                ->Send({.method = "POST",
                        .path = run + "/log?offset=0",
                        .token = claim.claim_token,
                        .body = "line",
                        .content_type = "application/octet-stream"})
                .status,
            200);
  EXPECT_EQ(client
                ->Post(run + "/events",
                       Object{{"claimToken", claim.claim_token}, {"events", finished.events}})
                .status,
            200);
  auto done = client->Post(
      run + "/complete", Object{{"claimToken", claim.claim_token}, {"receipt", finished.receipt}});
  EXPECT_EQ(done.status, 200) << done.body;
}

TEST_F(Api, AClaimTokenThatMovesBlobsIsNoFailedAuthentication) {
  plane::Config config;
  config.blob_reads = plane::BlobReads::kTokenAlways;
  Start(config);
  TestRunner runner(**plane, plane->local);
  Submit(*plane);
  auto claim = Claimed(*plane, runner);
  for (int i = 0; i < 40; ++i) {
    auto put = client->Send({.method = "POST",
                             .path = "/v1/blobs",
                             .token = claim.claim_token,
                             .body = "piece " + std::to_string(i),
                             .content_type = "application/octet-stream"});
    ASSERT_EQ(put.status, 200) << put.body;
    const std::string path = "/v1/blobs/" + std::string(put.Json().FindString("hash").value());
    ASSERT_EQ(client->Get(path, claim.claim_token).status, 200);
  }
  EXPECT_EQ(client->Get("/v1/runs", "wrong").status, 401) << "the first failure of this address";
}

TEST_F(Api, RunRequestsOverTheRateAreToldWhenToComeAgain) {
  plane::Config config;
  config.per_principal = plane::RateLimit{30, 1};
  Start(config);
  auto token = Token("req", {plane::Role::kRequester});
  auto body = RunBody(**plane);
  EXPECT_EQ(client->Post("/v1/runs", body, token).status, 200);
  auto second = client->Post("/v1/runs", body, token);
  EXPECT_EQ(second.status, 429) << second.body;
  EXPECT_EQ(second.headers["retry-after"], "2");
}

// A raw connection from one of the loopback addresses, which are peers of their own.
UniqueFd ConnectFrom(const char* source, int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  ::inet_pton(AF_INET, source, &own.sin_addr);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(static_cast<std::uint16_t>(port));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&server), sizeof server), 0);
  return fd;
}

// The first line of the answer to a whole request on this connection; empty where there is none.
std::string Ask(int fd) {
  constexpr std::string_view kRequest =
      "GET /v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  (void)!::send(fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    out.append(buffer, static_cast<std::size_t>(n));
  return out.substr(0, out.find("\r\n"));
}

TEST_F(Api, OneAddressWithHalfOpenConnectionsKeepsNobodyElseOut) {
  plane::Config config;
  config.max_connections = 6;
  config.max_connections_on_loopback = 3;
  Start(config);
  const int port = server->port();
  std::vector<UniqueFd> half_open;
  for (int i = 0; i < 3; ++i) {
    half_open.push_back(ConnectFrom("127.0.0.9", port));
    ASSERT_EQ(::send(half_open.back().get(), "GET /v1/h", 9, MSG_NOSIGNAL), 9);
  }
  // Connections are accepted in the order in which they were made.
  char refused[16] = {};
  UniqueFd fourth = ConnectFrom("127.0.0.9", port);
  ASSERT_GT(::recv(fourth.get(), refused, sizeof refused - 1, 0), 0);
  EXPECT_EQ(std::string_view(refused).substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(Ask(ConnectFrom("127.0.0.1", port).get()), "HTTP/1.1 200 OK");
  // What has ended makes room again.
  half_open.clear();
  const auto deadline = real.Monotonic() + std::chrono::seconds(20);
  std::string answer;
  while (answer != "HTTP/1.1 200 OK" && real.Monotonic() < deadline)
    answer = Ask(ConnectFrom("127.0.0.9", port).get());
  EXPECT_EQ(answer, "HTTP/1.1 200 OK");
}

// A head that never ends: bytes keep coming, so only a deadline for the whole of it helps. The
// other limits are out of reach.
TEST_F(Api, AHeadThatDripsIsGivenUpAtItsDeadline) {
  Start();
  plane::http::Router router(**plane, real);
  plane::http::MessageEngine engine(router, real);
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  UniqueFd client_end(ends[1]);
  std::thread serving([&, fd = UniqueFd(ends[0])]() mutable {
    plane::http::ConnectionLimits limits;
    limits.max_head_bytes = 1u << 30;
    limits.idle = limits.io = std::chrono::hours(1);
    limits.head = milliseconds(100);
    std::atomic<bool> stopping{false};
    auto socket = plane::http::Socket::Plain(std::move(fd));
    engine.Serve(*socket, {"test", "test", true}, limits, stopping);
  });
  std::size_t dripped = 0;
  while (::send(client_end.get(), "G", 1, MSG_NOSIGNAL) == 1) {
    ++dripped;
    pollfd gone{client_end.get(), POLLRDHUP, 0};
    (void)::poll(&gone, 1, 1);
  }
  serving.join();
  EXPECT_GT(dripped, 0u);
}

}  // namespace
}  // namespace writ::test
