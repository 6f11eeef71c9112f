#include "test_plane.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "writ/protocol/events.h"
#include "writ/protocol/receipt.h"

namespace writ::test {

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "writ-plane-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}
TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void WriteText(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
}

TestPlane::TestPlane(const std::string& policy, plane::Config config) : config_(std::move(config)) {
  auto made = plane::Init(dir());
  if (!made) ADD_FAILURE() << made.error().ToString();
  if (!policy.empty()) SetPolicyText(policy);
  Reopen();
}

void TestPlane::SetPolicyText(const std::string& text) {
  WriteText(dir() + "/policy.json", text);
}

void TestPlane::Reopen() {
  plane_.reset();
  auto opened = plane::Plane::Open({.dir = dir(), .config = config_}, clock);
  if (!opened) {
    ADD_FAILURE() << opened.error().ToString();
    std::abort();
  }
  plane_ = std::move(*opened);
}

json::Value RunBody(plane::Plane& plane, const RequestOptions& options) {
  auto bundle = plane.PutBlob("a git bundle");
  json::Object workspace{{"version", "warrant.manifest.v1"},      {"baseRef", std::string(40, 'a')},
                         {"bundleHash", bundle.value()},          {"untrackedFiles", json::Array{}},
                         {"deniedPatterns", json::Array{".env"}}, {"deniedPaths", json::Array{}}};
  json::Object request{{"agentKind", options.agent},
                       {"secretNames", json::Value::Texts(options.secrets)},
                       {"network", json::Object{{"defaultDeny", true},
                                                {"allowHosts", json::Value::Texts(options.hosts)}}},
                       {"budget", json::Object{}},
                       {"disclosure", "minimal-context"},
                       {"workspace", workspace},
                       {"pool", options.pool},
                       {"prompt", options.prompt}};
  for (const auto& member : options.extra) request.Set(member.name, member.value);
  return json::Object{{"request", request}};
}

TestRunner::TestRunner(plane::Plane& plane, const plane::Caller& admin, const std::string& p)
    : pool(p) {
  auto enroll = plane.CreateEnrollToken(admin, std::chrono::hours(1), std::nullopt);
  auto enrolled = plane.Enroll(enroll.value().token, key.Public().ToPem(), pool);
  if (!enrolled) {
    ADD_FAILURE() << enrolled.error().ToString();
    return;
  }
  id = enrolled->runner_id;
  token = enrolled->runner_token;
}

FinishedRun FinishClaim(const plane::Claim& claim, const TestRunner& runner, WallTime now) {
  auto contract = protocol::Contract::Parse(json::Parse(claim.contract).value()).value();
  std::vector<protocol::Event> events;
  for (const auto& text : claim.events) {
    events.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
  }
  auto chain = protocol::EventChain::FromEvents(contract.Hash(), events).value();
  FinishedRun out;
  json::Array added;
  auto add = [&](json::Value event) {
    events.push_back(chain.Append(now, std::move(event)));
    added.push_back(events.back().ToJson());
  };
  add(protocol::events::WorkspaceMaterialized(contract.ManifestHash()));
  add(protocol::events::CommandExecuted(protocol::Sha256("argv"), 0));
  add(protocol::events::RunCompleted());
  out.events = added;
  protocol::ReceiptFacts facts;
  facts.runner_id = protocol::RunnerId::Parse(runner.id).value();
  facts.pool = protocol::PoolName::Parse(runner.pool).value();
  auto receipt = protocol::ReceiptFromEvents(contract, events, facts).value();
  auto done = protocol::SignAsRunner(receipt, runner.key);
  if (!done) ADD_FAILURE() << done.error().ToString();
  out.receipt = receipt.raw;
  return out;
}

std::string RunToCompletion(TestPlane& plane, const TestRunner& runner,
                            const RequestOptions& options) {
  auto submitted = plane->Submit(plane.local, json::Write(RunBody(*plane, options)));
  if (!submitted || submitted->kind != plane::Submission::Kind::kAccepted) {
    ADD_FAILURE() << "not accepted";
    return "";
  }
  auto claim = plane->Claim(runner.token, runner.pool, std::chrono::milliseconds(0));
  if (!claim || !*claim) {
    ADD_FAILURE() << "not claimed";
    return "";
  }
  auto finished = FinishClaim(**claim, runner, plane.clock.Now());
  auto events = plane->AppendEvents((*claim)->run_id, (*claim)->claim_token, finished.events);
  EXPECT_TRUE(events && events->accepted);
  auto done = plane->Complete((*claim)->run_id, (*claim)->claim_token, finished.receipt, "");
  EXPECT_TRUE(done) << (done ? "" : done.error().ToString());
  return (*claim)->run_id;
}

std::string PolicyWith(const json::Object& changes) {
  json::Object policy = json::Parse(plane::DefaultPolicy()).value().object();
  for (const auto& member : changes) policy.Set(member.name, member.value);
  return json::Write(json::Value(policy));
}

std::string SecretPolicy() {
  return PolicyWith(
      {{"runners", json::Object{{"allowPools", json::Array{"default", "other"}}}},
       {"secrets", json::Object{{"releasable",
                                 json::Array{json::Object{{"name", "TOKEN"},
                                                          {"scope", "pool:default"},
                                                          {"pools", json::Array{"default"}}}}}}}});
}

std::string ConsentPolicy(int rules) {
  json::Array list;
  if (rules > 0)
    list.emplace_back(json::Object{{"when", "any-run"}, {"approvers", json::Array{"lead"}}});
  if (rules > 1) {
    list.emplace_back(
        json::Object{{"when", "agent-kind"}, {"match", "mock"}, {"approvers", json::Array{"sec"}}});
  }
  return PolicyWith({{"consent", list}});
}

std::string Submit(TestPlane& plane, const RequestOptions& options) {
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane, options)));
  EXPECT_TRUE(made && made->kind == plane::Submission::Kind::kAccepted)
      << (made ? "denied or invalid" : made.error().ToString());
  return made ? made->run_id : "";
}

plane::Claim Claimed(TestPlane& plane, const TestRunner& runner) {
  auto claim = plane->Claim(runner.token, runner.pool, std::chrono::milliseconds(0));
  EXPECT_TRUE(claim && *claim) << (claim ? "nothing to claim" : claim.error().ToString());
  return claim && *claim ? std::move(**claim) : plane::Claim{};
}

std::vector<std::string> EventTypes(TestPlane& plane, const std::string& run) {
  std::vector<std::string> out;
  const auto detail = plane->Run(run).value();
  for (const auto& text : detail.events) {
    auto event = json::Parse(text).value();
    out.emplace_back(event.Find("event")->FindString("type").value());
  }
  return out;
}

}  // namespace writ::test
