// The container tier on gVisor's kernel: what differs there in the way a job is started, ended and
// held, and what the suite asks elsewhere in words that gVisor does not know (CMakeLists.txt).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "conformance/conformance_suite.h"
#include "conformance/running_job.h"

namespace writ::test {
namespace {

using backends::AllSyscallsGrant;
using backends::BuildSyscalls;
using backends::Outcome;
using testing::HasSubstr;
using testing::Not;

std::string Line(const char* word, int err) {
  return std::string(word) + " " + std::to_string(err) + "\n";
}

class Gvisor : public Conformance {
 protected:
  JobRun Probe(const std::string& words, backends::Syscalls syscalls = {}) {
    backends::Plan plan = job_.Shell(job_.Install("syscall_probe") + " " + words);
    plan.syscalls = std::move(syscalls);
    return Run(std::move(plan));
  }
};

TEST_P(Gvisor, StartsAJobWithItsEnvironmentAndBringsItsOutputAndEndBack) {  // L8, L17, L18
  backends::Plan plan = job_.Shell(
      "id -u; echo $TOKEN; touch made && test -O made && id -u; head -c 3000000 /dev/zero | tr "
      "'\\0' x; "
      "exit 7");
  plan.env.secrets.push_back({"TOKEN", Secret("of-this-run")});
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << run.outcome.reason << run.err;
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 7);
  EXPECT_THAT(run.out, testing::StartsWith("1000\nof-this-run\n1000\nxxx"));
  EXPECT_EQ(run.out.size(), std::string("1000\nof-this-run\n1000\n").size() + 3'000'000);
  struct stat st {};
  ASSERT_EQ(::stat((job_.workspace() + "/made").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, job_.identity().uid);
}

// Signals of the host do not reach into another kernel: the word does.
TEST_P(Gvisor, LetsAJobEndByItselfInTheGraceAndKillsWhatDoesNot) {  // L16
  backends::Plan plan =
      job_.Shell("trap 'echo asked; exit 9' TERM; echo up; while :; do sleep 0.1; done");
  plan.limits.wall_timeout = std::chrono::seconds(10);
  plan.limits.term_grace = std::chrono::seconds(10);
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut);
  EXPECT_THAT(run.out, HasSubstr("up\n"));
  EXPECT_THAT(run.out, HasSubstr("asked\n"));
  plan = job_.Shell("trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 100\" &); sleep 100");
  plan.limits.wall_timeout = std::chrono::seconds(2);
  EXPECT_EQ(Run(std::move(plan)).outcome.kind, Outcome::Kind::kTimedOut);
}

TEST_P(Gvisor, IsAnotherKernelWithNothingOfTheHost) {
  JobRun run =
      Sh("uname -r; echo /opt/*; touch /usr/x /etc/x 2>/dev/null && echo wrote; "
         "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | tr -d '\\n'; echo; "
         "(exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 | grep -c unreachable; touch $HOME/a $TMPDIR/b && "
         "echo own");
  EXPECT_THAT(run.out, testing::StartsWith("4.4.0\n/opt/of-the-image\nCap")) << run.err;
  EXPECT_THAT(run.out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(run.out, testing::EndsWith("\nown\n"));
}

// The profiles are the ones of the other tiers, and gVisor's kernel holds them.
TEST_P(Gvisor, HasTheSameListsOfSystemCalls) {  // L4, L47
  const std::string words = "shm aio set-personality trace user-namespace mount unknown";
  EXPECT_EQ(Probe(words).out, Line("shm", ENOSYS) + Line("aio", ENOSYS) +
                                  Line("set-personality", ENOSYS) + Line("trace", EPERM) +
                                  Line("user-namespace", EPERM) + Line("mount", EPERM) +
                                  Line("unknown", ENOSYS));
  // EINVAL: gVisor's own answer.
  EXPECT_EQ(Probe(words, BuildSyscalls{}).out,
            Line("shm", 0) + Line("aio", 0) + Line("set-personality", EINVAL) +
                Line("trace", EPERM) + Line("user-namespace", EPERM) + Line("mount", EPERM) +
                Line("unknown", ENOSYS));
  EXPECT_EQ(Probe("trace mount", AllSyscallsGrant{"a test"}).out,
            Line("trace", 0) + Line("mount", EPERM));
}

// gVisor's status has no line for no_new_privs and ambient capabilities.
TEST_P(Gvisor, IsNobodyOfImportance) {  // L20
  JobRun run = Sh("id -u; id -g; id -G; umask; grep -E '^(Seccomp|Cap)' /proc/self/status");
  const std::string none = ":\t0000000000000000\n";
  EXPECT_EQ(run.out, "1000\n1000\n1000\n0022\nCapInh" + none + "CapPrm" + none + "CapEff" + none +
                         "CapBnd" + none + "Seccomp:\t2\n")
      << run.err;
}

// Its sockets are the host's: with no list in their way still none of them leaves the empty
// network.
TEST_P(Gvisor, KeepsItsDatagramsInTheEmptyNetworkWithEverySystemCallToo) {  // L24, L26
  UniqueFd service(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(service.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::getsockname(service.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  UniqueFd outside(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  char byte = 0;
  ASSERT_EQ(::sendto(outside.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&at), sizeof at), 1);
  ASSERT_EQ(::recv(service.get(), &byte, 1, 0), 1) << "with the guard off it arrives";
  const std::string port = std::to_string(ntohs(at.sin_port));
  const std::string send =
      "(echo x > /dev/udp/127.0.0.1/" + port + "); (echo x > /dev/udp/192.0.2.1/53); echo done";
  backends::Plan plan = job_.MakePlan({"/bin/bash", "-c", send});
  plan.syscalls = AllSyscallsGrant{"a test"};
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "done\n");
  EXPECT_THAT(run.err, HasSubstr("unreachable"));
  EXPECT_EQ(::recv(service.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, EAGAIN);
  run = Run(job_.MakePlan({"/bin/bash", "-c", send}));
  EXPECT_THAT(run.err, HasSubstr("ermission denied")) << "and by the list there is no such socket";
  EXPECT_EQ(::recv(service.get(), &byte, 1, 0), -1);
}

// Its init is of the job's uid, and nothing is gained by it: it holds nothing that can be opened,
// tells nothing, and to end it is no way to end well.
TEST_P(Gvisor, GainsNothingByItsInit) {  // L8, L17
  backends::Plan plan = job_.Shell(
      "tr '\\0' '\\n' < /proc/1/environ; for f in /proc/1/fd/*; do "
      "[ \"$(readlink $f)\" = /dev/null ] || { (exec 3<>$f) 2>/dev/null && echo opened $f; }; "
      "done; "
      "kill -TERM 1; kill -INT 1; echo still here; kill -KILL 1; sleep 30; echo never");
  plan.env.secrets.push_back({"TOKEN", Secret("of-this-run")});
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "PATH=/usr/bin:/bin\nHOME=/\nstill here\n") << run.err;
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost) << run.outcome.reason;
  EXPECT_FALSE(run.outcome.status);
}

TEST_P(Gvisor, HoldsTheMemoryOfTheWholeJob) {
  if (backend_->Probe().resources.enforcement != backends::Enforcement::kKernel)
    GTEST_SKIP() << backend_->Probe().resources.reason;
  // Two processes of 180 MiB each pass 256 MiB only together with gVisor or each other.
  backends::Plan plan = job_.Shell(
      "(head -c 188743680 /dev/zero | tail -c 188743680 | wc -c) & head -c 188743680 /dev/zero | "
      "tail -c 188743680 | wc -c; wait");
  plan.limits.memory_bytes = 256u << 20;
  JobRun run = Run(std::move(plan));
  ASSERT_TRUE(run.outcome.limit) << run.outcome.reason << " out: " << run.out;
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.memory");
}

TEST_P(Gvisor, HoldsAnEntryAsItsJob) {  // L20
  const std::string show =
      "grep -E '^(Uid|Gid|Groups|Cap|Seccomp)' /proc/self/status; ulimit -a; pwd; id; umask; " +
      job_.Install("syscall_probe") + " trace user-namespace mount";
  RunningJob running(*backend_, Granted(show + "; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry(show));
  ASSERT_TRUE(entry.entered) << entry.entered.error().ToString();
  const std::string job = running.End().out;
  EXPECT_EQ(entry.out, job.substr(0, job.find("ready")));
  EXPECT_THAT(entry.out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(entry.out, HasSubstr(Line("mount", EPERM)));
  ExpectClean(running);
}

// gVisor shows the environment of a process to everybody who can name it: neither can.
TEST_P(Gvisor, KeepsAnEntryAndItsJobApart) {  // L8
  backends::Plan plan = Granted(
      "mkfifo gate; sleep 600 & echo ready; read nothing < gate; cat /proc/[0-9]*/environ "
      "/.writ/beside/root/proc/[0-9]*/environ | tr '\\0' '\\n'; find /.writ; echo looked; sleep "
      "600");
  plan.env.secrets.push_back({"TOKEN", Secret("of-this-run")});
  RunningJob running(*backend_, std::move(plan));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  backends::EntryPlan looks = ShellEntry(
      "cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /proc/[0-9]*/cmdline | grep -c 'sleep 600'; "
      "kill -9 -1; for p in $(seq 2 400); do [ $p = $$ ] || kill -9 $p; done 2>/dev/null; "
      "find /.writ; echo > gate; read nothing; echo mine");
  looks.env.vars.push_back({"OWN", "entered"});
  auto entered = running.job().Enter(std::move(looks));
  ASSERT_TRUE(entered) << entered.error().ToString();
  ASSERT_TRUE(running.AwaitOutput("looked"));
  (*entered)->CloseInput();
  std::string out;
  EXPECT_TRUE(AwaitEntryOutput(**entered, out, "mine")) << out;
  EXPECT_THAT(out, HasSubstr("OWN=entered"));
  EXPECT_THAT(out, Not(HasSubstr("of-this-run")));
  const std::string job = running.End().out;
  EXPECT_THAT(job, HasSubstr("of-this-run"));
  EXPECT_THAT(job, Not(HasSubstr("OWN=entered")));
  EXPECT_THAT(job, HasSubstr("/.writ/beside\n"));
  EXPECT_THAT(job, Not(HasSubstr("/.writ/beside/root")));
  ExpectClean(running);
}

TEST_P(Gvisor, CopiesOnlyWhatTheJobCouldRead) {  // L8
  const std::string secret = job_.base() + "/of-the-runner";
  std::ofstream(secret) << "kept";
  backends::Plan plan = Granted();
  plan.env.secrets.push_back({"TOKEN", Secret("of-this-run")});
  RunningJob running(*backend_, std::move(plan));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto copy = [&](const std::string& path) {
    backends::EntryPlan out;
    out.kind = backends::EntryPlan::Kind::kCopyOut;
    out.path = path;
    return Enter(running.job(), std::move(out));
  };
  for (const char* path :
       {secret.c_str(), "/etc/shadow", "/proc/1/mem", "/.writ/beside/root/etc"}) {
    const EntryRun run = copy(path);
    ASSERT_TRUE(run.end.status) << path;
    EXPECT_EQ(run.end.status->code, 1) << path;
  }
  // The environments that it can name are of its own kind.
  EXPECT_THAT(copy("/proc/1/environ").out, HasSubstr("PATH=/usr/bin:/bin"));
  EXPECT_THAT(copy("/proc/2/environ").out, Not(HasSubstr("of-this-run")));
  ExpectClean(running);
}

// In memory, and of the host's all the same: measured from outside.
TEST_P(Gvisor, CountsItsPlacesInMemoryAsDisk) {  // L4
  for (const char* place : {"/dev/shm", "$HOME"}) {
    backends::Plan plan = job_.Shell("head -c 62914560 /dev/zero > " + std::string(place) +
                                     "/big; echo written; sleep 600");
    plan.limits.disk_bytes = 50u << 20;
    plan.limits.wall_timeout = std::chrono::minutes(1);
    JobRun run = Run(std::move(plan));
    ASSERT_TRUE(run.outcome.limit) << place << ": " << run.outcome.reason << run.err;
    EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.disk") << place;
  }
}

TEST_P(Gvisor, SaysWhatItIsAndWhatItLeavesOpen) {  // L47
  const backends::Capabilities& can = backend_->Probe();
  EXPECT_THAT(can.version, HasSubstr("runsc"));
  EXPECT_THAT(can.syscalls.mechanism, HasSubstr("seccomp, list of what is allowed"));
  EXPECT_THAT(can.syscalls.mechanism, HasSubstr("gVisor"));
  for (const backends::LimitCapability& limit : can.limits)
    EXPECT_THAT(limit.note, Not(HasSubstr("Landlock"))) << backends::LimitName(limit.kind);
  EXPECT_THAT(can.network.reason, HasSubstr("not recorded"));
  EXPECT_THAT(can.notes, testing::Contains(HasSubstr("the proxy's listener is the only one")));
}

INSTANTIATE_TEST_SUITE_P(Backends, Gvisor, testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
