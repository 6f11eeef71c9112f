// The router without sockets: peers of any address; and what the log says of a request.
#include "http/router.h"

#include <gtest/gtest.h>

#include "http_api.h"
#include "writ/base/log.h"
#include "writ/base/log_request.h"

namespace writ::test {
namespace {

// A request as a connection hands it on, from where the test says.
plane::http::Response Ask(plane::http::Router& router, const std::string& path,
                          const std::string& token, const std::string& peer, bool loopback) {
  std::string text = "GET " + path + " HTTP/1.1\r\nHost: plane.example.com\r\n";
  if (!token.empty()) text += "Authorization: Bearer " + token + "\r\n";
  const auto head = plane::http::ParseRequestHead(text + "\r\n", {}).value();
  return router.Handle({.head = head,
                        .id = "req_test",
                        .peer = peer,
                        .peer_group = peer,
                        .peer_is_loopback = loopback,
                        .read_body = [](const auto&) { return true; },
                        .peer_gone = [] { return false; }});
}

TEST(Router, BlobsAreFreeOnLoopbackAndAskForATokenOffIt) {
  TestPlane plane;
  SystemClock clock;
  plane::http::Router router(*plane, clock);
  const std::string path = "/v1/blobs/" + plane->PutBlob("bytes").value();
  const std::string token =
      plane->CreatePrincipal(plane.local, "req", {plane::Role::kRequester}).value().token;
  const std::string enroller =
      plane->CreatePrincipal(plane.local, "enr", {plane::Role::kEnroller}).value().token;
  EXPECT_EQ(Ask(router, path, "", "127.0.0.1", true).status, 200);
  for (const char* peer : {"192.0.2.7", "2001:db8::7"}) {
    const auto refused = Ask(router, path, "", peer, false);
    EXPECT_EQ(refused.status, 401) << peer;
    EXPECT_FALSE(refused.blob) << "no byte of it";
    EXPECT_EQ(Ask(router, path, "wrong", peer, false).status, 401);
    EXPECT_EQ(Ask(router, path, enroller, peer, false).status, 403);
    const auto served = Ask(router, path, token, peer, false);
    EXPECT_EQ(served.status, 200) << served.body;
    EXPECT_TRUE(served.blob);
  }
}

TEST(Router, ARunnersClaimTokenReadsBlobsFromOffLoopback) {
  TestPlane plane;
  SystemClock clock;
  plane::http::Router router(*plane, clock);
  TestRunner runner(*plane, plane.local);
  Submit(plane);
  const plane::Claim claim = Claimed(plane, runner);
  const std::string path = "/v1/blobs/" + plane->PutBlob("bytes").value();
  EXPECT_EQ(Ask(router, path, claim.claim_token, "192.0.2.7", false).status, 200);
  EXPECT_EQ(Ask(router, path, runner.token, "192.0.2.7", false).status, 401)
      << "the runner's own token is for claims";
}

TEST(Router, BlobReadsOfTheConfigurationHoldOnAndOffLoopback) {
  for (auto [reads, near, far] : {std::tuple{plane::BlobReads::kTokenAlways, 401, 401},
                                  {plane::BlobReads::kFree, 200, 200}}) {
    plane::Config config;
    config.blob_reads = reads;
    TestPlane plane("", config);
    SystemClock clock;
    plane::http::Router router(*plane, clock);
    const std::string path = "/v1/blobs/" + plane->PutBlob("bytes").value();
    EXPECT_EQ(Ask(router, path, "", "127.0.0.1", true).status, near);
    EXPECT_EQ(Ask(router, path, "", "192.0.2.7", false).status, far);
  }
}

// The lines of `event` in a log of JSON lines.
std::vector<json::Value> LinesOf(std::string_view text, std::string_view event) {
  std::vector<json::Value> out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    auto line = json::Parse(text.substr(0, end));
    EXPECT_TRUE(line) << text.substr(0, end);
    if (line && line->FindString("event") == event) out.push_back(std::move(*line));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

TEST_F(Api, EveryLogLineOfARequestCarriesTheIdThatItsAnswerHas) {
  Start();
  const std::string token = Token("req", {plane::Role::kRequester});
  const json::Value body = RunBody(**plane);
  const log::Level before = log::CurrentLevel();
  log::Configure(log::Level::kInfo, log::Format::kJson);
  testing::internal::CaptureStderr();
  const auto accepted = client->Post("/v1/runs", body, token);
  {
    const log::InRequest broken("req_broken");  // an error that is nobody's but the plane's
    EXPECT_EQ(plane::http::Router::FromError(Error{ErrorKind::kInternal, "a.b", "broke"}).status,
              500);
  }
  server->Stop();  // every line is written
  const std::string text = testing::internal::GetCapturedStderr();
  log::Configure(before, log::Format::kText);
  ASSERT_EQ(accepted.status, 200) << accepted.body;
  const std::string first = accepted.headers.at("x-request-id");
  auto ids = [&](std::string_view event) {
    std::vector<std::string> out;
    for (const json::Value& line : LinesOf(text, event))
      out.emplace_back(line.FindString("request").value_or("none"));
    return out;
  };
  EXPECT_EQ(ids("plane.run_accepted"), std::vector{first}) << text;
  EXPECT_EQ(ids("plane.internal"), std::vector{std::string("req_broken")}) << text;
  EXPECT_EQ(ids("plane.request"), std::vector{first}) << text;
}

}  // namespace
}  // namespace writ::test
