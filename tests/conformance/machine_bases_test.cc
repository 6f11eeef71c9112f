// The image of a workspace's base: shared by the machines of all runs on it, changed by none.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "conformance/conformance_suite.h"
#include "conformance/machine_snapshots.h"
#include "conformance/test_guest_image.h"
#include "writ/backends/microvm/microvm_backend.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::WorkspaceMount;
using testing::HasSubstr;
using testing::Not;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void Write(const std::string& path, const std::string& bytes, mode_t mode = 0644) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
  ::chmod(path.c_str(), mode);
}

class BasesOfMachines : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped()) return;
    if (backend_->Probe().overlay_workspace == backends::OverlayWorkspace::kNone)
      GTEST_SKIP() << "no overlay is mounted here";
    fs::create_directory(lower_);
    Write(objects_ + "/pack", "objects");
  }

  // Layers of a name of their own, above the same base.
  WorkspaceMount Layers(const std::string& name) const {
    WorkspaceMount mount{
        lower_, job_.base() + "/upper-" + name, job_.base() + "/work-" + name, kept_, {objects_}};
    for (const std::string& dir : {mount.upper, mount.work}) {
      fs::create_directory(dir);
      Give(dir);
    }
    return mount;
  }
  void Give(const std::string& path) const {
    EXPECT_EQ(::lchown(path.c_str(), job_.identity().uid, job_.identity().gid), 0) << path;
  }
  backends::Plan Over(const WorkspaceMount& mount, const std::string& script) const {
    backends::Plan plan = job_.Shell(script);
    plan.workspace = mount;
    plan.read_only_trees = {objects_};
    return plan;
  }
  std::string InputsOfTheRun() const { return job_.session_dir() + "/tmp/inputs.erofs"; }
  std::vector<std::string> Images() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(kept_))
      if (entry.path().extension() == ".erofs") names.push_back(entry.path());
    return names;
  }

  const std::string lower_ = job_.base() + "/lower";
  const std::string objects_ = job_.base() + "/objects";
  const std::string kept_ = job_.base() + "/kept";
};

// What a requester changed, and then a job, above 10,000 files: the machine shows it and brings it
// out as the sandbox tier does. Packed are the base, once, and then what was changed alone.
TEST_P(BasesOfMachines, ShowTheChangesAloneAndGiveThemBackAsOtherTiersDo) {  // L12, L14
  for (int i = 0; i < 10'000; ++i)
    Write(lower_ + "/many/" + std::to_string(i % 100) + "/" + std::to_string(i), std::to_string(i));
  Write(lower_ + "/run", "#!/bin/sh\necho ran\n", 0755);
  Write(lower_ + "/gone", "gone");
  Write(lower_ + "/away/file", "file");
  Write(lower_ + "/turns/in", "in");
  Write(lower_ + "/grows", "file");
  Write(lower_ + "/big", std::string(300'000, 'b'));
  fs::create_directory(lower_ + "/empty");
  fs::create_symlink("many/1/1", lower_ + "/link");
  auto change = [this](const WorkspaceMount& mount) {
    Write(mount.upper + "/big", "small now");
    Write(mount.upper + "/grows/in", "folder");
    Write(mount.upper + "/turns", "file");
    Write(mount.upper + "/untracked", "new", 0755);
    for (const char* name : {"/gone", "/away"})
      ASSERT_EQ(::mknod((mount.upper + name).c_str(), S_IFCHR, 0), 0);
    for (const auto& entry : fs::recursive_directory_iterator(mount.upper)) Give(entry.path());
  };
  const std::string script =
      "ls | LC_ALL=C sort | tr '\\n' ' '; find many -type f | wc -l; ./run; cat link big " +
      objects_ +
      "/pack turns grows/in; ls -A empty; test -x untracked && stat -c '%u %a' run many;"
      // And of the job's own.
      "rm -r many/7 grows; echo 8 > many/8; rm -r many/9; mkdir many/9; echo n > many/9/n;"
      "mkdir -p away/again deep/er; echo d > deep/er/file; ln deep/er/file deep/link; ln -s x y;"
      "echo more >> run; chmod 755 turns; rm link; exit 0";
  auto sandbox = MakeBackend("sandbox");
  std::vector<std::string> told;
  std::vector<std::string> left;
  for (const bool machine : {true, false}) {
    const WorkspaceMount mount = Layers(machine ? "machine" : "sandbox");
    change(mount);
    backends::Plan plan = Over(mount, script);
    job_.Use(machine ? *backend_ : *sandbox);
    plan.tier = machine ? backend_->GetTier() : sandbox->GetTier();
    const JobRun run = job_.Run(machine ? *backend_ : *sandbox, std::move(plan));
    ASSERT_EQ(run.outcome.kind, backends::Outcome::Kind::kExited)
        << run.outcome.reason << (run.started ? "" : run.started.error().ToString()) << run.err;
    told.push_back(run.out + run.err);
    job_.Use(*sandbox);
    backends::Plan look = Over(mount,
                               "find . -path ./many -prune -o -type d -printf '%p %m\\n' -o "
                               "-printf '%p %m %n %s %l\\n' | LC_ALL=C sort; find many -printf "
                               "'%p %y %m\\n' | LC_ALL=C sort | md5sum; find . -type f -exec "
                               "md5sum {} + | LC_ALL=C sort | md5sum");
    left.push_back(job_.Run(*sandbox, std::move(look)).out);
  }
  EXPECT_THAT(told[0], HasSubstr("big empty grows link many run turns untracked 10000\n"));
  EXPECT_EQ(told[0], told[1]);
  EXPECT_THAT(left[0], HasSubstr("./deep/er/file 644 2 2"));
  EXPECT_EQ(left[0], left[1]);
  EXPECT_FALSE(fs::exists(lower_ + "/deep"));

  // The next run on the base: nothing of it is packed.
  ASSERT_EQ(Images().size(), 1u);
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(Images()[0].c_str(), &before), 0);
  const WorkspaceMount mount = Layers("next");
  Write(mount.upper + "/one", "one");
  for (const auto& entry : fs::recursive_directory_iterator(mount.upper)) Give(entry.path());
  job_.Use(*backend_);
  RunningJob running(*backend_, Over(mount, "cat one many/42/42; echo; exec sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("one42"));
  EXPECT_LE(fs::file_size(InputsOfTheRun()), 8192u) << "two blocks: a file, and what leads to it";
  EXPECT_GT(before.st_size, 1 << 20);
  ASSERT_EQ(Images().size(), 1u);
  ASSERT_EQ(::stat(Images()[0].c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  ExpectClean(running);
}

// Without a folder for it, the workspace is packed whole, as it was.
TEST_P(BasesOfMachines, AreNotNeeded) {
  Write(lower_ + "/file", "file");
  WorkspaceMount mount = Layers("whole");
  mount.kept.clear();
  const JobRun run = Run(Over(mount, "cat file; echo new > new"));
  EXPECT_EQ(run.out, "file") << run.outcome.reason << run.err;
  EXPECT_EQ(Read(mount.upper + "/new"), "new\n");
  EXPECT_FALSE(fs::exists(kept_));
}

// The monitor of a guest that has taken it over: it stands where writ-vm does, in a user namespace
// of its own as that, and with all the rights in there that a monitor has not.
TEST_P(BasesOfMachines, CannotBeChangedByAMonitor) {
  Write(lower_ + "/file", "file");
  const std::string monitor = job_.base() + "/monitor";
  Write(monitor,
        "#!/bin/sh\n"
        "[ \"$1\" = --probe-kvm ] && echo 'kvm=no test' && exit 0\n"
        "[ -n \"$JAILED\" ] || JAILED=1 exec unshare --user --map-current-user /bin/sh $0\n"
        "f=/machine/base.erofs\n"
        "exec 1>&2\n"
        "tail -c +1025 $f | head -c 4 | od -An -tx1 | tr -d '\\n'\n"
        "(echo x >> $f) 2>/dev/null && echo appended\n"
        "(echo x 1<> $f) 2>/dev/null && echo overwritten\n"
        "(: > $f) 2>/dev/null && echo emptied\n"
        "chmod 666 $f 2>/dev/null && echo opened\n"
        "rm -f $f 2>/dev/null && echo removed\n"
        "mv $f /tmp/ 2>/dev/null && echo moved\n"
        "ln $f /tmp/base 2>/dev/null && echo linked\n"
        "touch -d 1990-01-01 $f 2>/dev/null && echo touched\n"
        "mount -o remount,rw,bind $f 2>/dev/null && echo remounted\n"
        "umount $f 2>/dev/null && echo unmounted\n"
        "(exec 3< $f; echo x > /proc/self/fd/3) 2>/dev/null && echo reopened\n"
        "(echo x > /machine/upper/more) 2>/dev/null && echo above\n"
        "echo ' tried all'\n"
        "exit 1\n",
        0755);
  auto options = MachineOptions(TestGuestImages());
  options.machine_program = monitor;
  auto taken_over = backends::MakeMicrovmBackend(options);
  ASSERT_TRUE(taken_over->Probe().usable) << taken_over->Probe().unusable_reason;
  auto job = taken_over->Prepare(Over(Layers("hostile"), "true"));
  ASSERT_FALSE(job);
  EXPECT_THAT(job.error().ToString(), HasSubstr("e2 e1 f5 e0"));  // it could read
  EXPECT_THAT(job.error().ToString(), HasSubstr("tried all"));
  for (const char* done : {"appended", "overwritten", "emptied", "opened", "removed", "moved",
                           "linked", "touched", "remounted", "unmounted", "reopened", "above"})
    EXPECT_THAT(job.error().ToString(), Not(HasSubstr(done)));
  ASSERT_EQ(Images().size(), 1u);
  struct stat st {};
  ASSERT_EQ(::stat(Images()[0].c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0444u);
  EXPECT_EQ(st.st_uid, ::geteuid());
}

INSTANTIATE_TEST_SUITE_P(Backends, BasesOfMachines, testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
