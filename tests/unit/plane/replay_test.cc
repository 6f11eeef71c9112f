// The recorded conversation of an independent implementation's requester, runner and plane, held
// with ours.
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "http_client.h"
#include "support/shared_dir.h"
#include "test_plane.h"
#include "writ/base/encoding.h"
#include "writ/protocol/bundle.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using json::Value;

// Members whose texts are another's in every conversation. What the recording said for one is known
// as what ours said, wherever it comes again.
const std::set<std::string, std::less<>> kGenerated = {"runId",
                                                       "runnerId",
                                                       "runnerToken",
                                                       "claimToken",
                                                       "token",
                                                       "keyId",
                                                       "hash",
                                                       "prev",
                                                       "sig",
                                                       "ts",
                                                       "issuedAt",
                                                       "expiresAt",
                                                       "createdAt",
                                                       "updatedAt",
                                                       "enrolledAt",
                                                       "contractHash",
                                                       "eventsHead",
                                                       "startedAt",
                                                       "runnerKeyId",
                                                       "planePublicKeyPem",
                                                       "runnerPublicKeyPem"};
// What ours may say beyond the recording.
const std::set<std::string, std::less<>> kExtra = {"extensions",   "code",    "detail", "hint",
                                                   "pointer",      "nextSeq", "head",   "receipt",
                                                   "publicKeyPem", "heardAt"};

class Replay : public ::testing::Test {
 protected:
  std::string Mapped(const std::string& text) const {
    auto exact = known_.find(text);
    if (exact != known_.end()) return exact->second;
    std::string out = text;
    // Ours can cancel claimed runs too, and says so.
    constexpr std::string_view kTheirs = "; only unclaimed runs can be cancelled";
    if (out.ends_with(kTheirs)) {
      out.replace(out.size() - kTheirs.size(), kTheirs.size(),
                  ": it has ended and cannot be cancelled");
    }
    for (const auto& [theirs, ours] : known_) {
      if (theirs.size() < 12) continue;
      for (size_t at = out.find(theirs); at != std::string::npos;
           at = out.find(theirs, at + ours.size())) {
        out.replace(at, theirs.size(), ours);
      }
    }
    return out;
  }

  Value Mapped(const Value& value) const {
    if (const auto* text = value.if_string()) return Mapped(*text);
    if (const auto* items = value.if_array()) {
      Array out;
      for (const auto& item : *items) out.push_back(Mapped(item));
      return out;
    }
    if (const auto* object = value.if_object()) {
      Object out;
      for (const auto& member : *object) out.Set(member.name, Mapped(member.value));
      return out;
    }
    return value;
  }

  void Compare(const Value& theirs, const Value& ours, const std::string& where) {
    if (const auto* object = theirs.if_object()) {
      ASSERT_TRUE(ours.is_object()) << where;
      for (const auto& member : *object) {
        const Value* found = ours.Find(member.name);
        ASSERT_NE(found, nullptr) << where << "/" << member.name;
        if (kGenerated.contains(member.name) && member.value.is_string()) {
          ASSERT_TRUE(found->is_string()) << where << "/" << member.name;
          const std::string& text = member.value.string();
          auto before = known_.find(text);
          if (before != known_.end()) {
            // Times of one recording may coincide where ours differ; ids and hashes may not.
            if (!ParseRfc3339(text)) {
              EXPECT_EQ(found->string(), before->second) << where << "/" << member.name;
            }
          } else {
            known_[text] = found->string();
          }
          continue;
        }
        Compare(member.value, *found, where + "/" + member.name);
      }
      for (const auto& member : ours.object()) {
        EXPECT_TRUE(object->Contains(member.name) || kExtra.contains(member.name))
            << where << " has " << member.name;
      }
    } else if (const auto* items = theirs.if_array()) {
      ASSERT_TRUE(ours.is_array()) << where;
      ASSERT_EQ(items->size(), ours.array().size()) << where;
      for (size_t i = 0; i < items->size(); ++i)
        Compare((*items)[i], ours.array()[i], where + "/" + std::to_string(i));
    } else if (const auto* text = theirs.if_string()) {
      ASSERT_TRUE(ours.is_string()) << where;
      EXPECT_EQ(ours.string(), Mapped(*text)) << where;
    } else {
      EXPECT_EQ(theirs, ours) << where;
    }
  }

  // The runner's side: the recorded event bodies on our chain, signed by our key.
  Value OurEvents(const Value& recorded) {
    Array out;
    for (const auto& event : recorded.array()) {
      const std::string hash = event.Find("hash")->string();
      if (known_.contains(hash)) {  // sent before: the same again
        out.push_back(Mapped(event));
        continue;
      }
      Value body = Mapped(*event.Find("event"));
      auto ours = chain_->Append(ParseRfc3339(event.Find("ts")->string()).value(), body);
      known_[hash] = ours.hash.ToHex();
      out.push_back(ours.ToJson());
    }
    return out;
  }

  Value OurReceipt(const Value& recorded) {
    Object receipt = Mapped(recorded).object();
    receipt.Set("startedAt", FormatRfc3339(started_at_));
    if (const Value* released = receipt.Find("secretsReleased")) {
      Array list;
      for (const auto& entry : released->array()) {
        Object copy = entry.object();
        copy.Set("ts", FormatRfc3339(released_at_));
        list.emplace_back(copy);
      }
      receipt.Set("secretsReleased", list);
    }
    auto signature = protocol::SignDigest(runner_key_, protocol::Signer::kRunner,
                                          protocol::HashWithout(Value(receipt), "signatures"));
    receipt.Set("signatures", protocol::SignaturesToJson({signature}));
    return receipt;
  }

  void AfterClaim(const Value& answer) {
    const Value* contract = answer.Find("claimToken") ? answer.Find("contract") : nullptr;
    if (contract == nullptr) return;
    auto events = protocol::Event::ParseAll(*answer.Find("events")).value();
    auto parsed = protocol::Contract::Parse(*contract).value();
    chain_ = protocol::EventChain::FromEvents(parsed.Hash(), events).value();
    started_at_ = events.front().ts;
    released_at_ = events.back().ts;
    claim_token_ = answer.Find("claimToken")->string();
  }

  std::map<std::string, std::string> known_;  // theirs -> ours
  protocol::PrivateKey runner_key_ = protocol::PrivateKey::Generate();
  std::optional<protocol::EventChain> chain_;
  WallTime started_at_;
  WallTime released_at_;  // of the claim's secrets, the last events of the plane
  std::string claim_token_;
};

TEST_F(Replay, HoldsTheRecordedConversationOfRequesterRunnerAndPlane) {
  const Value recording = json::Parse(ReadText(PeerVectors() + "/http.json")).value();
  // The recorded plane's policy, byte for byte the same hash.
  const Value* policy = nullptr;
  for (const auto& entry : recording.array()) {
    if (const Value* response = entry.Find("response")) {
      if (const Value* body = response->Find("body");
          body->Find("policyHash") && body->Find("policy")) {
        policy = body->Find("policy");
      }
    }
  }
  ASSERT_NE(policy, nullptr);
  TestPlane plane(json::Write(*policy));
  plane.clock.SetWall(*ParseRfc3339("2026-11-22T08:35:15.300Z"));
  auto admin = plane->CreatePrincipal(plane.local, "admin", {plane::Role::kAdmin}).value().token;
  auto enroller =
      plane->CreatePrincipal(plane.local, "enroller", {plane::Role::kEnroller}).value().token;
  known_["testkit-enroll-token"] = enroller;
  ASSERT_TRUE(
      plane->SetSecret(plane.local, "MOCK_SECRET", "pool:default", Secret("s3cr3t-value-42")));
  // A runner was there before the recording began.
  ASSERT_TRUE(
      plane->Enroll(enroller, protocol::PrivateKey::Generate().Public().ToPem(), "default"));
  plane.clock.Advance(std::chrono::milliseconds(50));
  auto server = plane::HttpServer::Start(*plane, plane.clock, {});
  ASSERT_TRUE(server) << server.error().ToString();
  HttpClient client((*server)->url());

  std::string step;
  int conversations = 0;
  for (size_t i = 0; i < recording.array().size(); ++i) {
    const Value& entry = recording.array()[i];
    if (auto named = entry.FindString("step")) {
      step = *named;
      continue;
    }
    SCOPED_TRACE("entry " + std::to_string(i) + ": " + step);
    ++conversations;
    plane.clock.Advance(std::chrono::milliseconds(1));
    const Value& request = *entry.Find("request");
    HttpCall call;
    call.method = request.Find("method")->string();
    call.path = Mapped(request.Find("path")->string());
    if (auto type = request.FindString("contentType")) call.content_type = *type;
    if (auto bearer = request.FindString("authorization")) {
      call.token = bearer->find("testkit") != std::string_view::npos ? admin : claim_token_;
    }
    const Value& body = *request.Find("body");
    if (auto bytes = body.FindString("base64")) {
      call.body = Base64Decode(*bytes).value();
    } else if (body.is_object()) {
      Object sent = body.object();
      if (auto pem = body.FindString("publicKeyPem");
          pem && pem->find("BEGIN") != std::string_view::npos) {
        known_[std::string(*pem)] = runner_key_.Public().ToPem();
      }
      const Value* events = body.Find("events");
      if (events != nullptr) sent.Set("events", Array{});
      const Value* receipt = body.Find("receipt");
      if (receipt != nullptr) sent.Set("receipt", Object{});
      sent = Mapped(Value(sent)).object();
      if (events != nullptr) sent.Set("events", OurEvents(*events));
      if (receipt != nullptr) sent.Set("receipt", OurReceipt(*receipt));
      call.body = json::Write(Value(sent));
    }
    HttpAnswer answer = client.Send(call);
    ASSERT_EQ(answer.failure, "");
    const Value& response = *entry.Find("response");
    const auto recorded_status = *response.Find("status")->AsInteger();
    if (recorded_status == 500) {
      // Bad input that the recorded plane did not expect: ours says what is wrong with it.
      EXPECT_EQ(answer.status, 400) << answer.body;
      EXPECT_TRUE(answer.Json().FindString("error").value_or("").starts_with("invalid request: "))
          << answer.body;
      continue;
    }
    ASSERT_EQ(answer.status, recorded_status) << answer.body;
    EXPECT_EQ(answer.headers["content-type"], response.FindString("contentType").value_or(""));
    EXPECT_TRUE(answer.headers["x-request-id"].starts_with("req_"));
    const Value& expected = *response.Find("body");
    if (auto bytes = expected.FindString("base64")) {
      const std::string text = Base64Decode(*bytes).value();
      if (answer.headers["content-type"] != "application/x-ndjson") {
        EXPECT_EQ(answer.body, text);
        continue;
      }
      std::istringstream theirs(text);
      std::istringstream ours(answer.body);
      std::string line;
      std::string our_line;
      while (std::getline(theirs, line)) {
        ASSERT_TRUE(std::getline(ours, our_line));
        Compare(json::Parse(line).value(), json::Parse(our_line).value(), "export");
      }
      // What follows is the admin chain, and its signed head.
      int admin_lines = 0;
      while (std::getline(ours, our_line)) {
        EXPECT_EQ(json::Parse(our_line).value().FindString("chain"), "admin");
        ++admin_lines;
      }
      EXPECT_GT(admin_lines, 3);
      continue;
    }
    // A content hash is not generated: blobs must have theirs.
    if (call.path == "/v1/blobs" && answer.status == 200) {
      EXPECT_EQ(answer.Json(), expected);
      continue;
    }
    Compare(expected, answer.Json(), "body");
    if (HasFatalFailure()) return;
    AfterClaim(answer.Json());
    if (call.path.ends_with("/bundle")) {
      protocol::VerifyOptions pins;
      pins.plane_key = protocol::PublicKey::FromPem(plane->public_key_pem()).value();
      pins.runner_key = runner_key_.Public();
      auto report = protocol::VerifyBundle(answer.body, pins);
      EXPECT_TRUE(report.ok) << json::WritePretty(protocol::RenderJson(report));
      EXPECT_TRUE(report.pinned);
    }
  }
  EXPECT_EQ(conversations, 78);
}

}  // namespace
}  // namespace writ::test
