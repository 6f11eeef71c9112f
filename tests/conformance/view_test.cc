// What a job with namespaces of its own sees of the host and of the kernel, and which system calls
// there are for it.
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "conformance/own_conformance.h"
#include "support/places.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::AllSyscallsGrant;
using backends::BuildSyscalls;
using testing::HasSubstr;
using testing::Not;

std::string Line(const char* word, int err) {
  return std::string(word) + " " + std::to_string(err) + "\n";
}

class View : public OwnConformance {
 protected:
  JobRun Probe(const std::string& words, backends::Syscalls syscalls = {}) {
    backends::Plan plan = job_.Shell(job_.Install("syscall_probe") + " " + words);
    plan.syscalls = std::move(syscalls);
    return Run(std::move(plan));
  }
};

TEST_P(View, ShowsNothingOfSysButTheProcessors) {
  JobRun run = Sh("ls /sys /sys/devices /sys/devices/system; echo x > /sys/devices/system/cpu/x");
  EXPECT_EQ(run.out, "/sys:\ndevices\n\n/sys/devices:\nsystem\n\n/sys/devices/system:\ncpu\n")
      << run.err;
  EXPECT_NE(run.err, "");
}

TEST_P(View, MasksWhatOfProcTellsOfTheHost) {
  JobRun run =
      Sh("for name in kcore keys kallsyms kmsg timer_list interrupts; do "
         "test -e /proc/$name && head -c 1 /proc/$name; done; "
         "ls -A /proc/acpi /proc/scsi 2>/dev/null | grep -v -e : -e '^$'; "
         "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote");
  EXPECT_EQ(run.out, "") << run.err;
}

// Init is of the job's uid, and still not the job's to look at (hidepid).
TEST_P(View, HidesItsOwnInit) {
  JobRun run = Sh("ls /proc | grep -cx 1; ls /proc | grep -cx $$; cat /proc/1/environ");
  EXPECT_EQ(run.out, "0\n1\n") << run.err;
}

// The time of the host's start says which host it is, and two jobs of it are known as neighbours.
TEST_P(View, BeginsItsUptimeWithTheJob) {
  if (::access("/proc/self/ns/time_for_children", F_OK) != 0)
    GTEST_SKIP() << "this kernel has no time namespaces";
  auto text = ReadFile("/proc/uptime", 128);
  ASSERT_TRUE(text);
  const double host = std::atof(text->c_str());
  JobRun run = Sh("cat /proc/uptime");
  const double inside = std::atof(run.out.c_str());
  EXPECT_GE(inside, 0);
  EXPECT_LT(inside, std::max(1.0, host - 1)) << run.out << run.err;
  EXPECT_LT(inside, 60);
}

TEST_P(View, TheDefaultProfileLacksWhatTheOneForBuildsHas) {
  EXPECT_EQ(Probe("shm aio set-personality ask-personality trace user-namespace mount unknown").out,
            Line("shm", ENOSYS) + Line("aio", ENOSYS) + Line("set-personality", ENOSYS) +
                Line("ask-personality", 0) + Line("trace", EPERM) + Line("user-namespace", EPERM) +
                Line("mount", EPERM) + Line("unknown", ENOSYS));
  EXPECT_EQ(
      Probe("shm aio set-personality trace user-namespace mount unknown", BuildSyscalls{}).out,
      Line("shm", 0) + Line("aio", 0) + Line("set-personality", 0) + Line("trace", EPERM) +
          Line("user-namespace", EPERM) + Line("mount", EPERM) + Line("unknown", ENOSYS));
}

// What else holds a job is there all the same.
TEST_P(View, AJobWithEverySystemCallIsHeldByItsNamespaces) {
  const JobRun run = Probe("trace user-namespace mount unknown", AllSyscallsGrant{"test"});
  EXPECT_EQ(run.out, Line("trace", 0) + Line("user-namespace", ENOSPC) + Line("mount", EPERM) +
                         Line("unknown", ENOSYS))
      << run.err;
}

TEST_P(View, StillRecordsWhereAJobWithEverySystemCallWantedToGo) {
  if (backend_->Probe().network.reason != "") GTEST_SKIP() << backend_->Probe().network.reason;
  backends::Plan plan =
      job_.MakePlan({"/bin/bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80 || echo refused"});
  plan.syscalls = AllSyscallsGrant{"test"};
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "refused\n") << run.err;
  ASSERT_EQ(run.outcome.refused_total, 1u);
  EXPECT_EQ(run.outcome.refused.at(0).address, "192.0.2.1:80");
}

long Keyctl(long operation, long a, const char* b, const char* c) {
  return ::syscall(SYS_keyctl, operation, a, b, c, 0);
}

// A key of whoever started the runner: possession goes with the session keyring.
TEST_P(View, HasASessionKeyringOfItsOwn) {
  constexpr char kBytes[] = "of the host";
  if (Keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, nullptr, nullptr) < 0 ||
      ::syscall(SYS_add_key, "user", "writ-test-key", kBytes, sizeof kBytes,
                KEY_SPEC_SESSION_KEYRING) < 0)
    GTEST_SKIP() << "there are no keyrings here";
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe);
  SpawnOptions unguarded;
  unguarded.path = BinDir() + "/syscall_probe";
  unguarded.argv = {"syscall_probe", "session-key"};
  unguarded.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(unguarded);
  ASSERT_TRUE(child);
  pipe->write_end.reset();
  auto words = ReadAll(pipe->read_end.get(), 100);
  ASSERT_TRUE(words);
  EXPECT_EQ(*words, Line("session-key", 0)) << "with the guard off it is found";
  EXPECT_EQ(Probe("session-key", AllSyscallsGrant{"test"}).out, Line("session-key", ENOKEY));
  EXPECT_EQ(Probe("session-key").out, Line("session-key", EPERM));
}

INSTANTIATE_TEST_SUITE_P(Backends, View,
                         testing::Values("sandbox", "sandbox_image", "container", "container_runc"),
                         [](const auto& tested) { return tested.param; });

class ProcessView : public View {};

TEST_P(ProcessView, HasTheSameProfilesButNoneWithoutAFilter) {
  EXPECT_EQ(Probe("shm aio set-personality session-key").out,
            Line("shm", EPERM) + Line("aio", ENOSYS) + Line("set-personality", ENOSYS) +
                Line("session-key", EPERM));
  EXPECT_EQ(Probe("shm aio set-personality", BuildSyscalls{}).out,
            Line("shm", EPERM) + Line("aio", 0) + Line("set-personality", 0));
  backends::Plan plan = job_.Shell("true");
  plan.syscalls = AllSyscallsGrant{"test"};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, "process.syscalls_hold_the_network");
}
INSTANTIATE_TEST_SUITE_P(Backends, ProcessView, testing::Values("process"),
                         [](const auto& tested) { return tested.param; });

class ImageRoot : public OwnConformance {};

TEST_P(ImageRoot, IsTheImagesAndItsDigestIsTold) {
  auto job = backend_->Prepare(job_.Shell(
      "ls -d /opt/of-the-image /usr/share /usr/include 2>/dev/null; cat /etc/passwd; "
      "touch /usr/x /opt/x /etc/x 2>/dev/null && echo wrote; id -un; echo $HOME; touch made"));
  ASSERT_TRUE(job) << job.error().ToString();
  EXPECT_THAT((*job)->RootImage(), testing::StartsWith("sha256:"));
  ASSERT_TRUE((*job)->Start({}));
  JobRun run;
  Collector sink(run);
  (*job)->Watch(sink, {});
  EXPECT_EQ(run.out,
            "/opt/of-the-image\njob:x:1000:1000::/home/job:/bin/sh\n"
            "nobody:x:65534:65534:nobody:/:/bin/false\njob\n/home/job\n")
      << run.err;
  EXPECT_TRUE(fs::exists(job_.workspace() + "/made"));
  EXPECT_THAT((*job)->Dismantle().leaks, testing::IsEmpty());
}

TEST_P(ImageRoot, HasAnAgentsTreeOfTheHostWhereItIsGiven) {
  fs::create_directories(job_.base() + "/agent/bin");
  std::ofstream(job_.base() + "/agent/bin/note") << "of the host";
  fs::permissions(job_.base() + "/agent/bin/note", fs::perms(0644));
  for (const char* dir : {"/agent", "/agent/bin"})
    fs::permissions(job_.base() + dir, fs::perms(0755));
  backends::Plan plan = job_.Shell("cat " + job_.base() + "/agent/bin/note");
  plan.read_only_trees = {job_.base() + "/agent"};
  EXPECT_EQ(Run(std::move(plan)).out, "of the host");
}

TEST_P(ImageRoot, RefusesAnImageThatIsNotThere) {
  backends::Plan plan = job_.Shell("true");
  plan.image = "no-such-image";
  Status checked = backend_->Check(plan);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(checked.error().code, "sandbox.image_unknown");
  EXPECT_THAT(checked.error().hint, HasSubstr("writ image import"));
}
INSTANTIATE_TEST_SUITE_P(Backends, ImageRoot, testing::Values("sandbox_image"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
