// The API over real sockets: roles, limits, tokens, TLS, long polls, stopping.
#include <gtest/gtest.h>

#include <thread>

#include "http_client.h"
#include "test_plane.h"
#include "writ/protocol/keys.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using std::chrono::milliseconds;

class Api : public ::testing::Test {
 protected:
  void Start(const plane::Config& config = {}, plane::HttpServerOptions options = {}) {
    plane = std::make_unique<TestPlane>("", config);
    auto started = plane::HttpServer::Start(**plane, real, std::move(options));
    ASSERT_TRUE(started) << started.error().ToString();
    server = std::move(*started);
    client = std::make_unique<HttpClient>(server->url());
  }
  std::string Token(const std::string& name, std::vector<plane::Role> roles) {
    return (*plane)->CreatePrincipal(plane->local, name, roles).value().token;
  }
  SystemClock real;
  std::unique_ptr<TestPlane> plane;
  std::unique_ptr<plane::HttpServer> server;
  std::unique_ptr<HttpClient> client;
};

TEST_F(Api, HealthListsTheExtensionAndReadyLooksForItself) {
  Start();
  EXPECT_EQ(client->Get("/v1/health").Json().Find("extensions")->array().at(0).string(), "writ.1");
  EXPECT_EQ(client->Get("/v1/ready").status, 200);
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

TEST_F(Api, FailedAuthenticationBacksOffPerAddress) {
  Start();
  auto token = Token("req", {plane::Role::kRequester});
  HttpAnswer last;
  for (int i = 0; i < 40 && last.status != 429; ++i)
    last = client->Get("/v1/runs", "wrong-" + std::to_string(i));
  EXPECT_EQ(last.status, 429);
  EXPECT_EQ(last.headers["retry-after"], "1");
  EXPECT_EQ(client->Get("/v1/runs", token).status, 429) << "a right guess is not told apart";
  EXPECT_EQ(client->Get("/v1/health").status, 200);
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

// A CA, a server certificate and a client certificate, made with the openssl tool.
class Tls : public Api {
 protected:
  void SetUp() override {
    const std::string d = folder.path();
    auto run = [](const std::string& command) {
      return std::system((command + " >/dev/null 2>&1").c_str());
    };
    if (run("openssl version") != 0) GTEST_SKIP() << "the openssl tool is not here";
    WriteText(d + "/ext", "subjectAltName=IP:127.0.0.1\n");
    ASSERT_EQ(run("openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=test-ca -keyout " +
                  d + "/ca.key -out " + d + "/ca.pem"),
              0);
    for (const std::string name : {"server", "client"}) {
      ASSERT_EQ(run("openssl req -newkey ed25519 -nodes -subj /CN=" + name + " -keyout " + d + "/" +
                    name + ".key -out " + d + "/" + name + ".csr"),
                0);
      ASSERT_EQ(run("openssl x509 -req -days 2 -in " + d + "/" + name + ".csr -CA " + d +
                    "/ca.pem -CAkey " + d + "/ca.key -CAcreateserial -extfile " + d + "/ext -out " +
                    d + "/" + name + ".pem"),
                0);
    }
  }
  plane::HttpServerOptions Options(const std::string& client_ca) {
    const std::string d = folder.path();
    plane::HttpServerOptions options;
    options.host = "127.0.0.1";
    options.tls = plane::TlsFiles{d + "/server.pem", d + "/server.key", client_ca};
    return options;
  }
  TempFolder folder;
};

TEST_F(Tls, ServesUnderItsCertificateAndNotWithoutTls) {
  Start({}, Options(""));
  EXPECT_TRUE(server->url().starts_with("https://127.0.0.1:"));
  EXPECT_EQ(client->Get("/v1/health").status, 0) << "a certificate of an unknown CA is not trusted";
  client->ca_file = folder.path() + "/ca.pem";
  EXPECT_EQ(client->Get("/v1/health").status, 200);
  std::string large(2 << 20, 'z');
  auto hash = (*plane)->PutBlob(large).value();
  EXPECT_EQ(client->Get("/v1/blobs/" + hash).body, large);
  HttpClient plain("http://127.0.0.1:" + std::to_string(server->port()));
  EXPECT_EQ(plain.Get("/v1/health").status, 0);
}

TEST_F(Tls, AClientCaDemandsACertificateOfIt) {
  const std::string d = folder.path();
  Start({}, Options(d + "/ca.pem"));
  client->ca_file = d + "/ca.pem";
  EXPECT_EQ(client->Get("/v1/health").status, 0) << "no certificate";
  HttpClient known(server->url());
  known.ca_file = d + "/ca.pem";
  known.certificate = d + "/client.pem";
  known.key = d + "/client.key";
  EXPECT_EQ(known.Get("/v1/health").status, 200);
}

TEST_F(Tls, FilesThatDoNotFitAreAClearError) {
  Start();
  auto options = Options("");
  options.tls->key = folder.path() + "/client.key";
  auto refused = plane::HttpServer::Start(**plane, real, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "plane.tls");
}

}  // namespace
}  // namespace writ::test
