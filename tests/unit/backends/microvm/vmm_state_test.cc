// Which call fits when, and what becomes of a machine that a driver fails: no monitor runs here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "writ/backends/microvm/vmm.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::HasSubstr;

Error Refused() {
  return {ErrorKind::kUnavailable, "test.refused", "it would not"};
}

// Does as it is told, and answers when the test says so.
class Puppet final : public Vmm {
 public:
  Puppet(EventLoop& loop, int& kills) : Vmm(loop), kills_(kills) {}
  ~Puppet() override { Kill(); }
  using Vmm::Ended;
  using Vmm::Settle;
  SnapshotParts Parts() const override { return {}; }
  std::vector<std::string> asked;
  bool starts = true;

 private:
  Status Ask(const char* what) {
    asked.push_back(what);
    return starts ? Status() : Status(Refused());
  }
  Status DoBoot(const MachineSpec&) override { return Ask("boot"); }
  Status DoRestore(const MachineSpec&, const RestoreOrder&) override { return Ask("restore"); }
  void DoConnect(Connected connected) override { connected(UniqueFd()); }
  Status DoPause() override { return Ask("pause"); }
  Status DoResume() override { return Ask("resume"); }
  Status DoSnapshot(const SnapshotOrder&) override { return Ask("snapshot"); }
  Status DoPutDrive(const std::string& name, const std::string&) override {
    return Ask(name.c_str());
  }
  void DoKill() override { ++kills_; }
  int& kills_;
};

class VmmState : public testing::Test {
 protected:
  Vmm::Done Told() {
    return [this](Status status) { told = status ? "done" : status.error().code; };
  }
  Vmm::OnEnd End() {
    return [this](const MachineEnd& end) {
      EXPECT_FALSE(ended) << "twice";
      ended = end;
    };
  }
  std::string Now() { return std::exchange(told, ""); }
  void Turn() {
    loop.At(EventLoop::Clock::now() + std::chrono::milliseconds(1), [this] { loop.Stop(); });
    loop.Run();
  }
  void Boot() {
    vmm->Boot({}, End(), Told());
    vmm->Settle({});
    ASSERT_EQ(Now(), "done");
  }
  void Pause() {
    vmm->Pause(Told());
    vmm->Settle({});
    ASSERT_EQ(Now(), "done");
  }

  EventLoop loop;
  int kills = 0;
  std::unique_ptr<Puppet> vmm = std::make_unique<Puppet>(loop, kills);
  std::string told;
  std::optional<MachineEnd> ended;
};

TEST_F(VmmState, RefusesCallsThatDoNotFitAndAsksNobody) {  // L39
  const auto all = [this] {
    std::string out;
    vmm->Boot({}, End(), Told());
    out += Now() + " ";
    vmm->Restore({}, {}, End(), Told());
    out += Now() + " ";
    vmm->Pause(Told());
    out += Now() + " ";
    vmm->Resume(Told());
    out += Now() + " ";
    vmm->Snapshot({}, Told());
    out += Now() + " ";
    vmm->PutInputs("", Told());
    return out + Now();
  };
  const std::string no = "microvm.state";
  vmm->Pause(Told());
  EXPECT_EQ(Now(), no) << "not made yet";
  vmm->Boot({}, End(), Told());
  EXPECT_EQ(Now(), "");
  EXPECT_EQ(all(), no + " " + no + " " + no + " " + no + " " + no + " " + no) << "busy";
  vmm->Settle({});
  EXPECT_EQ(Now(), "done");
  EXPECT_EQ(vmm->asked, std::vector<std::string>{"boot"});
  vmm->Resume(Told());
  EXPECT_EQ(Now(), no) << "runs";
  vmm->Snapshot({}, Told());
  EXPECT_EQ(Now(), no) << "runs";
  Pause();
  vmm->Pause(Told());
  EXPECT_EQ(Now(), no) << "stands still";
  vmm->Snapshot({"", SnapshotKind::kFull, AfterSnapshot::kSpent}, Told());
  vmm->Settle({});
  EXPECT_EQ(Now(), "done");
  EXPECT_EQ(all(), no + " " + no + " " + no + " " + no + " " + no + " " + no) << "spent";
  vmm->Kill();
  EXPECT_EQ(all(), no + " " + no + " " + no + " " + no + " " + no + " " + no) << "ended";
  EXPECT_FALSE(ended) << "it was killed";
}

// L36: nothing stays frozen and called running.
TEST_F(VmmState, DestroysAMachineThatCouldNotBePausedOrResumed) {
  Boot();
  vmm->Pause(Told());
  vmm->Settle(Refused());
  EXPECT_EQ(Now(), "test.refused");
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->kind, MachineEnd::Kind::kBroken);
  EXPECT_THAT(ended->text, HasSubstr("could not pause"));
  EXPECT_EQ(kills, 1);
  vmm->Resume(Told());
  EXPECT_EQ(Now(), "microvm.state");

  ended.reset();
  vmm = std::make_unique<Puppet>(loop, kills);
  Boot();
  Pause();
  vmm->Resume(Told());
  vmm->Settle(Refused());
  ASSERT_TRUE(ended);
  EXPECT_THAT(ended->text, HasSubstr("could not resume"));
}

TEST_F(VmmState, KeepsAMachinePausedWhoseSnapshotWasRefused) {
  Boot();
  Pause();
  vmm->Snapshot({"", SnapshotKind::kFull, AfterSnapshot::kSpent}, Told());
  vmm->Settle(Refused());
  EXPECT_EQ(Now(), "test.refused");
  vmm->PutInputs("", Told());
  vmm->Settle(Refused());
  EXPECT_EQ(Now(), "test.refused");
  EXPECT_FALSE(ended);
  vmm->Resume(Told());
  vmm->Settle({});
  EXPECT_EQ(Now(), "done");
}

TEST_F(VmmState, TellsWhatCouldNotBeBegunFromTheLoop) {
  vmm->starts = false;
  vmm->Boot({}, End(), Told());
  EXPECT_EQ(Now(), "");
  Turn();
  EXPECT_EQ(Now(), "test.refused");
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->kind, MachineEnd::Kind::kBroken);
}

TEST_F(VmmState, AnswersACallWhoseMachineEndsMeanwhile) {
  Boot();
  vmm->Pause(Told());
  vmm->Ended({MachineEnd::Kind::kPanicked, "panic"});
  EXPECT_EQ(Now(), "microvm.ended");
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->kind, MachineEnd::Kind::kPanicked);
  vmm->Ended({MachineEnd::Kind::kVmmGone, "again"});
  vmm->Settle({});
  EXPECT_EQ(Now(), "");
}

TEST_F(VmmState, TellsNothingAfterAKill) {
  Boot();
  vmm->Pause(Told());
  vmm->Kill();
  vmm->Settle({});
  vmm->Ended({});
  EXPECT_EQ(Now(), "");
  EXPECT_FALSE(ended);
}

TEST_F(VmmState, MayBeDestroyedByWhoeverIsTold) {
  Boot();
  vmm->Pause([this](Status) { vmm.reset(); });
  vmm->Settle(Refused());
  EXPECT_TRUE(ended);
  EXPECT_EQ(vmm, nullptr);
}

}  // namespace
}  // namespace writ::test
