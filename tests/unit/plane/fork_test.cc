// Requests for runs that begin from another run's checkpoint.
#include <gtest/gtest.h>

#include <string>

#include "test_plane.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using json::Object;
using plane::Submission;

// A run in work that has one checkpoint.
class Forks : public testing::Test {
 protected:
  void SetUp() override {
    run_ = Submit(plane_);
    const plane::Claim claim = Claimed(plane_, runner_);
    std::vector<protocol::Event> before;
    for (const auto& text : claim.events)
      before.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
    of_ = protocol::Contract::Parse(json::Parse(claim.contract).value()).value();
    checkpoint_ = plane_->PutBlob("a tree stream").value();
    auto chain = protocol::EventChain::FromEvents(of_.Hash(), before).value();
    const json::Array added{
        chain
            .Append(plane_.clock.Now(),
                    protocol::events::CheckpointCreated(checkpoint_, protocol::kCheckpointTier))
            .ToJson()};
    auto taken = plane_->AppendEvents(run_, claim.claim_token, added);
    ASSERT_TRUE(taken && taken->accepted);
  }
  Object From(const std::string& checkpoint) const {
    return Object{{"envelopeHash", of_.Hash()},
                  {"checkpointId", checkpoint},
                  {"tier", protocol::kCheckpointTier}};
  }
  Submission Ask(const plane::Caller& who, const Object& from, Object extra = {}) {
    extra.Set("continuation", from);
    RequestOptions options;
    options.extra = std::move(extra);
    return plane_->Submit(who, json::Write(RunBody(*plane_, options))).value();
  }
  std::string Refused(const plane::Caller& who, const Object& from, Object extra = {}) {
    const Submission answer = Ask(who, from, std::move(extra));
    return answer.kind == Submission::Kind::kInvalid ? answer.pointer : "accepted";
  }

  TestPlane plane_;
  TestRunner runner_{*plane_, plane_.local};
  std::string run_, checkpoint_;
  protocol::Contract of_;
};

TEST_F(Forks, HaveAContractThatNamesTheirCheckpoint) {
  const Submission answer = Ask(plane_.local, From(checkpoint_));
  ASSERT_EQ(answer.kind, Submission::Kind::kAccepted);
  const auto text = plane_->Run(answer.run_id).value().contract;
  auto contract = protocol::Contract::Parse(json::Parse(text).value()).value();
  ASSERT_TRUE(contract.continuation);
  EXPECT_EQ(contract.continuation->envelope_hash, of_.Hash());
  EXPECT_EQ(contract.continuation->checkpoint_id, checkpoint_);
  EXPECT_EQ(contract.continuation->tier, "microvm-files");
}

// L4, L5, L46: of one's own run, one that it has, on the workspace that it belongs on.
TEST_F(Forks, AreOfTheAskersOwnRunAndItsCheckpointsAlone) {
  const std::string pointer = "/request/continuation/";
  const std::string other = plane_->PutBlob("another blob").value();
  EXPECT_EQ(Refused(plane_.local, From(other)), pointer + "checkpointId");
  Object elsewhere = From(checkpoint_);
  elsewhere.Set("envelopeHash", std::string(64, 'a'));
  EXPECT_EQ(Refused(plane_.local, elsewhere), pointer + "envelopeHash");
  const plane::Caller stranger{"stranger", {plane::Role::kRequester}};
  EXPECT_EQ(Refused(stranger, From(checkpoint_)), pointer + "envelopeHash");
  Object memory = From(checkpoint_);
  memory.Set("tier", "microvm-memory");
  EXPECT_EQ(Refused(plane_.local, memory), pointer + "tier");
  Object workspace = of_.workspace.ToJson().object();
  workspace.Set("baseRef", std::string(40, 'b'));
  EXPECT_EQ(Refused(plane_.local, From(checkpoint_), {{"workspace", workspace}}),
            "/request/workspace");
}

}  // namespace
}  // namespace writ::test
