// Checkpoints of a job in a machine, and jobs that begin from them.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/conformance_suite.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::WorkspaceMount;
using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}
void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class CheckpointsOfMachines : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped()) return;
    if (backend_->Probe().overlay_workspace == backends::OverlayWorkspace::kNone)
      GTEST_SKIP() << "no overlay is mounted here";
    fs::create_directories(lower_ + "/folder");
    Write(lower_ + "/base", "base\n");
    Write(lower_ + "/gone", "gone\n");
    Write(lower_ + "/folder/old", "old\n");
  }
  void Give(const std::string& path) const {
    EXPECT_EQ(::lchown(path.c_str(), job_.identity().uid, job_.identity().gid), 0) << path;
  }
  // Above the same base, with layers of a name of their own.
  backends::Plan Over(const std::string& name, const std::string& script) {
    backends::Plan plan = Granted(script);
    WorkspaceMount mount{
        lower_, job_.base() + "/upper-" + name, job_.base() + "/work-" + name, "", {}};
    for (const std::string& dir : {mount.upper, mount.work}) {
      fs::create_directory(dir);
      Give(dir);
    }
    plan.workspace = mount;
    return plan;
  }
  backends::Plan From(const std::string& stream, const std::string& name,
                      const std::string& script) {
    backends::Plan plan = Over(name, script);
    plan.checkpoint = job_.base() + "/checkpoint-" + name;
    Write(plan.checkpoint, stream);
    Give(plan.checkpoint);
    plan.read_only_trees.push_back(plan.checkpoint);
    return plan;
  }
  static backends::EntryPlan TakeOne() {
    backends::EntryPlan plan;
    plan.kind = backends::EntryPlan::Kind::kCheckpoint;
    return plan;
  }
  // What a checkpoint makes of the base; "" where it is none.
  std::string Made(const std::string& stream, const std::string& name) const {
    const std::string made = job_.base() + "/made-" + name;
    fs::copy(lower_, made, fs::copy_options::recursive);
    auto root = OpenDirectory(made);
    if (!root) return {};
    backends::microvm::TreeReader reader(std::move(root).value(), {});
    Status read = reader.Add(stream);
    EXPECT_TRUE(read && reader.complete()) << name;
    return read && reader.complete() ? made : "";
  }
  const std::string lower_ = job_.base() + "/lower";
};

// How many lines there are, where they are 1, 2, 3, ...; else -1.
int Ticks(const std::string& path) {
  std::istringstream lines(Read(path));
  int count = 0;
  for (std::string line; std::getline(lines, line);)
    if (line != std::to_string(++count)) return -1;
  return count;
}

// A job that changes its files all the while is one moment in each of them, and another job begins
// at that moment: with what it had, without what came later.
TEST_P(CheckpointsOfMachines, FiveTimesLoseNoFileAndNoByteAndAnotherJobBeginsThere) {
  RunningJob running(*backend_,
                     Over("first",
                          "rm gone; rm -r folder; mkdir folder; echo new > folder/new; "
                          "head -c 3000000 /dev/urandom > bytes; ln bytes folder/same; "
                          "ln -s folder link; mkfifo pipe; chmod 500 folder; echo ready; n=0; "
                          "while [ ! -e stop ]; do n=$((n+1)); echo $n >> ticks; echo $n > now; "
                          "mkdir -p t/$n; rmdir t/$((n-1)) 2>/dev/null; done; echo \"went on\""));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  std::vector<std::string> streams;
  std::vector<int> ticks;
  for (int cycle = 0; cycle < 5; ++cycle) {
    EntryRun taken = Enter(running.job(), TakeOne());
    ASSERT_TRUE(taken.entered) << taken.entered.error().ToString();
    ASSERT_TRUE(taken.end.status);
    ASSERT_EQ(taken.end.status->ShellCode(), 0);
    const std::string made = Made(taken.out, std::to_string(cycle));
    ASSERT_NE(made, "");
    EXPECT_EQ(Read(made + "/base"), "base\n");
    EXPECT_FALSE(fs::exists(made + "/gone"));
    EXPECT_FALSE(fs::exists(made + "/folder/old"));
    EXPECT_EQ(Read(made + "/folder/new"), "new\n");
    EXPECT_EQ(fs::file_size(made + "/bytes"), 3'000'000u);
    EXPECT_TRUE(fs::equivalent(made + "/bytes", made + "/folder/same"));
    EXPECT_EQ(fs::read_symlink(made + "/link"), "folder");
    EXPECT_TRUE(fs::is_fifo(made + "/pipe"));
    const int now = Ticks(made + "/ticks");
    // One step of its loop was done, or not yet.
    const std::string last = Read(made + "/now");
    EXPECT_TRUE(last.empty() || last == std::to_string(now) + "\n" ||
                last == std::to_string(now - 1) + "\n")
        << now << " and " << last;
    EXPECT_GE(now, ticks.empty() ? 0 : ticks.back());
    ticks.push_back(now);
    streams.push_back(std::move(taken.out));
    ASSERT_TRUE(Enter(running.job(), ShellEntry("sleep 0.2")).entered);
  }
  EXPECT_GT(ticks.back(), ticks.front()) << "the job went on in between";
  ASSERT_TRUE(Enter(running.job(), ShellEntry("touch stop")).entered);
  const JobRun& run = running.Wait();
  EXPECT_THAT(run.out, HasSubstr("went on"));
  ExpectClean(running);

  backends::Plan plan =
      From(streams[2], "fork",
           "[ ! -e gone ] && [ ! -e folder/old ] && [ ! -e stop ] && "
           "[ bytes -ef folder/same ] && [ -p pipe ] && cat base && echo more >> now "
           "&& chmod 700 folder && echo of the fork > folder/mine && echo begun");
  const std::string file = plan.checkpoint;
  const std::string upper = std::get<WorkspaceMount>(plan.workspace).upper;
  plan.argv.back() += "; ls " + file + " 2>/dev/null; true";
  const JobRun fork = Run(std::move(plan));
  EXPECT_EQ(fork.out, "base\nbegun\n") << fork.outcome.reason << fork.err;
  // Its changes are the checkpoint's and its own, and its owner's.
  EXPECT_EQ(Ticks(upper + "/ticks"), ticks[2]);
  EXPECT_EQ(Read(upper + "/folder/mine"), "of the fork\n");
  EXPECT_EQ(Read(upper + "/bytes"), Read(job_.base() + "/made-2/bytes"));
  struct stat st {};
  ASSERT_EQ(::stat((upper + "/ticks").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, job_.identity().uid);
}

// L37: nobody takes what the machine gives, and the job does not wait for that.
TEST_P(CheckpointsOfMachines, LetTheJobGoOnWhenTheirTakerLeaves) {
  RunningJob running(*backend_, Over("left",
                                     "head -c 20000000 /dev/urandom > much; echo ready; n=0; while "
                                     "sleep 0.1; do n=$((n+1)); echo tick $n; done"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  {
    auto entered = running.job().Enter(TakeOne());
    ASSERT_TRUE(entered) << entered.error().ToString();
    pollfd first{(*entered)->output(), POLLIN, 0};
    ASSERT_EQ(::poll(&first, 1, 60'000), 1);
  }
  EntryRun beside = Enter(running.job(), ShellEntry("echo beside"));
  EXPECT_EQ(beside.out, "beside\n");
  EXPECT_TRUE(running.AwaitOutput("tick 20"));
  EntryRun again = Enter(running.job(), TakeOne());
  ASSERT_TRUE(again.end.status);
  EXPECT_EQ(again.end.status->ShellCode(), 0);
  EXPECT_GT(again.out.size(), 20'000'000u);
  ExpectClean(running);
}

// What is none, or is cut, is the end of the run before its job begins.
TEST_P(CheckpointsOfMachines, ThatAreNoneAreRefusedBeforeTheJob) {
  auto job = backend_->Prepare(From("no tree stream", "none", "true"));
  ASSERT_FALSE(job);
  EXPECT_THAT(job.error().ToString(), HasSubstr("set-up failed"));
}

INSTANTIATE_TEST_SUITE_P(Backends, CheckpointsOfMachines,
                         testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
