// What no job may be shown, and what of an agent's installation is shown instead.
#include "plan/private_places.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "writ/runner/profiles.h"

namespace writ::runner {
namespace {
namespace fs = std::filesystem;

constexpr char kMounts[] =
    "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "21 20 8:2 / /home rw - ext4 /dev/sda2 rw\n"
    "22 20 8:2 /u/tools /usr/local rw - ext4 /dev/sda2 rw\n"
    "23 20 8:3 / /mnt/a\\040b rw - ext4 /dev/sdb1 rw\n"
    "24 20 8:3 /deep /opt/agent/data rw - ext4 /dev/sdb1 rw\n";

PrivatePlaces Of(std::vector<std::string> state) {
  return PrivatePlaces(std::move(state), {"/home/u"}, ParseMounts(kMounts));
}

TEST(PrivatePlaces, AreShownWithWhatHoldsThemAndWithWhatTheyHold) {
  const PrivatePlaces places = Of({"/home/u/.local/share/writ"});
  for (const char* path : {"/", "/home", "/home/u/.local", "/home/u/.local/share/writ",
                           "/home/u/.local/share/writ/bin"})
    EXPECT_EQ(places.ShownWith(path), "/home/u/.local/share/writ") << path;
  for (const char* path : {"/usr", "/home/u/.local/share/writ2", "/home/u/.local/lib"})
    EXPECT_FALSE(places.ShownWith(path)) << path;
}

TEST(PrivatePlaces, AreKnownUnderAnotherNameOfTheSameFolder) {
  EXPECT_TRUE(Of({"/home/u/tools/state"}).ShownWith("/usr"));
  EXPECT_TRUE(Of({"/home/u/tools/state"}).ShownWith("/usr/local"));
  EXPECT_TRUE(Of({"/home/u"}).ShownWith("/usr/local")) << "a part of it";
  EXPECT_FALSE(Of({"/home/u/state"}).ShownWith("/usr"));
  EXPECT_TRUE(Of({"/usr/local/state"}).ShownWith("/home/u/tools"));
  EXPECT_TRUE(Of({"/mnt/a b/deep/state"}).ShownWith("/opt/agent"));
  EXPECT_FALSE(Of({"/mnt/a b/other"}).ShownWith("/opt/agent"));
}

TEST(PrivatePlaces, AFolderOfOneProgramIsNoHomeAndNoDrawerOfOne) {
  const PrivatePlaces places = Of({});
  for (const char* path : {"/", "/home", "/home/u", "/home/u/.local", "/home/u/.ssh", "/home/u/x",
                           "/home/u/.local/share", "/home/u/.local/state"})
    EXPECT_FALSE(places.IsOneProgramsFolder(path)) << path;
  for (const char* path : {"/opt/agent", "/home/u/.nvm/versions/node/v20", "/home/u/node_modules",
                           "/home/u/.local/share/claude"})
    EXPECT_TRUE(places.IsOneProgramsFolder(path)) << path;
}

TEST(PrivatePlaces, AStateDirectoryThatEveryJobSeesIsRefused) {
  for (const char* place : {"/usr/local/writ-test/state", "/etc/writ-test"}) {
    RunnerConfig config;
    config.state_dir = place;
    config.work_dir = "/var/tmp/writ-test";
    Status seen = CheckOutOfView(config);
    ASSERT_FALSE(seen) << place;
    EXPECT_EQ(seen.error().code, "runner.private_in_view");
    EXPECT_NE(seen.error().message.find(place), std::string::npos);
    EXPECT_FALSE(seen.error().hint.empty());
    std::swap(config.state_dir, config.work_dir);
    EXPECT_FALSE(CheckOutOfView(config)) << place;
    config.work_dir = "/var/tmp/writ-test";
    EXPECT_TRUE(CheckOutOfView(config));
    config.private_dirs = {place};
    EXPECT_FALSE(CheckOutOfView(config));
  }
}

TEST(PrivatePlaces, AKeyThatAJobOfOurUidCouldReadIsRefusedToo) {
  RunnerConfig config;
  config.state_dir = config.work_dir = "/var/tmp/writ-test";
  config.plane.client_key_file = "/etc/writ-test/client.key";
  EXPECT_FALSE(CheckOutOfView(config));
  config.uid_range = UidRange{100'000, 2};  // jobs have other uids, and the file its mode
  EXPECT_TRUE(CheckOutOfView(config));
}

// A home of the runner's, with a state directory in it and programs in its folders.
class AgentInAHome : public testing::Test {
 protected:
  AgentInAHome() {
    std::string pattern = "/var/tmp/writ-home-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    home_ = pattern;
    state_ = home_ + "/.local/share/writ";
    fs::create_directories(state_ + "/keys");
  }
  ~AgentInAHome() override { fs::remove_all(home_); }

  std::string Program(const std::string& path, const std::string& first_line = "#!/bin/sh") {
    const std::string whole = home_ + "/" + path;
    fs::create_directories(fs::path(whole).parent_path());
    std::ofstream(whole) << first_line << "\n";
    ::chmod(whole.c_str(), 0755);
    return whole;
  }
  InstalledAgent Located(const std::string& program, const std::string& node_dir = "/nonexistent") {
    const PrivatePlaces hidden({state_}, {home_}, {});
    return Locate(
        *FindProfile("claude-code"),
        {.configured_path = program, .search_path = {node_dir}, .job_uid = 0, .hidden = &hidden});
  }
  std::vector<std::string> Trees(const std::string& program) {
    InstalledAgent agent = Located(program);
    EXPECT_EQ(agent.lack, "");
    return agent.read_only_trees;
  }

  std::string home_, state_;
};

using Paths = std::vector<std::string>;

TEST_F(AgentInAHome, AProgramInAFolderOfTheHomeIsShownAlone) {
  for (const char* path : {"bin/claude", ".local/bin/claude", "claude", ".ssh/claude"}) {
    const std::string program = Program(path);
    EXPECT_EQ(Trees(program), Paths{program}) << path;
  }
}

TEST_F(AgentInAHome, AnInstallationOfItsOwnIsShownWhole) {
  EXPECT_EQ(Trees(Program(".tools/claude/bin/claude")), Paths{home_ + "/.tools/claude"});
  EXPECT_EQ(Trees(Program("node_modules/pkg/cli")), Paths{home_ + "/node_modules"});
}

TEST_F(AgentInAHome, ANodePackageIsShownWithoutWhatStandsAroundIt) {
  const std::string program = Program("bin/claude", "#!/usr/bin/env node");
  Program("bin/package.json", "{}");
  const std::string node = Program("nodes/bin/node");
  InstalledAgent agent = Located(program, home_ + "/nodes/bin");
  EXPECT_EQ(agent.read_only_trees, (Paths{program, node})) << "~/bin holds other programs too";
  const std::string packed = Program("src/agent/bin/cli", "#!/usr/bin/env node");
  Program("src/agent/package.json", "{}");
  agent = Located(packed, home_ + "/nodes/bin");
  EXPECT_EQ(agent.read_only_trees, (Paths{node, home_ + "/src/agent"}));
}

TEST_F(AgentInAHome, AProgramAmongTheRunnersKeysIsNotShown) {
  InstalledAgent agent = Located(Program(".local/share/writ/bin/claude"));
  EXPECT_NE(agent.lack.find("private to the runner"), std::string::npos) << agent.lack;
  EXPECT_FALSE(agent.hint.empty());
}

}  // namespace
}  // namespace writ::runner
