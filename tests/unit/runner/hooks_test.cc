// Hooks of the operator: what they are given, how they are ended, and which files are started.
#include "writ/runner/hooks.h"
#include "support/places.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "hooks/hook_process.h"
#include "writ/base/file.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
namespace fs = std::filesystem;

const std::string kWarden = writ::test::BinDir() + "/writ-launch";

class Hooks : public ::testing::Test {
 protected:
  Hooks() {
    char name[] = "/tmp/writ-hooks-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~Hooks() override { fs::remove_all(root_); }

  std::string Script(const std::string& name, const std::string& body, mode_t mode = 0755) {
    const std::string path = root_ + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << body;
    chmod(path.c_str(), mode);
    return path;
  }
  std::string File(const std::string& name) const {
    return ReadFile(root_ + "/" + name, 1 << 20).value_or("");
  }
  HookProcessEnd Run(const std::string& path, milliseconds deadline = milliseconds(20'000),
                     std::string_view input = "{}\n") {
    Result<HookProcessEnd> end = RunHookProcess({.warden = kWarden,
                                                 .path = path,
                                                 .args = {root_},
                                                 .env = {"PATH=/usr/bin:/bin"},
                                                 .input = input,
                                                 .deadline = deadline});
    EXPECT_TRUE(end) << (end ? "" : end.error().ToString());
    return end ? *end : HookProcessEnd{};
  }
  // Of a hook that wrote "$$" there: gone, or only a corpse that its parent has not reaped.
  static bool Gone(const std::string& pid_text) {
    if (pid_text.empty()) return false;
    Result<std::string> stat =
        ReadFile("/proc/" + std::to_string(std::stoi(pid_text)) + "/stat", 4096);
    return !stat || stat->find(") Z ") != std::string::npos;
  }
  // One point asked through a bus with one hook.
  Gate Ask(HookKind kind, HookSpec spec, json::Value facts = json::Object{}) {
    EventBus bus;
    const HookTable table{{kind, std::move(spec)}};
    SubscribeHooks(bus, [table] { return table; }, {"runner_1", "default", kWarden});
    bus.Subscribe([this](const LifeEvent& event) {
      if (const auto* ended = std::get_if<HookEnded>(&event)) told_.push_back(ended->record);
    });
    Gate gate;
    HookPoint point;
    point.hook = kind;
    point.run = {"run_1", 2, "0af7651916cd43dd8448eb211c80319c"};
    point.facts = std::move(facts);
    point.gate = &gate;
    bus.Publish(point);
    return gate;
  }
  std::string root_;
  std::vector<HookRecord> told_;
};

TEST_F(Hooks, AreToldWhatItIsAboutOnStandardInputAndSayGoByZero) {
  HookSpec spec{.path = Script("hook", "cat > \"$1/in\"; pwd > \"$1/cwd\"; env > \"$1/env\"\n"),
                .args = {root_}};
  setenv("WRIT_TEST_HOST_VALUE", "must-not-be-seen", 1);
  Gate gate = Ask(HookKind::kBeforeRun, spec, json::Object{{"agent", "command"}});
  EXPECT_EQ(gate.veto(), nullptr);
  ASSERT_EQ(gate.records.size(), 1u);
  EXPECT_EQ(gate.records[0].exit_code, 0);
  auto question = json::Parse(File("in"));
  ASSERT_TRUE(question);
  EXPECT_EQ(question->FindString("version"), "writ.hook.v1");
  EXPECT_EQ(question->FindString("hook"), "before-run");
  EXPECT_EQ(question->Find("run")->FindString("runId"), "run_1");
  EXPECT_EQ(question->Find("run")->FindString("agent"), "command");
  EXPECT_EQ(File("cwd"), "/\n");
  EXPECT_EQ(File("env").find("must-not-be-seen"), std::string::npos);  // L20
  EXPECT_NE(File("env").find("WRIT_HOOK=before-run"), std::string::npos);
  ASSERT_EQ(told_.size(), 1u);  // the bus tells how it ended
}

// L44
TEST_F(Hooks, VetoOnlyBeforeSomethingAndOnlyWhereTheirFailureIsNotIgnored) {
  const std::string path = Script("no", "exit 3\n");
  Gate before = Ask(HookKind::kBeforeRun, {.path = path});
  ASSERT_NE(before.veto(), nullptr);
  EXPECT_EQ(before.veto()->exit_code, 3);
  EXPECT_NE(before.veto()->why.find("exited with 3"), std::string::npos);
  EXPECT_EQ(Ask(HookKind::kBeforeRun, {.path = path, .failure = HookFailure::kIgnore}).veto(),
            nullptr);
  Gate after = Ask(HookKind::kAfterRun, {.path = path, .failure = HookFailure::kVeto});
  EXPECT_EQ(after.veto(), nullptr);
  EXPECT_EQ(after.records.at(0).exit_code, 3);
}

// L16, L44
TEST_F(Hooks, ThatHangAreEndedAtTheirDeadlineWithEverythingTheyStarted) {
  HookProcessEnd end = Run(Script("hang",
                                  "echo $$ > \"$1/self\"\n"
                                  "sh -c 'trap \"\" TERM HUP; echo $$ > \"$0/child\"; "
                                  "while :; do sleep 60; done' \"$1\" &\n"
                                  "setsid sh -c '( echo $$ > \"$0/daemon\"; exec sleep 600 ) "
                                  "</dev/null >/dev/null 2>&1 &' \"$1\"\n"
                                  "while :; do sleep 60; done\n"),
                           milliseconds(1'500));
  EXPECT_TRUE(end.timed_out);
  EXPECT_FALSE(end.exit_code);  // L17
  EXPECT_GE(end.took.count(), 1'500);
  EXPECT_TRUE(Gone(File("self")));
  EXPECT_TRUE(Gone(File("child")));
}

TEST_F(Hooks, LeaveNothingBehindWhenTheyEndThemselves) {
  // A daemon of its own session, whose parent is gone before the hook is.
  HookProcessEnd end = Run(Script(
      "fork",
      "setsid sh -c 'sh -c \"echo \\$\\$ > $0/daemon.tmp; mv $0/daemon.tmp $0/daemon; exec sleep "
      "600\" </dev/null >/dev/null 2>&1 &' \"$1\"\n"
      "while ! [ -e \"$1/daemon\" ]; do sleep 0.01; done\nexit 0\n"));
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_TRUE(Gone(File("daemon")));
}

// Its own session, no parent, no environment: nothing of it leads back to the hook but that its
// orphans come to the warden. L16, L44
TEST_F(Hooks, CannotLeaveADaemonThatHidBehindAnotherSessionParentAndEnvironment) {
  const std::string hide =
      Script("hide",
             "env -i /usr/bin/setsid /bin/sh -c '/usr/bin/setsid /bin/sh -c \"echo \\$\\$ > "
             "$0/daemon.tmp; mv $0/daemon.tmp $0/daemon; exec /bin/sleep 600\" </dev/null "
             ">/dev/null 2>&1 &' "
             "\"$1\"\nwhile ! [ -e \"$1/daemon\" ]; do sleep 0.01; done\n");
  HookProcessEnd end = Run(Script("ends", "\"" + hide + "\" \"$1\"\nexit 4\n"));
  EXPECT_EQ(end.exit_code, 4);
  EXPECT_TRUE(Gone(File("daemon")));
  fs::remove(root_ + "/daemon");
  end = Run(Script("hangs", "\"" + hide + "\" \"$1\"\nexec sleep 600\n"), milliseconds(1'500));
  EXPECT_TRUE(end.timed_out);
  EXPECT_FALSE(end.exit_code);  // L17
  EXPECT_TRUE(Gone(File("daemon")));
}

// A hook has its warden's uid and can kill it: then what carries its mark is ended all the same.
TEST_F(Hooks, ThatKillTheirWardenAreEndedAndHaveNotSaidGo) {
  HookProcessEnd end = Run(Script("patricide",
                                  "echo $$ > \"$1/self\"\nkill -KILL $PPID\n"
                                  "while :; do sleep 60; done\n"));
  EXPECT_FALSE(end.timed_out);
  EXPECT_FALSE(end.exit_code);  // L17
  EXPECT_TRUE(Gone(File("self")));
}

TEST_F(Hooks, ThatCannotBeExecutedAreAnErrorAndNoGo) {
  const std::string path = Script("format", "");
  std::ofstream(path) << "#!/nonexistent/interpreter\n";
  Gate gate = Ask(HookKind::kBeforeRun, {.path = path});
  ASSERT_NE(gate.veto(), nullptr);
  EXPECT_NE(gate.veto()->why.find("could not be started"), std::string::npos);
}

TEST_F(Hooks, ThatFloodAreReadAndBounded) {
  HookProcessEnd end = Run(Script("flood", "head -c 50000000 /dev/zero; exit 5\n"));
  EXPECT_EQ(end.exit_code, 5);
  EXPECT_EQ(end.output.size(), kMaxHookOutput);
  EXPECT_EQ(end.output.size() + end.left_out, 50'000'000u);
  HookProcessEnd endless = Run(Script("endless", "exec cat /dev/zero\n"), milliseconds(500));
  EXPECT_TRUE(endless.timed_out);
  EXPECT_EQ(endless.output.size(), kMaxHookOutput);
}

TEST_F(Hooks, ThatDoNotReadTheirInputAreNoHindrance) {
  const std::string much(4 << 20, 'x');
  EXPECT_EQ(Run(Script("deaf", "exit 0\n"), milliseconds(20'000), much).exit_code, 0);
  EXPECT_EQ(Run(Script("closed", "exec <&-; exit 0\n"), milliseconds(20'000), much).exit_code, 0);
}

TEST_F(Hooks, ThatOthersCouldChangeAreNotStarted) {
  auto refused = [&](const std::string& path) {
    Status status = CheckHookFile(path);
    return !status && status.error().code == "hook.unsafe";
  };
  const std::string good = Script("good", "exit 0\n");
  EXPECT_TRUE(CheckHookFile(good));
  EXPECT_TRUE(refused(Script("writable", "exit 0\n", 0777)));
  EXPECT_TRUE(refused(Script("plain", "exit 0\n", 0644)) || geteuid() != 0);
  EXPECT_TRUE(refused("good"));
  EXPECT_TRUE(refused(root_));
  EXPECT_TRUE(refused(root_ + "/absent"));
  fs::create_symlink(good, root_ + "/link");
  EXPECT_TRUE(refused(root_ + "/link"));
  fs::create_directory(root_ + "/open");
  fs::copy_file(good, root_ + "/open/hook");
  chmod((root_ + "/open").c_str(), 0777);
  EXPECT_TRUE(refused(root_ + "/open/hook"));
  // A veto, not a way around one.
  EXPECT_NE(Ask(HookKind::kBeforeRun, {.path = root_ + "/open/hook"}).veto(), nullptr);
}

}  // namespace
}  // namespace writ::runner
