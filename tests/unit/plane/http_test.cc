// The API over real sockets: roles, tokens, blobs, long polls, stopping.
#include <gtest/gtest.h>

#include <thread>

#include "http_api.h"
#include "writ/protocol/keys.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using std::chrono::milliseconds;

TEST_F(Api, HealthListsTheExtensionAndReadyLooksForItself) {
  Start();
  EXPECT_EQ(client->Get("/v1/health").Json().Find("extensions")->array().at(0).string(), "writ.1");
  EXPECT_EQ(client->Get("/v1/ready").status, 200);
}

TEST_F(Api, EveryAnswerSaysWhatTimeItIsByThePlanesClock) {  // L1: runners judge contracts by it
  plane = std::make_unique<TestPlane>();
  server = plane::HttpServer::Start(**plane, plane->clock, {}).value();
  client = std::make_unique<HttpClient>(server->url());
  for (const char* path : {"/v1/health", "/v1/runs", "/nowhere"})
    EXPECT_EQ(client->Get(path).headers["date"], "Sat, 22 Nov 2025 08:26:40 GMT") << path;
  plane->clock.Advance(std::chrono::hours(1));
  EXPECT_EQ(client->Get("/v1/health").headers["date"], "Sat, 22 Nov 2025 09:26:40 GMT");
}

TEST_F(Api, IsNotReadyWithADamagedPolicy) {
  Start();
  plane->SetPolicyText("{");
  auto ready = client->Get("/v1/ready");
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(*ready.Json().Find("ready")->if_bool(), false);
}

TEST_F(Api, EachRoleReachesItsOwnCallsOnly) {
  Start();
  struct Row {
    const char* method;
    std::string path;
    std::vector<plane::Role> may;  // admin always may
  };
  using enum plane::Role;
  const std::vector<Row> rows = {
      {"POST", "/v1/runs", {kRequester}},
      {"GET", "/v1/runs", {kRequester, kApprover}},
      {"GET", "/v1/runs/run_x", {kRequester, kApprover}},
      {"GET", "/v1/runs/run_x/bundle", {kRequester, kApprover}},
      {"GET", "/v1/runs/run_x/log", {kRequester, kApprover}},
      {"POST", "/v1/runs/run_x/approve", {kApprover}},
      {"POST", "/v1/runs/run_x/cancel", {kRequester}},
      {"GET", "/v1/runners", {kEnroller}},
      {"GET", "/v1/policy", {kRequester, kApprover}},
      {"GET", "/v1/export?since=1970-01-01T00:00:00.000Z", {}},
      {"POST", "/v1/enroll-tokens", {}},
      {"POST", "/v1/principals", {}},
      {"POST", "/v1/blobs", {kRequester}},
  };
  std::map<plane::Role, std::string> tokens;
  for (auto role : {kAdmin, kRequester, kApprover, kEnroller}) {
    tokens[role] = Token(std::string(plane::RoleName(role)), {role});
  }
  for (const Row& row : rows) {
    HttpCall call{.method = row.method, .path = row.path, .token = "", .body = std::nullopt};
    if (call.method == "POST") call.body = "{}";
    EXPECT_EQ(client->Send(call).status, 401) << row.path;
    for (const auto& [role, token] : tokens) {
      call.token = token;
      const bool may =
          role == kAdmin || std::find(row.may.begin(), row.may.end(), role) != row.may.end();
      const long status = client->Send(call).status;
      EXPECT_EQ(status != 403, may)
          << row.method << " " << row.path << " as " << plane::RoleName(role) << ": " << status;
      EXPECT_NE(status, 401);
      EXPECT_LT(status, 500);
    }
  }
}

TEST_F(Api, PrincipalsAndEnrolTokensAreMadeOverHttpAndStoredAsHashesOnly) {  // L11
  Start();
  auto admin = Token("root", {plane::Role::kAdmin});
  auto made =
      client->Post("/v1/principals", Object{{"name", "ci"}, {"roles", Array{"requester"}}}, admin);
  ASSERT_EQ(made.status, 200) << made.body;
  auto token = std::string(made.Json().FindString("token").value());
  EXPECT_EQ(client->Get("/v1/runs", token).status, 200);
  EXPECT_EQ(
      client->Post("/v1/principals", Object{{"name", "ci"}, {"roles", Array{"requester"}}}, admin)
          .status,
      409);
  EXPECT_EQ(
      client->Post("/v1/principals", Object{{"name", "x"}, {"roles", Array{"king"}}}, admin).status,
      400);
  auto enroll = client->Post("/v1/enroll-tokens", Object{{"pool", "default"}}, admin);
  auto once = std::string(enroll.Json().FindString("token").value());
  ASSERT_TRUE((*plane)->RevokePrincipal(plane->local, "ci"));
  EXPECT_EQ(client->Get("/v1/runs", token).status, 401);
  server->Stop();
  plane->Close();
  for (const auto& file : std::filesystem::recursive_directory_iterator(plane->dir())) {
    if (!file.is_regular_file()) continue;
    auto bytes = ReadText(file.path());
    EXPECT_EQ(bytes.find(token), std::string::npos);
    EXPECT_EQ(bytes.find(once), std::string::npos);
  }
}

TEST_F(Api, AOneTimeTokenGivesTheSameKeyTheSameIdentityAgainAndNobodyElseAny) {
  Start();
  auto token =
      (*plane)->CreateEnrollToken(plane->local, std::chrono::hours(1), "default").value().token;
  auto enroll = [&](const protocol::PrivateKey& key, const char* pool) {
    return client->Post(
        "/v1/runners/enroll",
        Object{{"enrollToken", token}, {"publicKeyPem", key.Public().ToPem()}, {"pool", pool}});
  };
  auto key = protocol::PrivateKey::Generate();
  EXPECT_EQ(enroll(key, "other").status, 400) << "a token for another pool";
  auto first = enroll(key, "default");
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(enroll(key, "default").body, first.body);
  auto thief = enroll(protocol::PrivateKey::Generate(), "default");
  EXPECT_EQ(thief.status, 400);
  EXPECT_EQ(thief.Json().FindString("error"), "invalid enroll token");
  plane->clock.Advance(std::chrono::hours(2));
  EXPECT_EQ(enroll(key, "default").status, 400) << "it has run out";
}

TEST_F(Api, TheListOfRunnersCarriesEachRunnersPublicKeyForWhoPinsIt) {
  Start();
  TestRunner runner(**plane, plane->local);
  auto list = client->Get("/v1/runners", Token("enr", {plane::Role::kEnroller})).Json();
  const auto& entry = list.Find("runners")->array().at(0);
  EXPECT_EQ(entry.FindString("runnerId"), runner.id);
  EXPECT_EQ(entry.FindString("publicKeyPem"), runner.key.Public().ToPem());
}

TEST_F(Api, BadInputGetsASentenceACodeAndAPlace) {  // L3, L43
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  struct Row {
    std::string path, body;
    long status;
    std::string error;
  };
  const std::vector<Row> rows = {
      {"/v1/runs", "{", 400, "request body is not valid JSON"},
      {"/v1/runs", "{\"request\":{},\"request\":{}}", 400, "request body is not valid JSON"},
      {"/v1/runs", "[]", 400, "invalid request: "},
      {"/v1/runs", "{\"request\":{}}", 400, "invalid request: request.agentKind: "},
      {"/v1/claims", "{}", 400, "invalid request: runnerToken: "},
      {"/v1/claims", "{\"runnerToken\":5,\"pool\":\"x\"}", 400, "invalid request: runnerToken: "},
      {"/v1/runs/run_x/events", "{\"claimToken\":\"a.b\",\"events\":[]}", 400,
       "malformed claim token"},
      {"/v1/runs/run_x/cancel", "{}", 404, "run not found"},
      {"/v1/runs/run_x/cancel", "{\"actor\":{\"kind\":\"ghost\",\"id\":\"x\"}}", 400,
       "invalid request: actor.kind: "},
      {"/v1/runs/..%2f..%2fetc/cancel", "{}", 404, "no route for "},
      {"/v1/runners/enroll", "{\"enrollToken\":\"x\",\"publicKeyPem\":\"x\",\"pool\":\"x\"}", 400,
       "invalid enroll token"},
  };
  for (const auto& row : rows) {
    auto answer =
        client->Send({.method = "POST", .path = row.path, .token = token, .body = row.body});
    EXPECT_EQ(answer.status, row.status) << row.path << row.body << answer.body;
    EXPECT_TRUE(answer.Json().FindString("error").value_or("").starts_with(row.error))
        << answer.body;
    EXPECT_FALSE(answer.Json().FindString("code").value_or("").empty()) << answer.body;
  }
}

TEST_F(Api, BlobsAreFreeOnLoopbackUnlessTheOperatorWantsATokenAlways) {
  plane::Config config;
  config.blob_reads = plane::BlobReads::kTokenAlways;
  Start(config);
  auto token = Token("req", {plane::Role::kRequester});
  auto hash = (*plane)->PutBlob("some bytes").value();
  EXPECT_EQ(client->Get("/v1/blobs/" + hash).status, 401);
  auto got = client->Get("/v1/blobs/" + hash, token);
  EXPECT_EQ(got.body, "some bytes");
  EXPECT_EQ(got.headers["content-type"], "application/octet-stream");
  auto head = client->Send(
      {.method = "HEAD", .path = "/v1/blobs/" + hash, .token = token, .body = std::nullopt});
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers["content-length"], "10");
  EXPECT_EQ(client
                ->Send({.method = "HEAD",
                        .path = "/v1/blobs/" + std::string(64, '0'),
                        .token = token,
                        .body = std::nullopt})
                .status,
            404);
  TestRunner runner(**plane, plane->local);
  ASSERT_TRUE((*plane)->Submit(plane->local, json::Write(RunBody(**plane))));
  auto claim = (*plane)->Claim(runner.token, "default", milliseconds(0)).value();
  EXPECT_EQ(client->Get("/v1/blobs/" + hash, claim->claim_token).status, 200)
      << "a claim token opens blobs";
}

TEST_F(Api, AnAnnouncedHashMustComeOutAndEmptyAndLargeBlobsAreWhole) {  // L15
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  auto put = [&](const std::string& path, const std::string& bytes) {
    return client->Send({.method = "POST",
                         .path = path,
                         .token = token,
                         .body = bytes,
                         .content_type = "application/octet-stream"});
  };
  EXPECT_EQ(put("/v1/blobs?sha256=" + std::string(64, '1'), "x").status, 400);
  std::string large;
  for (int i = 0; large.size() < (3u << 20); ++i) large += std::to_string(i);
  for (const std::string& bytes : {std::string(), std::string(1, '\0'), large}) {
    const std::string hash = protocol::Sha256(bytes).ToHex();
    EXPECT_EQ(put("/v1/blobs?sha256=" + hash, bytes).Json().FindString("hash"), hash);
    EXPECT_EQ(client->Get("/v1/blobs/" + hash).body, bytes);
  }
}

TEST_F(Api, ABlobThatIsDamagedOnDiskNeverArrivesWholeAndIsSetAside) {  // L15, L39
  Start();
  std::string bytes(700'000, 'b');
  auto hash = (*plane)->PutBlob(bytes).value();
  bytes[400'000] = 'c';
  WriteText(plane->dir() + "/plane/blobs/" + hash.substr(0, 2) + "/" + hash, bytes);
  auto got = client->Get("/v1/blobs/" + hash);
  EXPECT_NE(got.failure, "") << "the transfer breaks off";
  EXPECT_EQ(client->Get("/v1/blobs/" + hash).status, 404);
  EXPECT_TRUE(std::filesystem::exists(plane->dir() + "/plane/tmp/damaged-" + hash));
}

TEST_F(Api, ACancelledRunningRunAnswers202AndTheRunnerHearsOfIt) {
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  TestRunner runner(**plane, plane->local);
  auto run = std::string(
      client->Post("/v1/runs", RunBody(**plane), token).Json().FindString("runId").value());
  auto claim =
      client
          ->Post("/v1/claims",
                 Object{{"runnerToken", runner.token}, {"pool", "default"}, {"waitMs", 1000}})
          .Json();
  auto cancelled = client->Post("/v1/runs/" + run + "/cancel", Object{}, token);
  EXPECT_EQ(cancelled.status, 202);
  EXPECT_TRUE(*cancelled.Json().Find("cancelRequested")->if_bool());
  auto events = client->Post(
      "/v1/runs/" + run + "/events",
      Object{{"claimToken", claim.FindString("claimToken").value()}, {"events", Array{}}});
  EXPECT_EQ(json::Write(events.Json()), "{\"ok\":true,\"cancelRequested\":true}");
}

TEST_F(Api, LiveOutputIsSeenWhileTheRunGoesOn) {
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  TestRunner runner(**plane, plane->local);
  auto run = std::string(
      client->Post("/v1/runs", RunBody(**plane), token).Json().FindString("runId").value());
  auto claim = (*plane)->Claim(runner.token, "default", milliseconds(0)).value();
  std::string seen;
  std::thread watcher([&] {
    HttpClient other(server->url());
    seen = other.Get("/v1/runs/" + run + "/log?offset=0&waitMs=20000", token).body;
  });
  auto put = client->Send({.method = "POST",
                           .path = "/v1/runs/" + run + "/log?offset=0",
                           .token = claim->claim_token,
                           .body = "line one\n",
                           .content_type = "application/octet-stream"});
  EXPECT_EQ(put.status, 200) << put.body;
  watcher.join();
  EXPECT_EQ(seen, "line one\n");
}

TEST_F(Api, StopEndsLongPollsAndLetsNothingHang) {
  Start();
  TestRunner runner(**plane, plane->local);
  HttpAnswer answer;
  std::thread poller([&] {
    HttpClient other(server->url());
    answer =
        other.Post("/v1/claims",
                   Object{{"runnerToken", runner.token}, {"pool", "default"}, {"waitMs", 30000}});
  });
  // The poll is on its way once the plane has answered something else on another connection; either
  // order must end soon.
  client->Get("/v1/health");
  const auto begun = real.Monotonic();
  server->Stop(std::chrono::seconds(5));
  poller.join();
  EXPECT_LT(real.Monotonic() - begun, std::chrono::seconds(5));
  EXPECT_EQ(client->Get("/v1/health").status, 0);
  server->Stop();
}

TEST_F(Api, PlainHttpIsRefusedOffLoopback) {
  Start();
  for (const char* host : {"0.0.0.0", "::"}) {
    auto refused =
        plane::HttpServer::Start(**plane, real, {.host = host, .port = 0, .tls = std::nullopt});
    ASSERT_FALSE(refused) << host;
    EXPECT_EQ(refused.error().code, "plane.plain_http");
  }
  auto taken = plane::HttpServer::Start(
      **plane, real, {.host = "127.0.0.1", .port = server->port(), .tls = std::nullopt});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().kind, ErrorKind::kUnavailable);
}

}  // namespace
}  // namespace writ::test
