#include "policy_explain.h"

#include <gtest/gtest.h>

#include "writ/plane/init.h"

namespace writ::cli {
namespace {

std::optional<protocol::Policy> PolicyWith(json::Array hosts) {
  auto value = json::Parse(plane::DefaultPolicy());
  EXPECT_TRUE(value);
  json::Object changed = value->object();
  changed.Set("network", json::Object{{"defaultDeny", true}, {"allowHosts", std::move(hosts)}});
  auto policy = protocol::Policy::Parse(json::Value(std::move(changed)));
  EXPECT_TRUE(policy) << policy.error().ToString();
  return policy ? std::optional(std::move(*policy)) : std::nullopt;
}

PolicyExplanation Ask(const PolicyQuestion& question, const std::optional<protocol::Policy>& policy,
                      const runner::RunnerConfig& config = {}) {
  auto out = ExplainPolicy(question, policy, config);
  EXPECT_TRUE(out) << out.error().ToString();
  return out ? *out : PolicyExplanation{};
}

TEST(PolicyExplain, EachOfTheThreeIsAskedAndAllHaveToAgree) {
  const auto policy = PolicyWith({"b.example.com", "*.example.org"});
  PolicyQuestion question;
  question.host = "A.Example.ORG.";
  PolicyExplanation out = Ask(question, policy);
  EXPECT_TRUE(out.allowed);
  EXPECT_EQ(out.host, "a.example.org");
  EXPECT_EQ(out.voices[0].place, "/network/allowHosts/1");
  EXPECT_EQ(out.decision.rule_id, "contract.0");

  question.contract_hosts = {"b.example.org"};
  out = Ask(question, policy);
  EXPECT_FALSE(out.allowed);
  EXPECT_FALSE(out.voices[1].allows);
  EXPECT_EQ(out.decision.reason, egress::Reason::kNoRule);
  EXPECT_EQ(out.mend, "ask for it: --allow-host a.example.org");

  question.contract_hosts = {};
  runner::RunnerConfig config;
  config.allow_hosts = {{"b.example.org", "a.example.org:8443"}};
  out = Ask(question, policy, config);
  EXPECT_FALSE(out.allowed);
  EXPECT_FALSE(out.voices[2].allows);
  EXPECT_NE(out.voices[2].words.find("8443"), std::string::npos);
  EXPECT_EQ(out.decision.reason, egress::Reason::kPort);
  question.port = 8443;
  out = Ask(question, policy, config);
  EXPECT_TRUE(out.allowed);
  EXPECT_EQ(out.decision.rule_id, "contract.0+operator.1");

  question.host = "c.example.net";
  question.port.reset();
  out = Ask(question, policy);
  EXPECT_FALSE(out.allowed);
  EXPECT_FALSE(out.voices[0].allows);
  EXPECT_EQ(out.mend, "add it to network.allowHosts of policy.json");
}

// L5: what is not named is refused, also where nobody else speaks. L22: the address decides too.
TEST(PolicyExplain, SaysWhatAnAddressChanges) {
  const auto policy = PolicyWith({"a.example.org"});
  PolicyQuestion question;
  question.host = "a.example.org";
  question.addresses = {"10.0.0.7"};
  PolicyExplanation out = Ask(question, policy);
  EXPECT_FALSE(out.allowed);
  EXPECT_EQ(out.decision.reason, egress::Reason::kAddressClass);
  EXPECT_NE(out.mend.find("addressGrants"), std::string::npos);
  runner::RunnerConfig config;
  config.address_grants = {"10.0.0.0/8"};
  EXPECT_TRUE(Ask(question, policy, config).allowed);
  question.host = "169.254.169.254";
  question.addresses = {"192.0.2.1"};  // a literal leads to itself
  EXPECT_FALSE(Ask(question, std::nullopt).allowed);
}

TEST(PolicyExplain, RefusesWhatIsNoHostOrAddress) {
  PolicyQuestion question;
  question.host = "a b";
  EXPECT_FALSE(ExplainPolicy(question, std::nullopt, {}));
  question.host = "a.example.org";
  question.addresses = {"010.0.0.1"};
  auto out = ExplainPolicy(question, std::nullopt, {});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, "policy.address");
  question.addresses = {};
  question.contract_hosts = {"*.org"};
  out = ExplainPolicy(question, std::nullopt, {});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, "egress.contract_host");
}

TEST(PolicyExplain, PrintsWhoRefusesAndTheMend) {
  PolicyQuestion question;
  question.host = "a.example.org";
  const PolicyExplanation out = Ask(question, PolicyWith({}));
  const std::string text = RenderPolicyExplanation(out);
  EXPECT_EQ(text.find("a.example.org, port 443: refused\n"), 0u) << text;
  EXPECT_NE(text.find("policy    refuses"), std::string::npos) << text;
  const json::Value value = PolicyExplanationJson(out);
  EXPECT_EQ(*value.Find("allowed"), json::Value(false));
  EXPECT_EQ(value.Find("voices")->array().size(), 3u);
  EXPECT_TRUE(value.FindString("hint"));
}

}  // namespace
}  // namespace writ::cli
