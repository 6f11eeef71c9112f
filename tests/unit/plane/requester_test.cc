// The command line's two ways to a plane: its directory, and its API with a principal's token.
#include "requester.h"

#include <atomic>

#include "tls_api.h"
#include "unit/runner/raw_server.h"

namespace writ::test {
namespace {

using json::Object;

class Far : public Api {
 protected:
  std::unique_ptr<cli::Requester> As(const std::string& token, const std::string& url) {
    WriteText(folder.path() + "/token", token + "\n");
    auto made = cli::MakeRemoteRequester(
        {.url = url, .token_file = folder.path() + "/token", .ca_file = ""}, "user@terminal", real);
    EXPECT_TRUE(made) << made.error().ToString();
    return std::move(*made);
  }
  std::string Body() { return json::Write(RunBody(**plane)); }
  TempFolder folder;
};

TEST_F(Far, ARequestersTokenSubmitsListsAndCancelsUnderItsOwnName) {
  Start();
  auto ci = As(Token("ci", {plane::Role::kRequester}), server->url());
  auto made = ci->Submit(Body());
  ASSERT_TRUE(made) << made.error().ToString();
  ASSERT_EQ(made->kind, plane::Submission::Kind::kAccepted);
  auto runs = ci->Runs();
  ASSERT_TRUE(runs) << runs.error().ToString();
  ASSERT_EQ(runs->size(), 1u);
  EXPECT_EQ(runs->front().agent_kind, "mock");
  EXPECT_EQ(runs->front().pool, "default");
  EXPECT_EQ(runs->front().requested_by.id, "ci");
  auto other = ci->Cancel(made->run_id, plane::Actor{plane::ActorKind::kHuman, "boss"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kDenied);
  EXPECT_NE(other.error().message.find("you are \"ci\""), std::string::npos);
  EXPECT_TRUE(ci->Cancel(made->run_id, std::nullopt));
  auto again = ci->Cancel(made->run_id, std::nullopt);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("it has ended"), std::string::npos);
}

TEST_F(Far, WhatAPlaneHasNotIsNoFaultOfItsAddressAndAPathThatItHasNotIs) {
  Start();
  const std::string token = Token("ci", {plane::Role::kRequester});
  auto absent = As(token, server->url())->Run("run_nope");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, "run.not_found");
  EXPECT_NE(absent.error().hint.find("list the runs"), std::string::npos) << absent.error().hint;
  RawServer peer(RawServer::Security::kPlain,
                 [&](auto& c) { c.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"); });
  auto elsewhere = As(token, peer.url())->Run("run_nope");
  ASSERT_FALSE(elsewhere);
  EXPECT_NE(elsewhere.error().hint.find("behind the port"), std::string::npos);
}

TEST_F(Far, AnApproversTokenApprovesUnderItsOwnName) {
  Start();
  plane->SetPolicyText(ConsentPolicy(1));
  auto run = Submit(*plane);
  auto lead = As(Token("lead", {plane::Role::kApprover}), server->url());
  auto approved = lead->Approve(run, std::nullopt);
  ASSERT_TRUE(approved) << approved.error().ToString();
  EXPECT_EQ(*approved, plane::RunState::kCreated);
}

TEST_F(Far, AnAdministratorsTokenMakesEnrolTokensAndNamesOthers) {
  Start();
  auto admin = As(Token("root", {plane::Role::kAdmin}), server->url());
  auto token = admin->CreateEnrollToken(std::chrono::minutes(5), "default");
  ASSERT_TRUE(token) << token.error().ToString();
  auto key = protocol::PrivateKey::Generate();
  EXPECT_TRUE((*plane)->Enroll(token->token, key.Public().ToPem(), "default"));
  Object request = RunBody(**plane).Find("request")->object();
  request.Set("requestedBy", Object{{"kind", "human"}, {"id", "boss"}});
  auto made = admin->Submit(json::Write(Object{{"request", request}}));
  ASSERT_TRUE(made);
  EXPECT_EQ((*plane)->Run(made->run_id)->summary.requested_by.id, "boss");
}

// A plane without our extensions wants to be told who asks, and cannot tell it from the token.
TEST_F(Far, APlaneWithoutOurExtensionsIsToldTheUsersName) {
  Start();
  std::string asked;
  RawServer peer(RawServer::Security::kPlain, [&](auto& c) {
    if (c.request.starts_with("GET /v1/health")) {
      c.write(JsonAnswer(200, R"({"ok":true,"service":"warrant-plane"})"));
      return;
    }
    asked = c.request;
    c.write(JsonAnswer(200, R"({"runId":"run_1","status":"created","consentRequirements":[]})"));
  });
  auto user = As("some-token", peer.url());
  auto made = user->Submit(Body());
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_NE(asked.find(R"("requestedBy":{"kind":"human","id":"user@terminal"})"), std::string::npos)
      << asked;
}

TEST_F(Tls, AFarCommandShowsItsCertificateToAPlaneThatDemandsOne) {
  Start({}, Options(At("ca.pem")));
  WriteText(At("token"), Token("ci", {plane::Role::kRequester}) + "\n");
  cli::PlaneAddress address{
      .url = server->url(), .token_file = At("token"), .ca_file = At("ca.pem")};
  auto runs = [&] {
    auto far = cli::MakeRemoteRequester(address, "user@terminal", real);
    EXPECT_TRUE(far) << far.error().ToString();
    return (*far)->Runs();
  };
  auto refused = runs();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  address.client_cert_file = At("client.pem");
  address.client_key_file = At("client.key");
  auto served = runs();
  EXPECT_TRUE(served) << served.error().ToString();
}

TEST_F(Tls, AFarCommandGoesThroughTheCorporateProxyThatItIsGiven) {
  WriteText(At("token"), "some-token\n");
  std::string asked;
  RawServer proxy(RawServer::Security::kPlain, [&](auto& c) {
    asked = c.request;
    c.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  auto far = cli::MakeRemoteRequester({.url = "https://plane.example.com:8443",
                                       .token_file = At("token"),
                                       .ca_file = At("ca.pem"),
                                       .proxy = proxy.url()},
                                      "user@terminal", real);
  ASSERT_TRUE(far) << far.error().ToString();
  EXPECT_FALSE((*far)->Runs());
  EXPECT_TRUE(asked.starts_with("CONNECT plane.example.com:8443 ")) << asked;
}

TEST_F(Far, APlaneThatIsSilentIsGivenUpOnAfterTheTimeThatItMayTake) {
  Start();
  WriteText(folder.path() + "/token", "some-token\n");
  std::atomic<bool> over = false;
  RawServer silent(RawServer::Security::kPlain, [&](auto&) { over.wait(false); });
  auto far = cli::MakeRemoteRequester({.url = silent.url(),
                                       .token_file = folder.path() + "/token",
                                       .ca_file = "",
                                       .call_timeout = std::chrono::milliseconds(50)},
                                      "user@terminal", real);
  ASSERT_TRUE(far) << far.error().ToString();
  auto runs = (*far)->Runs();
  over = true;
  over.notify_all();
  ASSERT_FALSE(runs);
  EXPECT_EQ(runs.error().code, "plane.timeout");
}

TEST(Near, TheUserHereIsWhoAsksWhereNobodyIsNamed) {
  TestPlane plane;
  auto here = cli::MakeLocalRequester(*plane, "user@here");
  auto made = here->Submit(json::Write(RunBody(*plane)));
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_EQ(plane->Run(made->run_id)->summary.requested_by.ToJson(),
            json::Value(Object{{"kind", "human"}, {"id", "user@here"}}));
}

}  // namespace
}  // namespace writ::test
