// What only the microvm tier promises: what it refuses, and that a machine's own end is no exit.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "conformance/conformance_suite.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::test {
namespace {

using backends::Outcome;
using testing::HasSubstr;

std::string Line(const char* word, int err) {
  return std::string(word) + " " + std::to_string(err) + "\n";
}

// The monitors among what runs below the job's supervisor, killed; how many there were.
int KillMonitors(const backends::Job& job) {
  int killed = 0;
  const pid_t supervisor = static_cast<pid_t>(std::strtol(job.Leftovers().c_str(), nullptr, 10));
  for (const backends::TreeMember& member : backends::DescendantsOf(supervisor))
    if (backends::ProgramName(member.pid).starts_with("qemu") && ::kill(member.pid, SIGKILL) == 0)
      ++killed;
  return killed;
}

class Machines : public Conformance {
 protected:
  void ExpectRefused(backends::Plan plan, const std::string& code) {
    Status checked = backend_->Check(plan);
    ASSERT_FALSE(checked) << code;
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported);
    EXPECT_THAT(checked.error().code, HasSubstr(code));
    EXPECT_FALSE(checked.error().hint.empty()) << code;
  }
};

TEST_P(Machines, RefusesWhatAMachineCannotHold) {  // L4
  backends::Plan disks = job_.Shell("true");
  disks.limits.io_bytes_per_second = 1u << 20;
  disks.limits.sources.io = backends::LimitSource::kContract;
  ExpectRefused(std::move(disks), "limit_not_held");
  backends::Plan little = job_.Shell("true");
  little.limits.memory_bytes = 1u << 20;
  ExpectRefused(std::move(little), "memory_too_small");
  backends::Plan image = job_.Shell("true");
  image.image = "missing";
  ExpectRefused(std::move(image), "image_unknown");
}

TEST_P(Machines, TellsWhatRanItsGuestAndHowFast) {  // L47
  const backends::Capabilities& can = backend_->Probe();
  EXPECT_THAT(can.version, HasSubstr("qemu "));
  EXPECT_THAT(can.version, testing::AnyOf(HasSubstr(", kvm"), HasSubstr(", tcg")));
  const bool slow = std::any_of(can.notes.begin(), can.notes.end(), [](const std::string& note) {
    return note.find("emulated") != std::string::npos;
  });
  EXPECT_EQ(slow, can.version.ends_with("tcg"));
}

// The profile is the contract's in the guest too.
TEST_P(Machines, HoldsTheSystemCallsThatTheContractNames) {
  const std::string probe = job_.Install("syscall_probe");
  EXPECT_EQ(Run(job_.MakePlan({probe, "shm", "mount"})).out,
            Line("shm", ENOSYS) + Line("mount", EPERM));
  backends::Plan build = job_.MakePlan({probe, "shm", "mount"});
  build.syscalls = backends::BuildSyscalls{};
  EXPECT_EQ(Run(std::move(build)).out, Line("shm", 0) + Line("mount", EPERM));
}

// L25: stopped and answered at once, and told with program and address, by the guest's kernel.
TEST_P(Machines, RecordsWhereAJobWantedToGoPastItsProxy) {
  backends::Plan plan = job_.MakePlan(
      {"/bin/bash", "-c",
       "exec 3<>/dev/tcp/192.0.2.1/80 || exec 3<>/dev/udp/192.0.2.2/53 || echo refused"});
  plan.network = backends::ProxiedNetwork{};
  const JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "refused\n") << run.err;
  EXPECT_EQ(run.outcome.refused_total, 2u);
  ASSERT_EQ(run.outcome.refused.size(), 2u);
  for (const backends::RefusedConnect& refused : run.outcome.refused)
    EXPECT_EQ(refused.program, "bash");
  EXPECT_EQ(run.outcome.refused[0].address, "192.0.2.1:80");
  EXPECT_THAT(run.outcome.refused[1].reason, HasSubstr("UDP"));
}

// Two processes pass it only together, in the guest; emulated, that takes a while.
TEST_P(Machines, HoldsTheMemoryOfTheWholeJob) {
  backends::Plan plan = job_.Shell(
      "(head -c 50331648 /dev/zero | tail -c 50331648 | wc -c) & head -c 50331648 /dev/zero | tail "
      "-c 50331648 | wc -c; wait");
  plan.limits.memory_bytes = 64u << 20;
  plan.limits.wall_timeout = std::chrono::seconds(200);
  const JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kViolated) << run.outcome.reason;
  ASSERT_TRUE(run.outcome.limit) << run.outcome.reason << " out: " << run.out;
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.memory");
}

// L14: names, modes, bytes and links; hard links come out as files of their own.
TEST_P(Machines, BringsOutWhatTheJobChanged) {
  job_.WriteWorkspaceFile("base.txt", "base");
  job_.WriteWorkspaceFile("gone.txt", "gone");
  const JobRun run =
      Sh("printf more >> base.txt; rm gone.txt; printf h > one && ln one two; ln -s "
         "/etc/passwd out; mkdir -m 700 shut; printf in > shut/file");
  ASSERT_EQ(run.outcome.kind, Outcome::Kind::kExited) << run.err;
  EXPECT_EQ(job_.ReadWorkspaceFile("base.txt"), "basemore");
  EXPECT_EQ(job_.ReadWorkspaceFile("one") + job_.ReadWorkspaceFile("two"), "hh");
  EXPECT_EQ(job_.ReadWorkspaceFile("shut/file"), "in");
  EXPECT_EQ(std::filesystem::read_symlink(job_.workspace() + "/out"), "/etc/passwd");
  EXPECT_FALSE(std::filesystem::exists(job_.workspace() + "/gone.txt"));
}

// L17: the monitor is killed beneath a job that runs.
TEST_P(Machines, CallsAJobLostWhoseMachineHasEnded) {
  RunningJob running(*backend_, job_.Shell(kIdle));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_GT(KillMonitors(running.job()), 0);
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(run.outcome.status);
  EXPECT_THAT(run.outcome.reason, HasSubstr("monitor"));
  ExpectClean(running);
}

// L47: with WRIT_TEST_RESTORED the suite holds of machines that were restored, and this says so.
TEST_P(Machines, TellsHowItsMachineWasStarted) {
  RunningJob running(*backend_, job_.Shell("true"));
  ASSERT_TRUE(running.started()) << running.started().error().ToString();
  const auto start = running.job().StartOfMachine();
  ASSERT_TRUE(start);
  EXPECT_EQ(start->not_restored, "");
  EXPECT_EQ(!start->snapshot.empty(), std::getenv("WRIT_TEST_RESTORED") != nullptr);
  // Where one can be used, by a page server.
  const bool may = ::access("/dev/userfaultfd", R_OK | W_OK) == 0;
  EXPECT_EQ(start->memory == backends::MachineStart::Memory::kServed,
            may && !start->snapshot.empty())
      << start->not_served;
  ExpectClean(running);
}

INSTANTIATE_TEST_SUITE_P(Backends, Machines, testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
