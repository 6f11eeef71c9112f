// Files into and out of a running session: as the job, beneath handles, past every planted link.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "conformance/conformance_suite.h"
#include "conformance/running_job.h"
#include "writ/base/paths.h"
#include "writ/base/tree_stream.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::EntryPlan;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

EntryPlan CopyPlan(EntryPlan::Kind kind, const std::string& path) {
  EntryPlan plan;
  plan.kind = kind;
  plan.path = path;
  return plan;
}

class Kept final : public TreeVisitor {
 public:
  Status OnDirectory(const std::string& path, mode_t) override {
    files[path] = "/";
    return {};
  }
  Status OnFile(const std::string& path, mode_t) override {
    now_ = path;
    files[path] = "";
    return {};
  }
  Status OnBytes(std::string_view bytes) override {
    files[now_].append(bytes);
    return {};
  }
  Status OnFileEnd() override { return {}; }
  std::map<std::string, std::string> files;

 private:
  std::string now_;
};

struct CopiedOut {
  Status status;
  TreeSummary summary;
  std::map<std::string, std::string> files;
};

CopiedOut CopyOut(backends::Job& job, const std::string& path, const TreeLimits& limits = {}) {
  EntryPlan plan = CopyPlan(EntryPlan::Kind::kCopyOut, path);
  plan.limits = limits;
  EntryRun run = Enter(job, std::move(plan));
  CopiedOut out;
  if (!run.entered) {
    out.status = run.entered;
    return out;
  }
  Kept kept;
  TreeReader reader(limits, &kept);
  out.status = reader.Write(run.out);
  if (out.status && !reader.ended()) out.status = Error{.code = "test.cut_short"};
  out.summary = reader.summary();
  out.files = kept.files;
  return out;
}

Status CopyIn(backends::Job& job, const std::string& stream, const std::string& path) {
  EntryRun run = Enter(job, CopyPlan(EntryPlan::Kind::kCopyIn, path), stream);
  WRIT_TRY(run.entered);
  TreeReader reader({}, nullptr);
  WRIT_TRY(reader.Write(run.out));
  if (!reader.ended()) return Error{.code = "test.cut_short"};
  return {};
}

// A directory of ours as a stream.
std::string StreamOf(const std::string& dir, const std::string& as) {
  std::string out;
  auto parent = OpenDirectory(fs::path(dir).parent_path());
  if (!parent) return {};
  auto sent = SendTree(parent->get(), fs::path(dir).filename(), as, {}, [&](std::string_view s) {
    out.append(s);
    return Status();
  });
  EXPECT_TRUE(sent);
  return out;
}

// L4: never a copy in its place.
TEST_P(Conformance, OnlyAMachineHasCheckpoints) {
  if (backend_->GetTier() == backends::Tier::kMicrovm) GTEST_SKIP() << "it has";
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan plan;
  plan.kind = EntryPlan::Kind::kCheckpoint;
  auto entered = running.job().Enter(std::move(plan));
  ASSERT_FALSE(entered);
  EXPECT_EQ(entered.error().code, "job.no_checkpoint");
  ExpectClean(running);
}

TEST_P(Conformance, ACopyTakesFilesAndTreesOutOfTheSession) {
  RunningJob running(
      *backend_,
      Granted("mkdir -p t/empty t/deep/er; printf 'a\\0b' > t/binary; head -c 300000 /dev/zero > "
              "t/deep/er/large; ln -s /etc/passwd t/link; mkfifo t/fifo; echo home > $HOME/h; echo "
              "ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  CopiedOut tree = CopyOut(running.job(), "t");
  ASSERT_TRUE(tree.status) << tree.status.error().ToString();
  EXPECT_THAT(tree.files, Contains(Pair("t/binary", std::string("a\0b", 3))));
  EXPECT_THAT(tree.files, Contains(Pair("t/deep/er/large", std::string(300000, '\0'))));
  EXPECT_THAT(tree.files, Contains(Pair("t/empty", "/")));
  EXPECT_EQ(tree.summary.left_out_count, 2u);
  EXPECT_THAT(tree.summary.left_out, testing::UnorderedElementsAre("t/link", "t/fifo"));
  CopiedOut home = CopyOut(running.job(), running.job().HomePath() + "/h");
  ASSERT_TRUE(home.status) << home.status.error().ToString();
  EXPECT_THAT(home.files, Contains(Pair("h", "home\n")));
  ExpectClean(running);
}

TEST_P(Conformance, ACopyOutFollowsNoLink) {  // L13
  job_.WriteWorkspaceFile("real", "text");
  RunningJob running(*backend_,
                     Granted("ln -s /etc dir; ln -s real file; mkdir d; ln -s .. d/up; ln -s "
                             "/proc/self/root d/root; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  for (const char* path : {"file", "dir", "dir/hostname", "d/up/real", "d/root/etc/hostname"}) {
    CopiedOut out = CopyOut(running.job(), path);
    ASSERT_FALSE(out.status) << path;
    EXPECT_EQ(out.status.error().code, "copy.link") << path << out.status.error().ToString();
  }
  for (const char* path : {"../x", "a/../b", "/", "./real", "a//b"}) {
    CopiedOut out = CopyOut(running.job(), path);
    ASSERT_FALSE(out.status) << path;
    EXPECT_EQ(out.status.error().kind, ErrorKind::kInvalid) << path;
  }
  EXPECT_EQ(CopyOut(running.job(), "missing").status.error().sys_errno, ENOENT);
  ExpectClean(running);
}

// The job swaps a directory for a link all the while. What opens by name is led astray sooner or
// later; a copy never is.
TEST_P(Conformance, ACopyIsNotLedAstrayByADirectoryThatIsSwapped) {  // L13
  RunningJob running(*backend_,
                     Granted("mkdir d other; echo mine > d/f; echo theirs > other/f; echo ready; "
                             "while :; do mv d real; ln -s other d; rm d; mv real d; done"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun astray =
      Enter(running.job(),
            ShellEntry("until [ \"$(cat d/f 2>/dev/null)\" = theirs ]; do :; done; echo so"));
  EXPECT_EQ(astray.out, "so\n") << astray.err;
  int copied = 0;
  for (int i = 0; i < 60; ++i) {
    CopiedOut out = CopyOut(running.job(), "d/f");
    if (!out.status) continue;
    ++copied;
    EXPECT_THAT(out.files, Contains(Pair("f", "mine\n")));
  }
  EXPECT_GT(copied, 0);
  ExpectClean(running);
}

// As the job, not as the runner: what the job may not read does not come out.
TEST_P(Conformance, ACopyReadsOnlyWhatTheJobCould) {
  const std::string secret = job_.base() + "/of-the-runner";
  std::ofstream(secret) << "kept";
  ::chmod(secret.c_str(), 0600);
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  for (const std::string& path : {secret, std::string("/etc/shadow"), std::string("/proc/1/mem"),
                                  std::string("/proc/1/environ")}) {
    CopiedOut out = CopyOut(running.job(), path);
    EXPECT_FALSE(out.status) << path;
    EXPECT_TRUE(out.files.empty() || out.files.begin()->second.empty()) << path;
  }
  ExpectClean(running);
}

TEST_P(Conformance, ACopyPutsATreeIntoTheSessionAsTheJob) {
  const std::string from = job_.base() + "/from";
  fs::create_directories(from + "/sub");
  std::ofstream(from + "/sub/file") << "content";
  std::ofstream(from + "/run.sh") << "#!/bin/sh\necho ran\n";
  ::chmod((from + "/run.sh").c_str(), 0755);
  RunningJob running(*backend_, Granted("mkdir place; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  const std::string stream = StreamOf(from, "from");
  Status made = CopyIn(running.job(), stream, "place");
  ASSERT_TRUE(made) << made.error().ToString();
  made = CopyIn(running.job(), stream, "renamed");
  ASSERT_TRUE(made) << made.error().ToString();
  EntryRun look =
      Enter(running.job(), ShellEntry("cat place/from/sub/file renamed/sub/file; "
                                      "./place/from/run.sh; stat -c %u renamed/run.sh"));
  EXPECT_EQ(look.out, "contentcontentran\n" + UidInside() + "\n") << look.err;
  ExpectClean(running);
}

TEST_P(Conformance, ACopyInReplacesAPlantedLinkAndFollowsNone) {  // L13
  const std::string outside = job_.base() + "/outside";
  std::ofstream(outside) << "untouched";
  ::chmod(outside.c_str(), 0666);
  const std::string from = job_.base() + "/file";
  std::ofstream(from) << "new";
  RunningJob running(*backend_,
                     Granted("echo target > target; ln -s target link; ln -s " + outside +
                             " out; ln -s / dir; mkfifo fifo; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  const std::string stream = StreamOf(from, "file");
  for (const char* path : {"link", "out", "fifo"}) {
    Status made = CopyIn(running.job(), stream, path);
    EXPECT_TRUE(made) << path << made.error().ToString();
  }
  EXPECT_FALSE(CopyIn(running.job(), stream, "dir/tmp/x"));
  EXPECT_FALSE(CopyIn(running.job(), stream, "/usr/bin/x"));
  EXPECT_FALSE(CopyIn(running.job(), stream, "/proc/self/cwd/x"));
  EntryRun look = Enter(running.job(), ShellEntry("cat target link out fifo; test ! -L link"));
  EXPECT_EQ(look.out, "target\nnewnewnew");
  ASSERT_TRUE(look.end.status);
  EXPECT_EQ(look.end.status->code, 0);
  std::ifstream in(outside);
  std::string text;
  in >> text;
  EXPECT_EQ(text, "untouched");
  ExpectClean(running);
}

TEST_P(Conformance, ACopyIsBounded) {
  RunningJob running(*backend_,
                     Granted("head -c 200000 /dev/zero > large; mkdir many; for i in 1 2 3 4 5 6; "
                             "do : > many/$i; done; d=deep; i=0; while [ $i -lt 110 ]; do "
                             "d=$d/d; i=$((i+1)); done; mkdir -p $d; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  TreeLimits limits;
  limits.max_bytes = 100000;
  CopiedOut out = CopyOut(running.job(), "large", limits);
  ASSERT_FALSE(out.status);
  EXPECT_EQ(out.status.error().code, "copy.too_large");
  limits = {};
  limits.max_entries = 5;
  out = CopyOut(running.job(), "many", limits);
  ASSERT_FALSE(out.status);
  EXPECT_EQ(out.status.error().code, "copy.too_large");
  out = CopyOut(running.job(), "deep");
  ASSERT_FALSE(out.status);
  EXPECT_EQ(out.status.error().code, "copy.too_deep");
  ExpectClean(running);
}

TEST_P(Conformance, ACopyThatIsCutShortLeavesNothing) {
  const std::string from = job_.base() + "/file";
  std::ofstream(from) << std::string(200000, 'x');
  RunningJob running(*backend_, Granted("mkdir place; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  const std::string stream = StreamOf(from, "file");
  Status made = CopyIn(running.job(), stream.substr(0, stream.size() / 2), "place");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, "copy.cut_short");
  EntryRun look = Enter(running.job(), ShellEntry("ls -A place"));
  EXPECT_EQ(look.out, "");
  ExpectClean(running);
}

}  // namespace
}  // namespace writ::test
