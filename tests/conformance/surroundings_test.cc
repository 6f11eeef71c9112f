// What a job finds: environment, directories, identity, descriptors.
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>
#include <vector>

#include "conformance/conformance_suite.h"
#include "writ/base/child.h"
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
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("WRIT_JOB_MARK=")) found.insert(line);  // which a backend may give
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

// What a runner that is root may have and its jobs must not: supplementary groups, and a right that
// goes through every exec. The runner's own again at the end.
class BelongingsOfRoot {
 public:
  BelongingsOfRoot() {
    if (::geteuid() != 0) return;
    groups_.resize(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0)));
    if (::getgroups(static_cast<int>(groups_.size()), groups_.data()) < 0) return;
    have_ = ::setgroups(std::size(kGroups), kGroups) == 0 && SetInheritable(kRight) &&
            ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kRight, 0, 0) == 0;
  }
  ~BelongingsOfRoot() {
    if (::geteuid() != 0) return;
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    (void)SetInheritable(-1);
    (void)::setgroups(groups_.size(), groups_.data());
  }
  BelongingsOfRoot(const BelongingsOfRoot&) = delete;
  BelongingsOfRoot& operator=(const BelongingsOfRoot&) = delete;
  bool have() const { return have_; }

 private:
  static constexpr gid_t kGroups[] = {54'321, 54'322};
  static constexpr int kRight = CAP_KILL;

  static bool SetInheritable(int capability) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    if (::syscall(SYS_capget, &header, data) != 0) return false;
    data[0].inheritable = capability < 0 ? 0 : 1u << capability;
    data[1].inheritable = 0;
    return ::syscall(SYS_capset, &header, data) == 0;
  }

  std::vector<gid_t> groups_;
  bool have_ = false;
};

TEST_P(Conformance, IsNobodyOfImportance) {  // L20
  const std::string show =
      "id -u; id -g; id -G; umask; grep -E "
      "'^(NoNewPrivs|Seccomp|CapEff|CapPrm|CapInh|CapBnd|CapAmb):' /proc/self/status; ulimit -c";
  const BelongingsOfRoot belongings;
  JobRun run = Sh(show);
  const std::string uid = UidInside();
  const std::string gid = OwnView() ? UidInside() : std::to_string(job_.identity().gid);
  EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n"));
  EXPECT_THAT(run.out, HasSubstr("\n0022\n"));
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"})
    EXPECT_THAT(run.out, HasSubstr(std::string(set) + ":\t0000000000000000")) << run.out;
  EXPECT_THAT(run.out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(run.out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(run.out, testing::EndsWith("\n0\n"));
  if (::geteuid() != 0) return;
  EXPECT_THAT(run.out, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n" + gid + "\n0022\n"))
      << "supplementary groups came with it";
  ASSERT_TRUE(belongings.have()) << "this runner had nothing that its job could have got";
}

// The guard of the one above, off: what is merely started has all of it.
TEST(RootsBelongings, GoToWhateverItStarts) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user has none to give";
  const BelongingsOfRoot belongings;
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe);
  SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", "id -G; grep -E '^Cap(Inh|Amb):' /proc/self/status"};
  options.env = {"PATH=/usr/bin:/bin"};
  options.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(options);
  ASSERT_TRUE(child);
  pipe->write_end.reset();
  auto text = ReadAll(pipe->read_end.get(), 4096);
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "0 54321 54322\nCapInh:\t0000000000000020\nCapAmb:\t0000000000000020\n");
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
