// A runner that could not start a session does not claim (L41): each lack has its own code.
#include "engine/readiness.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "writ/base/paths.h"
#include "writ/runner/own_modes.h"

namespace writ::runner {
namespace {

class StubBackend final : public backends::Backend {
 public:
  explicit StubBackend(const bool& alive) : alive_(alive) { capabilities_.usable = true; }
  std::string_view Name() const override { return "stub"; }
  backends::Tier GetTier() const override { return backends::Tier::kProcess; }
  const backends::Capabilities& Probe() override { return capabilities_; }
  Status Alive() override {
    if (alive_) return {};
    return Error{.kind = ErrorKind::kUnavailable, .code = "stub.gone", .message = "it went away"};
  }
  Status Check(const backends::Plan&) override { return {}; }
  Result<std::unique_ptr<backends::Job>> Prepare(backends::Plan) override { return Error{}; }
  Result<backends::Recovered> Recover(const backends::LeftJob&,
                                      std::chrono::milliseconds) override {
    return Error{};
  }

 private:
  const bool& alive_;
  backends::Capabilities capabilities_;
};

class ReadinessTest : public testing::Test {
 protected:
  ReadinessTest() {
    std::string pattern = "/var/tmp/writ-ready-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    dir_ = pattern;
    config_.work_dir = dir_;
    config_.egress_proxy = "/bin/true";
    config_.limits.min_free_disk_bytes = 0;
    config_.limits.min_free_memory_bytes = 1;
    sessions_ = std::move(*OpenDirectory(dir_));
    EXPECT_TRUE(registry_.Add(std::make_unique<StubBackend>(alive_)));
  }
  ~ReadinessTest() override { std::filesystem::remove_all(dir_); }

  std::vector<std::string> Blocking(Depth depth = Depth::kBeforeClaim) {
    std::vector<std::string> codes;
    for (const ReadinessProblem& p : LookAtReadiness(config_, registry_, sessions_.get(), depth)) {
      EXPECT_FALSE(p.message.empty()) << p.code;
      if (p.blocks_claims) codes.push_back(p.code);
    }
    return codes;
  }
  bool Blocks(const std::string& code) {
    auto codes = Blocking();
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  }

  std::string dir_;
  UniqueFd sessions_;
  RunnerConfig config_;
  bool alive_ = true;
  backends::BackendRegistry registry_;
};

TEST_F(ReadinessTest, IsReadyWhereNothingLacks) {
  EXPECT_EQ(Blocking(), std::vector<std::string>());
}

TEST_F(ReadinessTest, LacksDiskAndMemoryBelowWhatIsKeptFree) {  // L41
  config_.limits.min_free_disk_bytes = std::numeric_limits<std::int64_t>::max();
  config_.limits.min_free_memory_bytes = std::numeric_limits<std::int64_t>::max();
  EXPECT_TRUE(Blocks("ready.disk"));
  EXPECT_TRUE(Blocks("ready.memory"));
}

TEST_F(ReadinessTest, LacksMemoryForALimitThatTheMachineDoesNotHave) {  // L42
  config_.limits.memory_bytes = 1ull << 60;
  EXPECT_TRUE(Blocks("ready.memory"));
}

TEST_F(ReadinessTest, LacksABackendThatWentAway) {  // L41
  alive_ = false;
  EXPECT_TRUE(Blocks("ready.no_backend"));
}

TEST_F(ReadinessTest, LacksAnAgentThatTheOperatorNamed) {
  config_.agent_paths["codex"] = dir_ + "/no-such-program";
  EXPECT_TRUE(Blocks("ready.agent.codex"));
  config_.agent_paths.clear();
  EXPECT_FALSE(Blocks("ready.agent.codex"));
}

TEST_F(ReadinessTest, AMockAgentOutOfReachConcernsTheRunsThatAskForIt) {
  config_.mock_agent = "/nonexistent/writ-mock-agent";
  EXPECT_EQ(Blocking(), std::vector<std::string>());
}

// What a job with the runner's own uid can do to it. As root modes keep nobody out: then it is the
// setting back alone that is shown.
TEST_F(ReadinessTest, SeesModesThatWereTakenFromItAndSetsThemBack) {
  config_.state_dir = dir_ + "/state";
  const std::vector<std::string> folders = {config_.state_dir, config_.state_dir + "/identity",
                                            config_.state_dir + "/journal"};
  for (const std::string& folder : folders) std::filesystem::create_directories(folder);
  const std::string database = folders[2] + "/journal.db";
  const std::string key = folders[1] + "/runner.key.pem";
  for (const std::string& file : {database, key}) std::ofstream(file) << "x";
  EXPECT_TRUE(MendOwnModes(config_).empty());
  EXPECT_FALSE(Blocks("ready.own_folder"));
  ::chmod(database.c_str(), 0400);
  for (const std::string& path : {key, folders[2], folders[1], folders[0]})
    ::chmod(path.c_str(), 0);
  if (::geteuid() != 0) {
    EXPECT_TRUE(Blocks("ready.own_folder"));
  }
  EXPECT_EQ(MendOwnModes(config_).size(), 5u);
  EXPECT_FALSE(Blocks("ready.own_folder"));
  EXPECT_EQ(::access(database.c_str(), R_OK | W_OK), 0);
  EXPECT_TRUE(MendOwnModes(config_).empty());
}

TEST_F(ReadinessTest, LacksItsEgressProxy) {
  config_.egress_proxy = dir_ + "/none";
  EXPECT_TRUE(Blocks("ready.egress_proxy"));
}

}  // namespace
}  // namespace writ::runner
