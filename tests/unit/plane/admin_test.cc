// Init, keys, configuration, and the admin chain in the export.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "admin_chain.h"
#include "test_plane.h"
#include "writ/plane/config.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;

TEST(Init, MakesKeysPolicyAndConfigForTheOwnerOnlyAndNeverOverwrites) {
  TempFolder folder;
  const std::string dir = folder.path() + "/new";
  auto first = plane::Init(dir).value();
  EXPECT_TRUE(first.kept.empty());
  struct stat top {};
  ASSERT_EQ(::stat(dir.c_str(), &top), 0);
  // Jobs of a root runner pass through it, and nobody looks in.
  EXPECT_EQ(top.st_mode & 0777, ::geteuid() == 0 ? 0711u : 0700u);
  std::map<std::string, std::string> before;
  for (const auto& file : std::filesystem::recursive_directory_iterator(dir)) {
    struct stat st {};
    ASSERT_EQ(::stat(file.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 077, 0u) << file.path();
    if (file.is_regular_file()) before[file.path()] = ReadText(file.path());
  }
  auto second = plane::Init(dir).value();
  EXPECT_TRUE(second.created.empty());
  for (const auto& [path, bytes] : before) EXPECT_EQ(ReadText(path), bytes) << path;
}

TEST(Init, MakesAPublicHalfThatIsMissingAnewButNeverAPrivateOne) {
  TempFolder folder;
  ASSERT_TRUE(plane::Init(folder.path()));
  const auto pem = ReadText(folder.path() + "/keys/plane.pub.pem");
  std::filesystem::remove(folder.path() + "/keys/plane.pub.pem");
  ASSERT_TRUE(plane::Init(folder.path()));
  EXPECT_EQ(ReadText(folder.path() + "/keys/plane.pub.pem"), pem);
  std::filesystem::remove(folder.path() + "/keys/plane.pem");
  auto refused = plane::Init(folder.path());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "plane.key_incomplete");
}

TEST(Open, RefusesKeysThatOthersCanReadAndHalvesThatDoNotFit) {
  SystemClock clock;
  TempFolder folder;
  auto open = [&] {
    auto opened = plane::Plane::Open({.dir = folder.path(), .config = std::nullopt}, clock);
    return opened ? std::string("opened") : opened.error().code;
  };
  EXPECT_EQ(open(), "plane.not_initialized");
  ASSERT_TRUE(plane::Init(folder.path()));
  EXPECT_EQ(open(), "opened");
  ::chmod((folder.path() + "/keys/plane.pem").c_str(), 0644);
  EXPECT_EQ(open(), "plane.key_mode");
  ::chmod((folder.path() + "/keys/plane.pem").c_str(), 0600);
  WriteText(folder.path() + "/keys/plane.pub.pem", ReadText(folder.path() + "/keys/org.pub.pem"));
  EXPECT_EQ(open(), "plane.key_mismatch");
}

TEST(Config, ReadsWhatInitWritesAndRefusesUnknownKeys) {
  auto config = plane::ParseConfig(plane::DefaultConfig());
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->per_principal->per_minute, plane::Config{}.per_principal->per_minute);
  EXPECT_FALSE(plane::ParseConfig(R"({"version":"writ.config.v1","plane":{"prot":1}})"));
  EXPECT_FALSE(
      plane::ParseConfig(R"({"version":"writ.config.v1","plane":{"limits":{"perPool":"some"}}})"));
  EXPECT_FALSE(plane::ParseConfig(R"({"version":"writ.config.v2"})"));
  EXPECT_FALSE(plane::ParseConfig(R"({"version":"writ.config.v1","runner":{"x":1}})"));
  auto free = plane::ParseConfig(R"({"version":"writ.config.v1",
    "plane":{"blobReads":"free","openNetwork":"granted","limits":{"perPool":"unlimited"}}})");
  ASSERT_TRUE(free) << free.error().ToString();
  EXPECT_EQ(free->blob_reads, plane::BlobReads::kFree);
  EXPECT_EQ(free->open_network, plane::OpenNetwork::kGranted);
  EXPECT_FALSE(free->per_pool);
}

TEST(AdminChain, HoldsEveryActOfAnAdministratorAndTheExportProvesIt) {
  TestPlane plane;
  const auto& me = plane.local;
  ASSERT_TRUE(plane->CreatePrincipal(me, "ci", {plane::Role::kRequester}));
  ASSERT_TRUE(plane->CreateEnrollToken(me, std::chrono::hours(1), std::nullopt));
  ASSERT_TRUE(plane->SetSecret(me, "TOKEN", "pool:default", Secret("never in the chain")));
  ASSERT_TRUE(plane->RemoveSecret(me, "TOKEN", "pool:default"));
  ASSERT_TRUE(plane->Policy());
  Object policy = json::Parse(plane::DefaultPolicy()).value().object();
  policy.Set("budget", Object{{"maxSpendUsd", 1}, {"maxDurationMin", 1}});
  ASSERT_TRUE(plane->SetPolicy(me, json::Write(json::Value(policy))));
  TestRunner runner(*plane, me);
  ASSERT_TRUE(plane->RevokeRunner(me, runner.id));
  ASSERT_TRUE(plane->RevokePrincipal(me, "ci"));
  plane.SetPolicyText(plane::DefaultPolicy());  // by hand, with an editor
  ASSERT_TRUE(plane->Policy());

  std::vector<json::Value> lines;
  ASSERT_TRUE(plane->Export({}, [&](std::string_view line) -> Status {
    lines.push_back(json::Parse(line).value());
    return {};
  }));
  ASSERT_GT(lines.size(), 2u);
  const Object head = lines.back().object();
  lines.pop_back();
  protocol::EventChain chain(plane::AdminGenesis(plane->key_id()));
  std::vector<std::string> types;
  for (auto& line : lines) {
    Object entry = line.object();
    ASSERT_TRUE(entry.Erase("chain"));
    auto event = protocol::Event::Parse(json::Value(entry)).value();
    auto accepted = chain.Accept(event);
    ASSERT_TRUE(accepted) << accepted.error().ToString();
    types.emplace_back(event.type());
    EXPECT_EQ(json::Write(line).find("never in the chain"), std::string::npos);
  }
  EXPECT_EQ(types, (std::vector<std::string>{
                       "admin.principal.created", "admin.enroll_token.created", "admin.secret.set",
                       "admin.secret.removed", "admin.policy.changed", "admin.policy.changed",
                       "admin.enroll_token.created", "admin.runner.enrolled",
                       "admin.runner.revoked", "admin.principal.revoked", "admin.policy.changed"}));
  EXPECT_EQ(*head.Find("count")->AsInteger(), static_cast<std::int64_t>(lines.size()));
  EXPECT_EQ(head.Find("head")->string(), chain.head().head.ToHex());
  json::Issues issues;
  json::Value head_value(head);
  json::ObjectReader reader(issues, head_value);
  auto signatures = protocol::ReadSignatures(reader);
  ASSERT_EQ(signatures.size(), 1u);
  EXPECT_TRUE(protocol::VerifyDigest(protocol::PublicKey::FromPem(plane->public_key_pem()).value(),
                                     protocol::HashWithout(head_value, "signatures"),
                                     signatures[0]));
}

// The events of a type, of the export's admin chain.
std::vector<json::Value> Entries(TestPlane& plane, std::string_view type) {
  std::vector<json::Value> out;
  EXPECT_TRUE(plane->Export({}, [&](std::string_view line) -> Status {
    const auto entry = json::Parse(line).value();
    const json::Value* event = entry.Find("event");
    if (event != nullptr && event->FindString("type") == type) out.push_back(*event);
    return {};
  }));
  return out;
}

TEST(AdminChain, RecordsAConfigurationThatIsNotTheOneOfTheLastOpenByItsHash) {
  constexpr std::string_view kType = "admin.config.changed";
  plane::Config granted;
  granted.open_network = plane::OpenNetwork::kGranted;
  TestPlane plane("", granted);
  ASSERT_EQ(Entries(plane, kType).size(), 1u) << "not the defaults, from the first open on";
  plane.Reopen();
  ASSERT_EQ(Entries(plane, kType).size(), 1u) << "the same again is no change";
  plane.Reconfigure([](plane::Config& config) { config.blob_reads = plane::BlobReads::kFree; });
  plane.Reconfigure([](plane::Config& config) { config.approval_timeout /= 2; });
  plane.Reconfigure([](plane::Config& config) { config = plane::Config{}; });
  const auto entries = Entries(plane, kType);
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].FindString("openNetwork"), "granted");
  EXPECT_EQ(entries[0].FindString("blobReads"), "token-off-loopback");
  EXPECT_EQ(entries[1].FindString("blobReads"), "free");
  EXPECT_EQ(entries[3].FindString("openNetwork"), "refused");
  for (std::size_t i = 1; i < entries.size(); ++i)
    EXPECT_EQ(entries[i].FindString("previousConfigHash"), entries[i - 1].FindString("configHash"));
  EXPECT_EQ(entries[0].FindString("previousConfigHash"), entries[3].FindString("configHash"));
}

TEST(AdminChain, ActsOfThoseWhoMayNotLeaveNoTrace) {
  TestPlane plane;
  plane::Caller requester{"req", {plane::Role::kRequester}};
  EXPECT_FALSE(plane->SetSecret(requester, "A", "s", Secret("v")));
  EXPECT_FALSE(plane->CreatePrincipal(requester, "x", {plane::Role::kAdmin}));
  EXPECT_FALSE(plane->CreateEnrollToken(requester, std::chrono::hours(1), std::nullopt));
  EXPECT_FALSE(plane->SetPolicy(requester, plane::DefaultPolicy()));
  EXPECT_FALSE(plane->SetPolicy(plane.local, "{}"));
  int lines = 0;
  ASSERT_TRUE(plane->Export({}, [&](std::string_view) -> Status {
    ++lines;
    return {};
  }));
  EXPECT_EQ(lines, 0);
}

}  // namespace
}  // namespace writ::test
