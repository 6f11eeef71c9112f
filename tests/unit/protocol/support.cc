#include "support.h"

#include <fstream>
#include <iterator>

namespace writ::protocol::test {

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

json::Value ReadJson(const std::string& path) {
  Result<json::Value> value = json::Parse(ReadText(path));
  EXPECT_TRUE(value) << path << ": " << (value ? "" : value.error().ToString());
  return value ? *value : json::Value();
}

PrivateKey Key(const std::string& which) {
  static const json::Value keys = ReadJson(writ::test::PeerVectors() + "/keys.json");
  return PrivateKey::FromPem(*keys.Find(which)->FindString("privateKeyPem")).value();
}

MadeRun MakeRun(const RunShape& shape) {
  MadeRun out;
  const WallTime start{shape.start_ms};
  Contract draft;
  draft.run_id = RunId::Parse(shape.run_id).value();
  draft.issued_at = start;
  draft.requested_by = {ActorKind::kHuman, "requester@example.com"};
  draft.agent.kind = AgentKind::Parse("mock").value();
  draft.prompt = shape.prompt;
  draft.pool = PoolName::Parse(shape.pool).value();
  draft.workspace.base_ref = CommitId::Parse(Sha256(shape.content).ToHex().substr(0, 40)).value();
  draft.workspace.bundle_hash = Sha256("bundle of " + shape.content);
  draft.policy_hash = Sha256("policy");
  draft.secrets = {{SecretName::Parse(shape.secret).value(), "pool:" + shape.pool}};
  draft.network.allow_hosts = {AllowedHost::Parse(shape.host).value()};
  draft.expires_at = start + std::chrono::hours(1);
  const PrivateKey plane = Key(shape.plane_key), runner = Key(shape.runner_key);
  Result<Contract> sealed = SealContract(std::move(draft), plane);
  EXPECT_TRUE(sealed) << sealed.error().ToString();
  out.contract = *sealed;

  EventChain chain(out.contract.Hash());
  WallTime now = start;
  const auto add = [&](json::Value event) {
    now = now + std::chrono::milliseconds(250);
    out.events.push_back(chain.Append(now, std::move(event)));
  };
  const Digest diff = Sha256("diff of " + shape.content), log = Sha256("log of " + shape.content);
  const RunnerId runner_id = RunnerId::Parse("rnr_" + shape.runner_key).value();
  add(events::RunCreated());
  add(events::RunClaimed(runner_id, runner.Public().Id()));
  add(events::SecretReleased(out.contract.secrets[0]));
  add(events::WorkspaceMaterialized(out.contract.ManifestHash()));
  add(events::NetworkConnected(shape.host, NetworkDecision::kAllowed));
  add(events::NetworkConnected("denied." + shape.host, NetworkDecision::kBlocked));
  add(events::NetworkConnected(shape.host, NetworkDecision::kAllowed));
  add(events::ModelCalled("example", "model-" + shape.content));
  add(events::CommandExecuted(Sha256("argv of " + shape.prompt), 0));
  add(events::FileChanged("src/" + shape.content + ".txt", Sha256(shape.content)));
  add(events::ArtifactCreated(ArtifactKind::kDiff, diff));
  add(events::BoundaryCrossed(Direction::kOut, diff, kDataClassCodeDiff));
  add(events::ArtifactCreated(ArtifactKind::kLog, log));
  add(events::BoundaryCrossed(Direction::kOut, log, kDataClassSessionLog));
  add(events::RunCompleted());

  ReceiptFacts facts;
  facts.runner_id = runner_id;
  facts.pool = out.contract.pool;
  facts.isolation = "process";
  facts.cost_usd = 0.25;
  if (shape.with_environment)
    facts.environment = json::Object{{"tier", "process"}, {"network", "supervised-connect"}};
  Result<Receipt> receipt = ReceiptFromEvents(out.contract, out.events, facts);
  EXPECT_TRUE(receipt) << receipt.error().ToString();
  out.receipt = *receipt;
  EXPECT_TRUE(SignAsRunner(out.receipt, runner));
  EXPECT_TRUE(CountersignAsPlane(out.receipt, runner.Public(), plane));
  out.bundle = BuildBundle(out.contract, out.receipt, out.events,
                           {plane.Public(), runner.Public(), std::nullopt});
  out.text = json::Write(out.bundle);
  return out;
}

void SignAgain(json::Value& bundle, const RunShape& shape) {
  json::Value& receipt = *bundle.object().Find("receipt");
  const Digest hash = HashWithout(receipt, "signatures");
  receipt.object().Set("signatures",
                       SignaturesToJson({SignDigest(Key(shape.runner_key), Signer::kRunner, hash),
                                         SignDigest(Key(shape.plane_key), Signer::kPlane, hash)}));
}

void Rechain(json::Value& bundle, const RunShape& shape) {
  json::Value& receipt = *bundle.object().Find("receipt");
  json::Array& events = bundle.object().Find("events")->array();
  Digest prev = HashWithout(*bundle.Find("contract"), "signatures");
  for (std::size_t i = 0; i < events.size(); ++i) {
    json::Object& event = events[i].object();
    event.Set("seq", i).Set("prev", prev);
    prev = HashValue(json::Object{
        {"seq", i}, {"ts", *event.Find("ts")}, {"prev", prev}, {"event", *event.Find("event")}});
    event.Set("hash", prev);
  }
  receipt.object().Set("eventsHead", prev).Set("eventCount", events.size());
  SignAgain(bundle, shape);
}

}  // namespace writ::protocol::test
