#include "writ/runner/plane_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit/runner/raw_server.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
using test::JsonAnswer;
using test::RawServer;

class PlaneClientTest : public ::testing::Test {
 protected:
  // Answers the n-th connection with answers[n] (the last one again for more); "" closes without a
  // word.
  void Serve(std::vector<std::string> answers) {
    server_ = std::make_unique<RawServer>(RawServer::Security::kPlain, [this, answers](auto& c) {
      requests_.push_back(c.request);
      const std::string& answer = answers[std::min(requests_.size(), answers.size()) - 1];
      if (!answer.empty()) c.write(answer);
    });
    plane_.emplace(PlaneClient::Open({.url = server_->url()}, clock_).value());
  }
  Deadline In(int ms) { return Deadline::After(clock_, milliseconds(ms)); }
  SystemClock clock_;
  std::vector<std::string> requests_;
  std::unique_ptr<RawServer> server_;
  std::optional<PlaneClient> plane_;
  protocol::RunId run_ = protocol::RunId::Parse("run_1").value();
  Secret token_{"claim-token-text"};
};

TEST_F(PlaneClientTest, TakesARefusalAfterALostAnswerAsStoredEvents) {
  Serve({"", JsonAnswer(409, R"({"error":"chain","code":"conflict"})")});
  protocol::EventChain chain(protocol::Sha256("contract"));
  std::vector<protocol::Event> events = {
      chain.Append(clock_.Now(), protocol::events::RunCompleted())};
  EXPECT_TRUE(plane_->AppendEvents(run_, token_, events, In(5000), {}));
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(PlaneClientTest, TakesARefusalWithoutALostAnswerAsARefusal) {
  Serve({JsonAnswer(409, R"({"error":"chain broken at the secret place","code":"conflict"})")});
  Result<RunSignals> sent = plane_->AppendEvents(run_, token_, {}, In(5000), {});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, "plane.refused");
  EXPECT_EQ(sent.error().kind, ErrorKind::kConflict);
  // L10: the plane's code, not its text, nor a token, nor the path.
  const std::string text = sent.error().ToString();
  EXPECT_NE(text.find("409 (conflict)"), std::string::npos) << text;
  for (const char* never : {"secret place", "claim-token-text", "run_1"})
    EXPECT_EQ(text.find(never), std::string::npos) << text;
}

// What a plane with the extension refuses a repetition with: how far its chain is.
TEST_F(PlaneClientTest, TakesARefusalOfEventsThatThePlaneHasAsStored) {
  protocol::EventChain chain(protocol::Sha256("contract"));
  std::vector<protocol::Event> events = {
      chain.Append(clock_.Now(), protocol::events::RunCompleted())};
  auto refusal = [](const std::string& head) {
    return JsonAnswer(
        400, R"({"error":"chain","code":"bad_request","nextSeq":1,"head":")" + head + "\"}");
  };
  Serve({refusal(events.back().hash.ToHex()), refusal(protocol::Sha256("another").ToHex())});
  EXPECT_TRUE(plane_->AppendEvents(run_, token_, events, In(5000), {}));
  EXPECT_FALSE(plane_->AppendEvents(run_, token_, events, In(5000), {}));
}

// The finer codes stand beside the general one (docs/protocol.md).
TEST_F(PlaneClientTest, ReadsTheFinerCodeOfARefusal) {  // L43
  const json::Value receipt = json::Object{{"a", 1}};
  const std::pair<std::string, const char*> refusals[] = {
      {JsonAnswer(409, R"({"error":"closed","code":"conflict","detail":"run.ended"})"),
       "plane.run_ended"},
      {JsonAnswer(403, R"({"error":"no","code":"forbidden","detail":"runner.revoked"})"),
       "plane.revoked"},
      {JsonAnswer(409, R"({"error":"late","code":"conflict","detail":"offer.expired"})"),
       "plane.offer_expired"},
      {JsonAnswer(409, R"({"error":"odd","code":"conflict","detail":"A B"})"), "plane.refused"}};
  for (const auto& [answer, code] : refusals) {
    requests_.clear();
    Serve({answer});
    auto done = plane_->Complete(run_, token_, nullptr, receipt, In(5000), {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, code);
  }
}

TEST_F(PlaneClientTest, TakesAConflictAfterALostAnswerAsAStoredReceipt) {
  Serve({"", JsonAnswer(
                 409, R"({"error":"claim token already used for completion","code":"conflict"})")});
  Result<std::optional<json::Value>> done =
      plane_->Complete(run_, token_, nullptr, json::Object{}, In(5000), {});
  ASSERT_TRUE(done) << done.error().ToString();
  EXPECT_FALSE(*done);
}

// L19
TEST_F(PlaneClientTest, GivesUpWithinItsOneDeadlineHoweverOftenItTries) {
  Serve({JsonAnswer(503, R"({"error":"busy"})")});
  Deadline watch = In(60'000);
  Status declined = plane_->Decline(run_, token_, "busy", In(700), {});
  EXPECT_FALSE(declined);
  EXPECT_LT(watch.Spent(), milliseconds(1500));
  EXPECT_GT(server_->connections(), 1);
}

TEST_F(PlaneClientTest, KnowsThatAnOptionalCallIsNotThere) {
  Serve({JsonAnswer(404, R"({"error":"no route"})")});
  EXPECT_EQ(plane_->RenewLease(run_, token_, nullptr, milliseconds(0), In(5000), {}).error().code,
            "plane.forgotten");
  EXPECT_EQ(plane_->AppendLog(run_, token_, LiveStream::kOutput, 0, "x", In(5000), {}).error().code,
            "plane.no_such_call");
}

TEST_F(PlaneClientTest, SeesTheExtensionOnlyWhereItIsListed) {
  Serve({JsonAnswer(200, R"({"ok":true,"service":"warrant-plane"})"),
         JsonAnswer(200, R"({"ok":true,"extensions":["other.2","writ.1"]})"),
         JsonAnswer(200, R"({"ok":"yes"})")});
  EXPECT_FALSE(plane_->Health(In(5000), {})->extended);
  EXPECT_TRUE(plane_->Health(In(5000), {})->extended);
  EXPECT_EQ(plane_->Health(In(5000), {}).error().code, "plane.nonsense");
  ASSERT_TRUE(plane_->clock_offset());  // from the Date header
}

// L15
TEST_F(PlaneClientTest, ChecksABlobAgainstItsHashAndSendsTheClaimToken) {
  Serve({JsonAnswer(200, "right"), JsonAnswer(200, "wrong")});
  UniqueFd file(memfd_create("blob", MFD_CLOEXEC));
  Result<std::uint64_t> got =
      plane_->GetBlob(protocol::Sha256("right"), token_, file.get(), 100, In(5000), {});
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(*got, 5u);
  EXPECT_NE(requests_[0].find("Authorization: Bearer claim-token-text"), std::string::npos);
  EXPECT_EQ(plane_->GetBlob(protocol::Sha256("right"), token_, file.get(), 100, In(5000), {})
                .error()
                .code,
            "transfer.blob_hash");
}

TEST_F(PlaneClientTest, BeginsABrokenTransferAgainFromTheStart) {
  Serve({"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nri",
         JsonAnswer(200, "right")});
  UniqueFd file(memfd_create("blob", MFD_CLOEXEC));
  Result<std::uint64_t> got =
      plane_->GetBlob(protocol::Sha256("right"), token_, file.get(), 100, In(5000), {});
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(lseek(file.get(), 0, SEEK_END), 5);
}

TEST_F(PlaneClientTest, RefusesABlobThatIsLargerThanAllowed) {
  Serve({JsonAnswer(200, std::string(1000, 'x'))});
  UniqueFd file(memfd_create("blob", MFD_CLOEXEC));
  EXPECT_EQ(plane_->GetBlob(protocol::Sha256("right"), token_, file.get(), 100, In(5000), {})
                .error()
                .code,
            "plane.too_large");
}

// L8: a claim's secrets and tokens come out as secrets, under checked names.
TEST_F(PlaneClientTest, RefusesAClaimWithBadNamesAndReadsAGoodOne) {
  Serve(
      {JsonAnswer(
           200,
           R"({"runId":"run_1","contract":{},"claimToken":"t","events":[],"secrets":[{"name":"bad name","value":"v"}]})"),
       JsonAnswer(
           200,
           R"({"runId":"run_1","contract":{},"claimToken":"t","events":[],"secrets":[{"name":"GOOD","value":"v"}]})")});
  EXPECT_EQ(plane_->Claim(token_, "default", std::nullopt, In(5000), {}).error().code,
            "plane.nonsense");
  auto claim = plane_->Claim(token_, "default", std::nullopt, In(5000), {});
  ASSERT_TRUE(claim && *claim);
  EXPECT_EQ((*claim)->secrets.at(0).value.Reveal(), "v");
  EXPECT_EQ((*claim)->claim_token.Reveal(), "t");
}

}  // namespace
}  // namespace writ::runner
