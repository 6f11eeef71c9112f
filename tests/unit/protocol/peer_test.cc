// The vectors of an independent implementation of the protocol (tests/golden/peer): where they and
// our reading of protocol.md disagree, they are right.
#include <set>

#include "support.h"
#include "support/places.h"
#include "writ/base/encoding.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/policy.h"

namespace writ::protocol {
namespace {

using test::ReadJson;

json::Value Vectors(const std::string& name) {
  return ReadJson(writ::test::PeerVectors() + "/" + name);
}

std::string Text(const json::Value& value, std::string_view name) {
  return std::string(value.FindString(name).value_or("(absent)"));
}

TEST(PeerVectors, CanonicalJsonAndHashesAgree) {
  const json::Value vectors = Vectors("jcs.json");
  ASSERT_EQ(vectors.array().size(), 400u);
  for (const json::Value& vector : vectors.array()) {
    const Result<json::Value> value = json::Parse(Text(vector, "json"));
    ASSERT_TRUE(value) << Text(vector, "json");
    EXPECT_EQ(json::CanonicalBytes(*value), Text(vector, "canonical"));
    EXPECT_EQ(HashValue(*value).ToHex(), Text(vector, "sha256"));
  }
}

TEST(PeerVectors, KeysAndKeyIdsAgree) {
  const json::Value vectors = Vectors("keys.json");
  ASSERT_EQ(vectors.object().size(), 4u);
  for (const json::Member& member : vectors.object()) {
    const Result<PublicKey> key = PublicKey::FromPem(Text(member.value, "publicKeyPem"));
    ASSERT_TRUE(key) << member.name;
    EXPECT_EQ(key->Id().text(), Text(member.value, "keyId"));
    EXPECT_EQ(key->ToPem(), Text(member.value, "publicKeyPem"));
    const Result<PrivateKey> secret = PrivateKey::FromPem(Text(member.value, "privateKeyPem"));
    ASSERT_TRUE(secret) << member.name;
    EXPECT_EQ(secret->Public(), *key);
    EXPECT_EQ(secret->ToPem().Reveal(), Text(member.value, "privateKeyPem"));
  }
}

TEST(PeerVectors, SignaturesAgreeByteForByte) {
  const json::Value vectors = Vectors("signatures.json");
  ASSERT_EQ(vectors.array().size(), 40u);
  for (const json::Value& vector : vectors.array()) {
    const PrivateKey key = test::Key(Text(vector, "key"));
    const std::string message = Text(vector, "message");
    EXPECT_EQ(Base64Encode(Sign(key, message)), Text(vector, "sig"));
    const std::string signature = Base64Decode(Text(vector, "sig")).value();
    EXPECT_TRUE(Verify(key.Public(), message, signature));
    EXPECT_FALSE(Verify(key.Public(), message + "x", signature));
    EXPECT_FALSE(Verify(test::Key(Text(vector, "key") == "plane" ? "runner" : "plane").Public(),
                        message, signature));
  }
}

TEST(PeerVectors, ContractsManifestsAndExecutionsAgree) {
  const json::Value vectors = Vectors("contracts.json");
  const PublicKey plane = test::Key("plane").Public();
  ASSERT_EQ(vectors.array().size(), 60u);
  for (const json::Value& vector : vectors.array()) {
    const Result<Contract> contract = Contract::Parse(*vector.Find("contract"));
    ASSERT_TRUE(contract) << contract.error().ToString();
    EXPECT_EQ(contract->Hash().ToHex(), Text(vector, "contractHash"));
    EXPECT_EQ(contract->ManifestHash().ToHex(), Text(vector, "manifestHash"));
    EXPECT_EQ(FindValidSignature(contract->signatures, Signer::kPlane, plane, contract->Hash()) !=
                  nullptr,
              *vector.Find("planeSignatureValid")->if_bool());
    const Execution execution = contract->EffectiveExecution();
    EXPECT_EQ(execution.ToJson(), *vector.Find("executionSpec"));
    // What the typed members say is all that the contract says.
    json::Value rebuilt = contract->BuildUnsigned();
    EXPECT_EQ(HashValue(rebuilt).ToHex(), Text(vector, "contractHash"));

    PrepareOptions options;
    options.timeout_rule = TimeoutRule::kTimeoutFirst;  // as the recorded peer has it
    options.mock_command = {"<node>", "/opt/mock-agent"};
    const Result<PreparedExecution> prepared =
        Prepare(execution, contract->budget.max_duration_min, options);
    ASSERT_TRUE(prepared) << prepared.error().ToString();
    EXPECT_EQ(json::CanonicalBytes(prepared->ToJson()),
              json::CanonicalBytes(*vector.Find("prepared")));
    const json::Value& hash = *vector.Find("executionHash");
    if (!hash.is_null()) {
      EXPECT_EQ(prepared->ExecutionHash().ToHex(), hash.string());
    }
  }
}

// Every contract, receipt and run of events in the recorded conversation.
struct Recorded {
  std::vector<const json::Value*> contracts, receipts, chains;
};
void Collect(const json::Value& value, Recorded& out) {
  if (const json::Array* items = value.if_array()) {
    for (const json::Value& item : *items) Collect(item, out);
  } else if (const json::Object* object = value.if_object()) {
    if (value.FindString("version") == kContractVersion) out.contracts.push_back(&value);
    if (value.FindString("version") == kReceiptVersion) out.receipts.push_back(&value);
    for (const json::Member& member : *object) {
      if (member.name == "events" && member.value.is_array()) out.chains.push_back(&member.value);
      Collect(member.value, out);
    }
  }
}

TEST(PeerVectors, TheRecordedConversationHasTheHashesThatWeCompute) {
  const json::Value vectors = Vectors("http.json");
  Recorded recorded;
  Collect(vectors, recorded);
  std::set<std::string> contract_hashes;
  for (const json::Value* value : recorded.contracts) {
    const Result<Contract> contract = Contract::Parse(*value);
    ASSERT_TRUE(contract) << contract.error().ToString();
    contract_hashes.insert(contract->Hash().ToHex());
    EXPECT_EQ(HashValue(contract->BuildUnsigned()), contract->Hash());
  }
  ASSERT_GE(contract_hashes.size(), 3u);
  std::size_t receipts = 0;
  for (const json::Value* value : recorded.receipts) {
    const Result<Receipt> receipt = Receipt::Parse(*value);
    ASSERT_TRUE(receipt) << receipt.error().ToString();
    EXPECT_EQ(contract_hashes.count(receipt->contract_hash.ToHex()), 1u);
    EXPECT_EQ(HashValue(receipt->BuildUnsigned()), receipt->Hash());
    ++receipts;
  }
  EXPECT_GE(receipts, 6u);  // each as sent by the runner and as countersigned
  std::size_t events = 0;
  for (const json::Value* value : recorded.chains) {
    const Result<std::vector<Event>> chain = Event::ParseAll(*value);
    ASSERT_TRUE(chain) << chain.error().ToString();
    for (std::size_t i = 0; i < chain->size(); ++i) {
      EXPECT_EQ((*chain)[i].ComputeHash(), (*chain)[i].hash);
      if (i > 0) {
        EXPECT_EQ((*chain)[i].prev, (*chain)[i - 1].hash);
      }
      ++events;
    }
  }
  EXPECT_GE(events, 40u);
}

TEST(PeerVectors, TheRecordedPolicyHasTheHashThatThePlaneStates) {
  const json::Value vectors = Vectors("http.json");
  std::size_t found = 0;
  for (const json::Value& vector : vectors.array()) {
    const json::Value* response = vector.Find("response");
    const json::Value* body = response != nullptr ? response->Find("body") : nullptr;
    const json::Value* policy = body != nullptr ? body->Find("policy") : nullptr;
    if (policy == nullptr) continue;
    const Result<Policy> parsed = Policy::Parse(*policy);
    ASSERT_TRUE(parsed) << parsed.error().ToString();
    EXPECT_EQ(parsed->Hash().ToHex(), Text(*body, "policyHash"));
    ++found;
  }
  EXPECT_GE(found, 1u);
}

// "*" in a pattern stands for a run of digits.
bool Matches(std::string_view pattern, std::string_view text) {
  while (!pattern.empty()) {
    if (pattern[0] == '*') {
      std::size_t digits = 0;
      while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
      if (digits == 0) return false;
      text.remove_prefix(digits);
      pattern.remove_prefix(1);
    } else {
      if (text.empty() || text[0] != pattern[0]) return false;
      text.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  return text.empty();
}

TEST(PeerVectors, BundlesAgreeAndEveryRecordedProblemHasOurCode) {
  const json::Value table =
      ReadJson(writ::test::SourceDir() + "/tests/golden/peer-problem-codes.json");
  const json::Value vectors = Vectors("bundles.json");
  ASSERT_EQ(vectors.array().size(), 88u);
  std::set<std::string> used;
  std::size_t valid = 0;
  for (const json::Value& vector : vectors.array()) {
    SCOPED_TRACE(Text(vector, "name"));
    const json::Value& bundle = *vector.Find("bundle");
    const VerifyReport report = VerifyBundle(json::Write(bundle));
    EXPECT_EQ(report.ok, *vector.Find("ok")->if_bool()) << RenderText(report, "vector");
    valid += report.ok ? 1 : 0;
    EXPECT_EQ(RenderJson(report), RenderJson(VerifyBundleValue(bundle)));
    for (const json::Value& problem : vector.Find("problems")->array()) {
      std::string code;
      for (const json::Value& row : table.array()) {
        if (!Matches(Text(row, "peer"), problem.string())) continue;
        EXPECT_TRUE(code.empty()) << "two rows for: " << problem.string();
        code = Text(row, "code");
        used.insert(Text(row, "peer"));
      }
      ASSERT_FALSE(code.empty()) << "no row for: " << problem.string();
      EXPECT_TRUE(report.HasProblem(code)) << problem.string() << " -> " << code << "\n"
                                           << RenderText(report, "vector");
    }
  }
  EXPECT_EQ(valid, 13u);
  EXPECT_EQ(used.size(), table.array().size()) << "a row of the table is never used";
}

}  // namespace
}  // namespace writ::protocol
