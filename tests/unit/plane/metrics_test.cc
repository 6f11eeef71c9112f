// What a plane says of itself: numbers, health, and the trace of a run's requests in its log.

#include "http_api.h"
#include "lease_test.h"
#include "writ/base/log.h"

namespace writ::test {
namespace {

constexpr const char* kTrace = "0af7651916cd43dd8448eb211c80319c";

class PlaneStatus : public Api {
 protected:
  void Serve() {
    Start({}, {.tls = std::nullopt, .metrics = "unix:" + folder.path() + "/metrics.sock"});
    token = Token("req", {plane::Role::kRequester});
  }
  HttpAnswer Ask(const std::string& path) {
    HttpClient status("http://localhost");
    status.unix_socket = folder.path() + "/metrics.sock";
    return status.Get(path);
  }
  // The value of a series, by its whole name; -1 where it is not there.
  static double Value(const std::string& text, const std::string& series) {
    const std::size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
  }
  TempFolder folder;
  std::string token;
};

TEST_F(PlaneStatus, CountsRunsFromTheirQueueToTheirReceipt) {
  Serve();
  TestRunner runner(**plane, plane->local);
  Submit(*plane);
  EXPECT_EQ(Value(Ask("/metrics").body, "writ_plane_runs{state=\"queued\"}"), 1);
  plane->clock.Advance(std::chrono::seconds(20));
  plane::Claim claim = Acknowledged(*plane, runner);
  auto text = Ask("/metrics").body;
  EXPECT_EQ(Value(text, "writ_plane_runs{state=\"queued\"}"), 0);
  EXPECT_EQ(Value(text, "writ_plane_runs{state=\"claimed\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_leases{state=\"held\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_claims_total{kind=\"acknowledged\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_queue_wait_seconds_bucket{le=\"15\"}"), 0);
  EXPECT_EQ(Value(text, "writ_plane_queue_wait_seconds_bucket{le=\"60\"}"), 1);
  auto finished = FinishClaim(claim, runner, plane->clock.Now());
  ASSERT_TRUE((*plane)->AppendEvents(claim.run_id, claim.claim_token, finished.events));
  ASSERT_TRUE((*plane)->Complete(claim.run_id, claim.claim_token, finished.receipt, ""));
  text = Ask("/metrics").body;
  EXPECT_EQ(Value(text, "writ_plane_runs_ended_total{status=\"completed\",by=\"runner\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_receipts_total{kind=\"countersigned\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_runners{state=\"enrolled\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_ready"), 1);
}

TEST_F(PlaneStatus, CountsRequestsByRouteAndStatusAndNothingFromOutsideIsALabel) {
  Serve();
  client->Get("/v1/runs/run_some-name-of-theirs", token);
  client->Get("/no/such/route-of-theirs", token);
  client->Get("/v1/runs", "wrong");
  client->Send({.method = "POST", .path = "/v1/blobs", .token = token, .body = "12345"});
  const auto text = Ask("/metrics").body;
  EXPECT_EQ(Value(text, "writ_plane_requests_total{route=\"GET /v1/runs/:id\",status=\"404\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_requests_total{route=\"none\",status=\"404\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_requests_total{route=\"GET /v1/runs\",status=\"401\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_refused_requests_total{reason=\"credential\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_uploads_total{way=\"whole\",result=\"taken\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_upload_bytes_total"), 5);
  EXPECT_EQ(text.find("theirs"), std::string::npos);
}

TEST_F(PlaneStatus, CountsWhatRetentionRemoves) {
  Serve();
  plane->clock.SetWall(real.Now());
  ASSERT_TRUE((*plane)->PutBlob("nobody names it"));
  plane->clock.Advance(std::chrono::hours(24 * 91));
  ASSERT_TRUE((*plane)->CollectGarbage(plane::GarbageMode::kCollect));
  const auto text = Ask("/metrics").body;
  EXPECT_EQ(Value(text, "writ_plane_retention_removed_total{what=\"blobs\"}"), 1);
  EXPECT_EQ(Value(text, "writ_plane_retention_removed_bytes_total"), 15);
  EXPECT_EQ(Value(text, "writ_plane_blobs"), 0);
}

TEST_F(PlaneStatus, IsServedApartFromTheApiAndEndsWithTheServer) {
  Serve();
  EXPECT_EQ(Ask("/healthz").status, 200);
  EXPECT_EQ(Ask("/readyz").status, 200);
  EXPECT_EQ(Ask("/v1/runs").status, 404);
  EXPECT_EQ(client->Get("/metrics", token).status, 404) << "the API is for everybody";
  server->Stop();
  EXPECT_EQ(Ask("/healthz").status, 0);
  EXPECT_FALSE(
      plane::HttpServer::Start(**plane, real, {.tls = std::nullopt, .metrics = "0.0.0.0:0"}));
}

TEST_F(PlaneStatus, AnAcceptLoopThatHasEndedIsNoticed) {
  Serve();
  EXPECT_TRUE(server->Alive());
  server->Stop();
  const auto alive = server->Alive(std::chrono::milliseconds(50));
  ASSERT_FALSE(alive);
  EXPECT_EQ(alive.error().code, "plane.stuck");
}

TEST_F(PlaneStatus, TheLogLinesOfARunsRequestsCarryItsTrace) {
  Serve();
  std::string text = json::Write(RunBody(**plane));
  text.insert(text.find("\"prompt\""),
              "\"traceparent\":\"00-" + std::string(kTrace) + "-b7ad6b7169203331-01\",");
  auto made = (*plane)->Submit(plane->local, text);
  ASSERT_TRUE(made && made->kind == plane::Submission::Kind::kAccepted)
      << (made ? json::Write(json::Value::Texts(made->issues)) : made.error().ToString());
  EXPECT_EQ((*plane)->TraceOf(made->run_id), kTrace);
  EXPECT_EQ((*plane)->TraceOf("run_none"), std::nullopt);
  const log::Level before = log::CurrentLevel();
  log::Configure(log::Level::kInfo, log::Format::kJson);
  testing::internal::CaptureStderr();
  client->Get("/v1/runs/" + made->run_id, token);
  server->Stop();  // every line is written
  const std::string told = testing::internal::GetCapturedStderr();
  log::Configure(before, log::Format::kText);
  const std::size_t at = told.find("\"plane.request\"");
  ASSERT_NE(at, std::string::npos) << told;
  const std::size_t begin = told.rfind('\n', at) + 1;  // npos + 1: the first line
  const auto line = json::Parse(told.substr(begin, told.find('\n', at) - begin));
  ASSERT_TRUE(line) << told;
  EXPECT_EQ(line->FindString("trace"), kTrace);
  EXPECT_EQ(line->FindString("run"), made->run_id);
}

}  // namespace
}  // namespace writ::test
