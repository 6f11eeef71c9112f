// What a job finds: environment, directories, identity, descriptors.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <sstream>

#include "conformance/conformance_suite.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST_P(Conformance, BuildsTheEnvironmentFromNothing) {  // L20
  ::setenv("WRIT_TEST_LEAK", "leak", 1);
  backends::Plan plan = job_.MakePlan({"env"});
  plan.env.vars = {{"PLAIN", "a=b"}, {"TERM", "xterm"}};
  plan.env.secrets.push_back({"TOKEN", Secret("s3cret")});
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  JobRun run;
  Collector sink(run);
  (*job)->Watch(sink, {});
  ::unsetenv("WRIT_TEST_LEAK");
  std::istringstream lines(run.out);
  std::set<std::string> found;
  for (std::string line; std::getline(lines, line);) found.insert(line);
  EXPECT_EQ(found, (std::set<std::string>{"PATH=/usr/local/bin:/usr/bin:/bin",
                                          "HOME=" + (*job)->HomePath(), "USER=job", "LOGNAME=job",
                                          "LANG=C.UTF-8", "TMPDIR=" + TmpPath(), "SHELL=/bin/sh",
                                          "TERM=xterm", "PLAIN=a=b", "TOKEN=s3cret"}));
}

TEST_P(Conformance, AddsWhatIsKnownLateOnTop) {
  backends::Plan plan = job_.Shell("echo $WHEN $LATE");
  plan.env.vars = {{"WHEN", "early"}};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  backends::Environment late;
  late.vars = {{"WHEN", "late"}};
  late.secrets.push_back({"LATE", Secret("yes")});
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  (*job)->Watch(sink, {});
  EXPECT_EQ(run.out, "late yes\n");
}

TEST_P(Conformance, KeepsSecretsOutOfEveryOtherProcess) {  // L8
  const std::string secret = "unmistakable-value-4711";
  backends::Plan plan = job_.Shell("exec sleep 30");
  plan.env.secrets.push_back({"TOKEN", Secret(secret)});
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  int seen_elsewhere = 0;
  for (const char* file : {"environ", "cmdline"}) {
    for (pid_t pid = ::getpid(); pid < ::getpid() + 200; ++pid) {
      auto text = ReadFile("/proc/" + std::to_string(pid) + "/" + file, 1 << 20);
      auto status = ReadFile("/proc/" + std::to_string(pid) + "/status", 1 << 20);
      if (!text || !status) continue;
      const bool of_job = status->find("Name:\tsh") != std::string::npos ||
                          status->find("Name:\tsleep") != std::string::npos;
      if (!of_job && text->find(secret) != std::string::npos) ++seen_elsewhere;
    }
  }
  EXPECT_EQ(seen_elsewhere, 0);
  EXPECT_TRUE((*job)->Dismantle().tree_dead_verified);
}

TEST_P(Conformance, StartsInTheNamedDirectoryOfTheWorkspace) {
  const std::string workspace = WorkspacePath();
  ASSERT_EQ(Sh("mkdir -p a/b && pwd").out, workspace + "\n");
  backends::Plan plan = job_.Shell("pwd");
  plan.cwd = "a/b";
  EXPECT_EQ(Run(std::move(plan)).out, workspace + "/a/b\n");
}

TEST_P(Conformance, RefusesAWorkingDirectoryThatLeavesTheWorkspace) {
  ASSERT_TRUE(Sh("ln -s /etc link").started);
  for (const char* cwd : {"..", "a/../..", "/etc", "link", "missing"}) {
    backends::Plan plan = job_.Shell("pwd");
    plan.cwd = cwd;
    auto job = backend_->Prepare(std::move(plan));
    ASSERT_FALSE(job) << cwd;
    EXPECT_EQ(job.error().kind, ErrorKind::kInvalid) << cwd;
    if (job.error().code == "plan.cwd_missing") {
      EXPECT_NE(job.error().hint, "") << cwd;
    }
  }
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

// Who made a link on the way could lead it elsewhere after it was looked at (L13).
TEST_P(Conformance, RefusesAPathOfThePlanThatLeadsThroughASymbolicLink) {
  const std::string link = job_.base() + "/link";
  ASSERT_EQ(::symlink(job_.base().c_str(), link.c_str()), 0);
  for (int part = 0; part < 3; ++part) {
    backends::Plan plan = job_.Shell("true");
    if (part == 0) plan.workspace = backends::PlainWorkspace{link + "/workspace"};
    if (part == 1) plan.session_dir = link + "/session";
    if (part == 2) plan.read_only_trees = {link};
    auto job = backend_->Prepare(std::move(plan));
    ASSERT_FALSE(job) << part;
    EXPECT_EQ(job.error().code, "job.path_is_link") << part;
    EXPECT_THAT(job.error().message, HasSubstr("symbolic link " + link)) << part;
    EXPECT_FALSE(job.error().hint.empty()) << part;
  }
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

TEST_P(Conformance, GivesAPrivateHomeAndTmp) {
  backends::Plan plan = job_.Shell(
      "cat .config/agent/settings; stat -c '%a %u' $HOME $TMPDIR .secretdir; touch $TMPDIR/x; git "
      "config user.email");
  plan.argv = {"/bin/sh", "-c",
               "cd $HOME && cat .config/agent/settings && stat -c '%a %u' $HOME $TMPDIR .cache && "
               "touch $TMPDIR/x && "
               "git config user.email"};
  plan.home_files = {{".config/agent/settings", "placeholder\n", 0600}};
  plan.home_directories = {".cache"};
  JobRun run = Run(std::move(plan));
  const std::string own = "700 " + UidInside() + "\n";
  EXPECT_EQ(run.out, "placeholder\n" + own + own + own + "job@writ.invalid\n") << run.err;
}

TEST_P(Conformance, IsNobodyOfImportance) {  // L20
  JobRun run = Sh(
      "id -u; id -g; id -G; umask; grep -E "
      "'^(NoNewPrivs|Seccomp|CapEff|CapPrm|CapInh|CapBnd|CapAmb):' /proc/self/status; ulimit -c");
  const std::string uid = UidInside();
  const std::string gid = OwnView() ? UidInside() : std::to_string(job_.identity().gid);
  EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n"));
  EXPECT_THAT(run.out, HasSubstr("\n0022\n"));
  EXPECT_THAT(run.out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(run.out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(run.out, testing::EndsWith("\n0\n"));
  if (::geteuid() == 0) {
    EXPECT_THAT(run.out, HasSubstr("CapBnd:\t0000000000000000"));
    EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n" + gid +
                                             "\n"));  // no supplementary groups
  }
}

TEST_P(Conformance, MakesFilesThatBelongToThePlansIdentity) {
  ASSERT_TRUE(Sh("touch made; mkdir dir; ln -s made link").started);
  for (const char* name : {"made", "dir", "link"}) {
    struct stat st {};
    ASSERT_EQ(::lstat((job_.workspace() + "/" + name).c_str(), &st), 0) << name;
    EXPECT_EQ(st.st_uid, job_.identity().uid) << name;
    EXPECT_EQ(st.st_gid, job_.identity().gid) << name;
  }
}

TEST_P(Conformance, RefusesRootIdentities) {
  for (auto [uid, gid] : {std::pair{0u, 1u}, {1u, 0u}, {0u, 0u}}) {
    backends::Plan plan = job_.Shell("id");
    plan.identity.uid = uid;
    plan.identity.gid = gid;
    Status checked = backend_->Check(plan);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, "plan.root_identity");
  }
}

TEST_P(Conformance, HasNoDescriptorsButTheThree) {
  JobRun run = Sh("ls /proc/self/fd | tr '\\n' ' '");
  EXPECT_EQ(run.out, "0 1 2 3 ");  // 3 is the directory that ls reads
}

}  // namespace
}  // namespace writ::test
