// The policy document: every member is enforced or the policy is refused (L4).
#include "writ/protocol/policy.h"

#include "support.h"

namespace writ::protocol {
namespace {

json::Value Good() {
  Policy policy;
  policy.allow_pools = {PoolName::Parse("default").value()};
  policy.allow_agents = {AgentKind::Parse("mock").value()};
  policy.releasable = {{SecretName::Parse("TOKEN").value(), "pool:default", policy.allow_pools}};
  policy.consent = {{ConsentWhen::kAgentKind, "mock", {"boss"}},
                    {ConsentWhen::kAnyRun, std::nullopt, {"boss"}}};
  policy.data_classes = {{"code-diff", policy.allow_pools}};
  return policy.ToJson();
}

TEST(Policy, ReadsBackWhatItWrote) {
  const Result<Policy> policy = Policy::Parse(Good());
  ASSERT_TRUE(policy) << policy.error().ToString();
  EXPECT_EQ(policy->Hash(), HashValue(Good()));
  EXPECT_EQ(policy->consent.at(0).match, "mock");
}

TEST(Policy, IsRefusedWhereAMemberIsNotUnderstood) {  // L4
  for (const char* place : {"", "runners", "agents", "network", "secrets", "budget", "retention"}) {
    json::Value policy = Good();
    json::Object& object = *place == '\0' ? policy.object() : policy.object().Find(place)->object();
    object.Set("surprise", true);
    const Result<Policy> parsed = Policy::Parse(policy);
    ASSERT_FALSE(parsed) << place;
    EXPECT_EQ(parsed.error().code, "object.unknown") << place;
  }
  for (const char* place : {"dataClasses", "consent"}) {
    json::Value policy = Good();
    policy.object().Find(place)->array()[0].object().Set("surprise", true);
    EXPECT_FALSE(Policy::Parse(policy)) << place;
  }
}

TEST(Policy, IsRefusedWhereAConditionMeansNothing) {
  json::Value policy = Good();
  policy.object().Find("consent")->array()[0].object().Erase("match");
  EXPECT_EQ(Policy::Parse(policy).error().code, "policy.consent_match");
  policy = Good();
  policy.object().Find("consent")->array()[1].object().Set("match", "x");
  EXPECT_EQ(Policy::Parse(policy).error().code, "policy.consent_match");
  policy = Good();
  policy.object().Find("consent")->array()[1].object().Set("when", "full-moon");
  EXPECT_EQ(Policy::Parse(policy).error().code, "object.enum");
}

}  // namespace
}  // namespace writ::protocol
