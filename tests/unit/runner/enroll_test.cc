#include "writ/runner/enroll.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "unit/runner/raw_server.h"
#include "writ/protocol/key_manifest.h"

namespace writ::runner {
namespace {

using test::JsonAnswer;
using test::RawServer;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

class EnrollTest : public ::testing::Test {
 protected:
  EnrollTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-enroll-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
  }
  ~EnrollTest() override { std::filesystem::remove_all(dir_); }
  RunnerConfig Config(const RawServer& server) const {
    RunnerConfig config;
    config.state_dir = dir_ + "/state";
    config.plane.url = server.url();
    config.call_timeout = std::chrono::milliseconds(5000);
    return config;
  }
  std::string identity() const { return dir_ + "/state/identity"; }
  std::string dir_;
  SystemClock clock_;
};

const std::string kIdentity = R"({"runnerId":"rnr_1","runnerToken":"token-of-the-runner"})";

std::string KeyIn(const std::string& request) {
  std::size_t at = request.find("BEGIN PUBLIC KEY");
  return at == std::string::npos ? "" : request.substr(at, 120);
}

TEST_F(EnrollTest, HasItsKeysOnDiskBeforeThePlaneIsAsked) {
  mode_t key_mode = 0, dir_mode = 0;
  RawServer server(RawServer::Security::kPlain, [&](auto& c) {
    key_mode = ModeOf(identity() + "/runner.key.pem");
    dir_mode = ModeOf(identity());
    c.write(JsonAnswer(200, kIdentity));
  });
  Result<Identity> enrolled = Enroll(Config(server), Secret("enrol-me"), clock_);
  ASSERT_TRUE(enrolled) << enrolled.error().ToString();
  EXPECT_EQ(key_mode, 0600u);
  EXPECT_EQ(dir_mode, 0700u);
  EXPECT_EQ(ModeOf(identity() + "/runner.token"), 0600u);
  EXPECT_EQ(ModeOf(identity() + "/runner.json"), 0600u);
  EXPECT_EQ(enrolled->runner_id.text(), "rnr_1");
}

TEST_F(EnrollTest, LeavesItsPublicKeyForAuditorsAndTrustsNothingInThatFile) {
  RawServer server(RawServer::Security::kPlain,
                   [&](auto& c) { c.write(JsonAnswer(200, kIdentity)); });
  Result<Identity> enrolled = Enroll(Config(server), Secret("enrol-me"), clock_);
  ASSERT_TRUE(enrolled) << enrolled.error().ToString();
  const std::string path = identity() + "/runner.pub.pem";
  const auto text = [&] {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(text(), enrolled->key.Public().ToPem());
  EXPECT_EQ(ModeOf(path), 0644u);
  // Of a runner that enrolled before there was such a file, and where somebody put another key.
  for (const char* there : {"", "another key"}) {
    std::filesystem::remove(path);
    if (*there != '\0') std::ofstream(path) << there;
    Result<IdentityStore> store = IdentityStore::Open(dir_ + "/state");
    ASSERT_TRUE(store);
    Result<std::optional<Identity>> loaded = store->Load();
    ASSERT_TRUE(loaded && *loaded);
    EXPECT_EQ((*loaded)->key.Public(), enrolled->key.Public());
    EXPECT_EQ(text(), enrolled->key.Public().ToPem());
  }
}

TEST_F(EnrollTest, AsksAgainWithTheSameKeyAfterALostAnswer) {
  std::vector<std::string> keys;
  RawServer server(RawServer::Security::kPlain, [&](auto& c) {
    keys.push_back(KeyIn(c.request));
    if (keys.size() > 1)
      c.write(JsonAnswer(200, kIdentity));  // the first answer is lost: closed without a word
  });
  Result<Identity> enrolled = Enroll(Config(server), Secret("enrol-me"), clock_);
  ASSERT_TRUE(enrolled) << enrolled.error().ToString();
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0], keys[1]);
  EXPECT_NE(keys[0], "");
}

TEST_F(EnrollTest, KeepsItsKeyForALaterTryAndAsksNobodyOnceItIsEnrolled) {
  std::vector<std::string> keys;
  bool refuse = true;
  RawServer server(RawServer::Security::kPlain, [&](auto& c) {
    keys.push_back(KeyIn(c.request));
    c.write(refuse ? JsonAnswer(400, R"({"error":"invalid enroll token","code":"bad_request"})")
                   : JsonAnswer(200, kIdentity));
  });
  Result<Identity> refused = Enroll(Config(server), Secret("wrong-token-text"), clock_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "runner.enroll_refused");
  EXPECT_EQ(refused.error().ToString().find("wrong-token-text"), std::string::npos);  // L8
  refuse = false;
  ASSERT_TRUE(Enroll(Config(server), Secret("right"), clock_));
  ASSERT_TRUE(Enroll(Config(server), Secret("right"), clock_));
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0], keys[1]);
  RunnerConfig other = Config(server);
  other.pool = "other";
  EXPECT_EQ(Enroll(other, Secret("right"), clock_).error().code, "runner.pool_changed");
}

TEST_F(EnrollTest, SaysWhatThePlaneSaidWithoutItsControlCharactersAndWithoutTheToken) {
  std::string body;
  RawServer server(RawServer::Security::kPlain, [&](auto& c) { c.write(JsonAnswer(400, body)); });
  auto refusal = [&](std::string_view sentence) {
    body = json::Write(json::Object{{"error", sentence}, {"code", "bad_request"}});
    Result<Identity> refused = Enroll(Config(server), Secret("enrol-me-token"), clock_);
    EXPECT_FALSE(refused);
    EXPECT_EQ(refused.error().code, "runner.enroll_refused");
    return refused.error().ToString();
  };
  const std::string pool = "invalid request: pool: this enroll token is for another pool";
  EXPECT_NE(refusal(pool).find("the plane says: " + pool), std::string::npos);
  EXPECT_EQ(refusal("no \x1b[31m\r\n way").find_first_of("\x1b\r\n"), std::string::npos);
  EXPECT_EQ(refusal("I had enrol-me-token from you").find("enrol-me-token"), std::string::npos);
  std::string long_one;
  for (int i = 0; i < 300; ++i) long_one += "\xc3\xa9";
  const std::string shown = refusal(long_one);
  EXPECT_LT(shown.size(), 700u);
  EXPECT_TRUE(json::IsWellFormedUtf8(shown)) << "not cut inside a character";
}

TEST_F(EnrollTest, NeverReplacesADamagedKeyAndRefusesOneThatOthersCanRead) {
  RawServer server(RawServer::Security::kPlain,
                   [&](auto& c) { c.write(JsonAnswer(200, kIdentity)); });
  ASSERT_TRUE(Enroll(Config(server), Secret("t"), clock_));
  chmod((identity() + "/runner.token").c_str(), 0644);
  EXPECT_EQ(Enroll(Config(server), Secret("t"), clock_).error().code, "runner.identity.mode");
  chmod((identity() + "/runner.token").c_str(), 0600);
  std::ofstream(identity() + "/runner.key.pem") << "damaged";
  EXPECT_EQ(Enroll(Config(server), Secret("t"), clock_).error().code, "runner.identity.damaged");
}

// Which keys a plane says it signs with, as an answer to GET /v1/keys.
std::string ManifestOf(const protocol::PublicKey& key) {
  protocol::KeyManifest draft;
  draft.plane_keys.push_back({key, WallTime{0}, std::nullopt});
  return json::Write(
      protocol::SealKeyManifest(std::move(draft), protocol::PrivateKey::Generate())->raw);
}

TEST_F(EnrollTest, SeesAWrongPinnedKeyBeforeATokenIsSpent) {  // L1
  const protocol::PublicKey right = protocol::PrivateKey::Generate().Public();
  std::string health = R"({"ok":true,"extensions":["writ.1"]})", keys = ManifestOf(right);
  int status = 200;
  RawServer server(RawServer::Security::kPlain, [&](auto& c) {
    const bool asks_keys = c.request.starts_with("GET /v1/keys ");
    c.write(asks_keys ? JsonAnswer(status, keys) : JsonAnswer(200, health));
  });
  RunnerConfig config = Config(server);
  config.plane_key_pem = right.ToPem();
  EXPECT_TRUE(CheckPlaneKey(config, clock_));
  config.plane_key_pem = protocol::PrivateKey::Generate().Public().ToPem();
  Status wrong = CheckPlaneKey(config, clock_);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, "runner.plane_key_unknown");
  // What a plane does not tell, or tells badly, is held against nobody: contracts are what counts.
  keys = "{}";
  EXPECT_TRUE(CheckPlaneKey(config, clock_));
  keys = ManifestOf(right);
  status = 404;
  EXPECT_TRUE(CheckPlaneKey(config, clock_));
  status = 200;
  health = R"({"ok":true})";
  EXPECT_TRUE(CheckPlaneKey(config, clock_));
}

}  // namespace
}  // namespace writ::runner
