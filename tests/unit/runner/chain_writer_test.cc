#include "session/chain_writer.h"

#include <gtest/gtest.h>

#include "unit/runner/raw_server.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
using test::JsonAnswer;
using test::RawServer;

constexpr const char* kRejected =
    R"({"error":"event chain rejected at seq 1","code":"bad_request","nextSeq":1})";

// How often "seq" stands in a request: one in each event.
std::size_t EventsIn(const std::string& request) {
  std::size_t count = 0;
  for (std::size_t at = request.find("\"seq\""); at != std::string::npos;
       at = request.find("\"seq\"", at + 1))
    ++count;
  return count;
}

class ChainWriterTest : public ::testing::Test {
 protected:
  // The first call is given up while it waits for its answer; then `answers`, in order.
  void GiveUpTheFirst(std::vector<std::string> answers) {
    server_ = std::make_unique<RawServer>(RawServer::Security::kPlain, [this, answers](auto& c) {
      requests_.push_back(c.request);
      if (requests_.size() == 1) {
        given_up_.request_stop();
      } else {
        c.write(answers.at(std::min(requests_.size() - 2, answers.size() - 1)));
      }
    });
    plane_.emplace(PlaneClient::Open({.url = server_->url()}, clock_).value());
    writer_.Emit(protocol::events::RunCompleted());
    EXPECT_FALSE(Flush(given_up_.get_token()));
  }
  Result<RunSignals> Flush(std::stop_token stop = {}) {
    return writer_.Flush(*plane_, run_, token_, milliseconds(5000), stop);
  }
  SystemClock clock_;
  std::stop_source given_up_;
  std::vector<std::string> requests_;
  std::unique_ptr<RawServer> server_;
  std::optional<PlaneClient> plane_;
  protocol::RunId run_ = protocol::RunId::Parse("run_1").value();
  Secret token_{"claim-token-text"};
  ChainWriter writer_{clock_,
                      protocol::EventChain(protocol::Sha256("contract")),
                      {},
                      Vocabulary::kExtended,
                      nullptr};
};

// L40: the heartbeat is given up when the job ends, whatever it is doing; the plane may have stored
// what it sent.
TEST_F(ChainWriterTest, GoesOnBehindEventsWhoseAnswerNeverCame) {
  GiveUpTheFirst({JsonAnswer(400, kRejected), JsonAnswer(200, R"({"ok":true})")});
  writer_.Emit(protocol::events::RunCompleted());
  Result<RunSignals> sent = Flush();
  ASSERT_TRUE(sent) << sent.error().ToString();
  EXPECT_FALSE(writer_.HasUnsent());
  ASSERT_EQ(requests_.size(), 3u);
  EXPECT_EQ(EventsIn(requests_[1]), 1u);  // the doubtful one alone, then what came after it
  EXPECT_EQ(EventsIn(requests_[2]), 1u);
}

TEST_F(ChainWriterTest, GoesOnBehindEventsWhoseAnswerCouldNotBeRead) {  // L38
  const std::vector<std::string> answers{JsonAnswer(200, "null"), JsonAnswer(400, kRejected),
                                         JsonAnswer(200, R"({"ok":true})")};
  server_ = std::make_unique<RawServer>(RawServer::Security::kPlain, [this, answers](auto& c) {
    requests_.push_back(c.request);
    c.write(answers.at(requests_.size() - 1));
  });
  plane_.emplace(PlaneClient::Open({.url = server_->url()}, clock_).value());
  writer_.Emit(protocol::events::RunCompleted());
  EXPECT_EQ(Flush().error().code, "plane.nonsense");
  writer_.Emit(protocol::events::RunCompleted());
  EXPECT_TRUE(Flush());
  EXPECT_FALSE(writer_.HasUnsent());
  ASSERT_EQ(requests_.size(), 3u);
  EXPECT_EQ(EventsIn(requests_[1]), 1u);
  EXPECT_EQ(EventsIn(requests_[2]), 1u);
}

TEST_F(ChainWriterTest, SendsEventsAgainThatThePlaneNeverGot) {
  GiveUpTheFirst({JsonAnswer(200, R"({"ok":true})")});
  EXPECT_TRUE(Flush());
  EXPECT_FALSE(writer_.HasUnsent());
  EXPECT_EQ(requests_.size(), 2u);
}

TEST_F(ChainWriterTest, ARefusalOfEventsThatWereNotInDoubtStaysARefusal) {
  GiveUpTheFirst({JsonAnswer(200, R"({"ok":true})"), JsonAnswer(400, kRejected)});
  writer_.Emit(protocol::events::RunCompleted());
  Result<RunSignals> sent = Flush();
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, "plane.refused");
  EXPECT_TRUE(writer_.HasUnsent());
}

}  // namespace
}  // namespace writ::runner
