// Offers, leases, late receipts, rotation and keys on the wire (protocol.md section 6).
#include <thread>

#include "http_api.h"
#include "lease_test.h"
#include "writ/base/encoding.h"
#include "writ/protocol/key_manifest.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using std::chrono::milliseconds;
using std::chrono::seconds;

class LeaseApi : public Api {
 protected:
  void Begin(const plane::Config& config = {}) {
    Start(config);
    runner = std::make_unique<TestRunner>(**plane, plane->local);
    admin = Token("root", {plane::Role::kAdmin});
  }
  HttpAnswer TakeOffer() {
    return client->Post(
        "/v1/claims",
        Object{{"runnerToken", runner->token}, {"pool", "default"}, {"acknowledge", true}});
  }
  // Offered and acknowledged.
  plane::Claim Taken() {
    auto offer = TakeOffer().Json();
    plane::Claim claim{.run_id = std::string(offer.FindString("runId").value_or("")),
                       .contract = json::Write(*offer.Find("contract")),
                       .claim_token = std::string(offer.FindString("claimToken").value_or("")),
                       .events = {},
                       .secrets = {}};
    auto taken = Post(claim, "acknowledge", {});
    EXPECT_EQ(taken.status, 200) << taken.body;
    const json::Value answer = taken.Json();
    for (const auto& event : answer.Find("events")->array())
      claim.events.push_back(json::Write(event));
    return claim;
  }
  HttpAnswer Post(const plane::Claim& claim, const std::string& what, Object body) {
    body.Set("claimToken", claim.claim_token);
    return client->Post("/v1/runs/" + claim.run_id + "/" + what, body);
  }
  static std::string Detail(const HttpAnswer& answer) {
    return std::string(answer.Json().FindString("detail").value_or(""));
  }
  std::unique_ptr<TestRunner> runner;
  std::string admin;
};

TEST_F(LeaseApi, LiveOutputSaysWhereToGoOnAndKeepsItsStreamsApart) {
  plane::Config config;
  config.max_log_bytes = 8;
  Begin(config);
  Submit(*plane);
  const plane::Claim claim = Taken();
  const std::string path = "/v1/runs/" + claim.run_id + "/log";
  auto append = [&](const std::string& query, std::string bytes) {
    return client->Send({.method = "POST",
                         .path = path + query,
                         .token = claim.claim_token,
                         .body = std::move(bytes),
                         .content_type = "application/octet-stream"});
  };
  EXPECT_EQ(*append("?offset=0", "hello").Json().Find("nextOffset"), json::Value(5));
  auto gap = append("?offset=7", "x");
  EXPECT_EQ(gap.status, 409);
  EXPECT_EQ(*gap.Json().Find("nextOffset"), json::Value(5));
  EXPECT_EQ(*append("?offset=0&stream=stderr", "oh").Json().Find("nextOffset"), json::Value(2));
  EXPECT_EQ(append("?offset=0&stream=stdin", "oh").status, 400);
  EXPECT_EQ(*append("?offset=5", "-and more").Json().Find("nextOffset"), json::Value(14))
      << "what is over the bound is not asked for again";
  const std::string watcher =
      Token("w", {plane::Role::kRequester, plane::Role::kApprover, plane::Role::kAdmin});
  EXPECT_EQ(client->Get(path + "?offset=0", watcher).body, "hello-an");
  EXPECT_EQ(client->Get(path + "?offset=0&stream=stderr", watcher).body, "oh");
}

TEST_F(LeaseApi, AnOfferHasNoSecretsAndItsAcknowledgementTheLease) {
  Begin();
  auto run = Submit(*plane);
  auto offered = TakeOffer();
  ASSERT_EQ(offered.status, 200);
  const json::Value offer = offered.Json();
  EXPECT_EQ(*offer.Find("offer"), json::Value(true));
  EXPECT_EQ(offer.Find("secrets"), nullptr);
  EXPECT_EQ(*offer.Find("offerMs"), json::Value(10000));
  EXPECT_EQ(*TakeOffer().Json().Find("empty"), json::Value(true));
  const plane::Claim claim{.run_id = run,
                           .contract = {},
                           .claim_token = std::string(*offer.FindString("claimToken")),
                           .events = {},
                           .secrets = {}};
  EXPECT_EQ(Detail(Post(claim, "lease", {})), "claim.not_acknowledged");
  const json::Value taken = Post(claim, "acknowledge", {}).Json();
  EXPECT_EQ(*taken.Find("leaseMs"), json::Value(60000));
  EXPECT_EQ(*taken.Find("renewAfterMs"), json::Value(20000));
  EXPECT_TRUE(taken.Find("secrets")->is_array());
  auto declined = Post(claim, "decline", {{"reason", "no"}});
  EXPECT_EQ(declined.status, 409);
  EXPECT_EQ(Detail(declined), "claim.acknowledged");
  auto renewed = Post(claim, "lease", {});
  EXPECT_EQ(renewed.status, 200);
  EXPECT_EQ(*renewed.Json().Find("leaseMs"), json::Value(60000));
  EXPECT_EQ(client->Post("/v1/runs/" + run + "/acknowledge", Object{}).status, 400);
  EXPECT_EQ(client->Post("/v1/runs/" + run + "/lease", Object{{"claimToken", "x"}}).status, 400);
}

TEST_F(LeaseApi, AWaitingLeaseHearsOfACancellationAndWhoAskedForIt) {
  Begin();
  auto run = Submit(*plane);
  auto claim = Taken();
  plane->clock.Advance(seconds(2));
  HttpAnswer told;
  std::thread waiting([&] {
    HttpClient own(server->url());
    told = own.Post("/v1/runs/" + run + "/lease",
                    Object{{"claimToken", claim.claim_token}, {"waitMs", 25000}});
  });
  auto cancelled =
      client->Post("/v1/runs/" + run + "/cancel",
                   Object{{"actor", Object{{"kind", "human"}, {"id", "demo@example.com"}}}}, admin);
  EXPECT_EQ(cancelled.status, 202) << cancelled.body;
  waiting.join();
  ASSERT_EQ(told.status, 200) << told.body;
  EXPECT_EQ(*told.Json().Find("cancelRequested"), json::Value(true));
  EXPECT_EQ(told.Json().Find("cancelledBy")->FindString("id"), "demo@example.com");
}

TEST_F(LeaseApi, TheServersStopEndsAWaitingLeaseAndAWaitingOffer) {
  Begin();
  Submit(*plane);
  auto claim = Taken();
  HttpAnswer lease;
  HttpAnswer offer;
  std::thread renewing([&] {
    HttpClient own(server->url());
    lease = own.Post("/v1/runs/" + claim.run_id + "/lease",
                     Object{{"claimToken", claim.claim_token}, {"waitMs", 30000}});
  });
  std::thread asking([&] {
    HttpClient own(server->url());
    offer = own.Post("/v1/claims", Object{{"runnerToken", runner->token},
                                          {"pool", "default"},
                                          {"acknowledge", true},
                                          {"waitMs", 30000}});
  });
  // Both are in once the lease has been renewed and the offer looked for; either way they end.
  server->Stop(seconds(20));
  renewing.join();
  asking.join();
  EXPECT_TRUE(lease.status == 200 || lease.status == 0) << lease.body;
  EXPECT_TRUE(offer.status == 200 || offer.status == 0) << offer.body;
}

TEST_F(LeaseApi, TheServersOwnTimerClosesALostRunAndItsStoryIsShown) {
  plane::Config config;
  config.lease = {.lease = seconds(10), .grace = milliseconds(0), .offer = seconds(10)};
  Begin(config);
  Submit(*plane);
  auto claim = Taken();
  auto finished = FinishClaim(claim, *runner, plane->clock.Now());
  bool closed = false;
  for (int i = 0; i < 200 && !closed; ++i) {
    plane->clock.Advance(seconds(5));
    auto run =
        (*plane)->WaitRun(claim.run_id, plane->clock.Now() + seconds(3600), milliseconds(200));
    closed = !run->summary.closed_reason.empty();
  }
  ASSERT_TRUE(closed);
  auto shown = client->Get("/v1/runs/" + claim.run_id, admin).Json();
  EXPECT_EQ(*shown.Find("lost"), json::Value(true));
  EXPECT_EQ(shown.Find("closedBy")->FindString("reason"), "lease_expired");
  EXPECT_EQ(Detail(Post(claim, "lease", {})), "run.ended");
  auto refused = Post(claim, "complete", {{"receipt", finished.receipt}});
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(Detail(refused), "run.ended");
  EXPECT_EQ(client->Get("/v1/runs/" + claim.run_id + "/bundle?late=1", admin).status, 404);
  auto late = Post(
      claim, "late",
      {{"runnerToken", runner->token}, {"events", finished.events}, {"receipt", finished.receipt}});
  EXPECT_EQ(late.status, 200) << late.body;
  EXPECT_EQ(client->Get("/v1/runs/" + claim.run_id + "/bundle?late=1", admin).status, 200);
  auto listed = client->Get("/v1/runs", admin).Json().Find("runs")->array()[0];
  EXPECT_EQ(*listed.Find("lateReceipt"), json::Value(true));
}

TEST_F(LeaseApi, RevocationIsTheAdministratorsAndBitesWith403InARun) {
  Begin();
  Submit(*plane);
  auto claim = Taken();
  auto blob = [&] {
    return client->Send({.method = "POST",
                         .path = "/v1/blobs",
                         .token = claim.claim_token,
                         .body = "bytes",
                         .content_type = "application/octet-stream"});
  };
  EXPECT_EQ(blob().status, 200);
  const std::string path = "/v1/runners/" + runner->id + "/revoke";
  EXPECT_EQ(client->Post(path, Object{}, Token("ci", {plane::Role::kRequester})).status, 403);
  EXPECT_EQ(client->Post(path, Object{}).status, 401);
  EXPECT_EQ(client->Post(path, Object{}, admin).status, 200);
  EXPECT_EQ(client->Post(path, Object{}, admin).status, 404) << "it is revoked already";
  for (const HttpAnswer& answer :
       {Post(claim, "lease", {}), Post(claim, "events", {{"events", Array{}}}), blob(),
        TakeOffer()}) {
    EXPECT_EQ(answer.status, 403) << answer.body;
    EXPECT_EQ(Detail(answer), "runner.revoked") << answer.body;
  }
}

TEST_F(LeaseApi, RotationIsAskedAnsweredAndTheOldKeyStaysKnown) {
  Begin();
  auto asked = client->Post("/v1/runners/" + runner->id + "/rotate", Object{}, admin);
  EXPECT_EQ(asked.status, 202) << asked.body;
  EXPECT_EQ(*TakeOffer().Json().Find("rotate"), json::Value(true));
  const auto fresh = protocol::PrivateKey::Generate();
  const std::string proof =
      Base64Encode(protocol::Sign(runner->key, "writ-rotate:" + fresh.Public().Id().text()));
  auto rotated = client->Post("/v1/runners/rotate", Object{{"runnerToken", runner->token},
                                                           {"publicKeyPem", fresh.Public().ToPem()},
                                                           {"proof", proof}});
  ASSERT_EQ(rotated.status, 200) << rotated.body;
  EXPECT_NE(rotated.Json().FindString("runnerToken"), std::nullopt);
  auto list = client->Get("/v1/runners", admin).Json().Find("runners")->array();
  EXPECT_EQ(list[0].FindString("keyId"), fresh.Public().Id().text());
  EXPECT_EQ(list[0].Find("retiredKeys")->array()[0].FindString("keyId"),
            runner->key.Public().Id().text());
}

TEST_F(LeaseApi, TheKeyManifestIsForEverybody) {
  Begin();
  auto answer = client->Get("/v1/keys");
  ASSERT_EQ(answer.status, 200);
  auto manifest = protocol::KeyManifest::Parse(answer.Json());
  ASSERT_TRUE(manifest);
  EXPECT_TRUE(protocol::CheckKeyManifest(
      *manifest, protocol::PublicKey::FromPem((*plane)->org_public_key_pem()).value()));
}

}  // namespace
}  // namespace writ::test
