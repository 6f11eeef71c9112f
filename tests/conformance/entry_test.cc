// What an operator puts into a running session: held as the job is, ended with it, in every tier.
#include <unistd.h>

#include <csignal>
#include <map>

#include "conformance/conformance_suite.h"
#include "conformance/running_job.h"
#include "writ/base/tree_stream.h"

namespace writ::test {
namespace {

using backends::EntryPlan;
using backends::Outcome;
using testing::HasSubstr;
using testing::Not;

TEST_P(Conformance, AnEntryIsDeniedWhereTheOperatorDidNotGrantIt) {
  RunningJob running(*backend_, job_.Shell(kIdle));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry("true"));
  ASSERT_FALSE(entry.entered);
  EXPECT_EQ(entry.entered.error().kind, ErrorKind::kDenied);
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryRunsWithStreamsOfItsOwnAndAnExactExit) {  // L17 L18
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry =
      Enter(running.job(), ShellEntry("cat; echo problem >&2; exit 42"), std::string("a\0b\n", 4));
  ASSERT_TRUE(entry.entered) << entry.entered.error().ToString();
  EXPECT_EQ(entry.out, std::string("a\0b\n", 4));
  EXPECT_EQ(entry.err, "problem\n");
  ASSERT_TRUE(entry.end.status);
  EXPECT_EQ(entry.end.status->code, 42);
  EXPECT_FALSE(entry.end.status->signalled);
  EXPECT_THAT(running.End().out, Not(HasSubstr("problem")));
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryCarriesLargeInputAndOutputWhole) {  // L18
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  std::string input;
  for (int i = 0; input.size() < 3u << 20; ++i) input += std::to_string(i) + "\n";
  EntryRun entry = Enter(running.job(), ShellEntry("cat"), input);
  EXPECT_TRUE(entry.out == input) << entry.out.size() << " of " << input.size();
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryTellsAProgramThatIsNotThereAsAShellDoes) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  for (auto [program, code] : {std::pair{"no-such-program", 127}, std::pair{"/", 126}}) {
    EntryPlan plan;
    plan.argv = {program};
    EntryRun entry = Enter(running.job(), std::move(plan));
    ASSERT_TRUE(entry.entered) << entry.entered.error().ToString();
    ASSERT_TRUE(entry.end.status);
    EXPECT_EQ(entry.end.status->ShellCode(), code);
  }
  ExpectClean(running);
}

// What /proc/self/status says of both is the same line by line: identity, groups, capabilities,
// no_new_privs, seccomp mode. The limits too.
TEST_P(Conformance, AnEntryIsHeldAsTheJobIs) {  // L20 L47
  const std::string show =
      "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; "
      "ulimit -a; pwd; id; cat /proc/self/cgroup; readlink /proc/self/ns/* | sort; umask";
  RunningJob running(*backend_, Granted(show + "; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry(show));
  ASSERT_TRUE(entry.entered) << entry.entered.error().ToString();
  const std::string job = running.End().out;
  EXPECT_EQ(entry.out, job.substr(0, job.find("ready")));
  EXPECT_THAT(entry.out, HasSubstr("NoNewPrivs:\t1"));
  ExpectClean(running);
}

// The same system calls fail in it.
TEST_P(Conformance, AnEntryCannotDoWhatTheJobCannot) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry("unshare -U true 2>&1; chroot / true 2>&1; "
                                                   "echo x > /etc/writ-was-here; "
                                                   "ls /root /var/lib/writ; true"));
  ASSERT_TRUE(entry.entered) << entry.entered.error().ToString();
  EXPECT_NE(::access("/etc/writ-was-here", F_OK), 0);
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryGetsNoVariableOfTheJobs) {  // L8
  backends::Plan plan = Granted("echo $MINE; echo ready; sleep 600");
  plan.env.secrets.push_back({"MINE", Secret("very secret value")});
  RunningJob running(*backend_, std::move(plan));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan entry_plan = ShellEntry("env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'");
  entry_plan.env.vars.push_back({"OWN", "1"});
  EntryRun entry = Enter(running.job(), std::move(entry_plan));
  EXPECT_THAT(entry.out, HasSubstr("OWN=1"));
  EXPECT_THAT(entry.out, HasSubstr("HOME="));
  EXPECT_THAT(entry.out, Not(HasSubstr("very secret value")));
  EXPECT_THAT(running.End().out, HasSubstr("very secret value"));
  ExpectClean(running);
}

TEST_P(Conformance, AnEntrySeesTheJobsFilesAndTheJobSeesIts) {
  RunningJob running(*backend_,
                     Granted("mkfifo pipe; echo from-the-job > file; echo ready; cat pipe; "
                             "echo got; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry("cat file; echo from-the-entry > pipe"));
  EXPECT_EQ(entry.out, "from-the-job\n");
  ASSERT_TRUE(running.AwaitOutput("got"));
  EXPECT_THAT(running.End().out, HasSubstr("from-the-entry"));
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryHearsSignals) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto entered =
      running.job().Enter(ShellEntry("trap 'echo heard; exit 7' USR1; echo set; sleep 600 & "
                                     "wait"));
  ASSERT_TRUE(entered) << entered.error().ToString();
  std::string out;
  ASSERT_TRUE(AwaitEntryOutput(**entered, out, "set"));
  ASSERT_TRUE((*entered)->Signal(SIGUSR1));
  const backends::EntryEnd end = AwaitEntryEnd(**entered);
  ASSERT_TRUE(end.status);
  EXPECT_EQ(end.status->ShellCode(), 7);
  entered = running.job().Enter(ShellEntry("echo set; sleep 600"));
  ASSERT_TRUE(entered);
  ASSERT_TRUE(AwaitEntryOutput(**entered, out = {}, "set"));
  ASSERT_TRUE((*entered)->Signal(SIGKILL));
  const backends::EntryEnd killed = AwaitEntryEnd(**entered);
  ASSERT_TRUE(killed.status && killed.status->signalled);
  EXPECT_EQ(killed.status->signal, SIGKILL);
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryEndsWithTheJob) {  // L16
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto entered = running.job().Enter(ShellEntry(
      "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; sleep 600' & echo set; sleep 600"));
  ASSERT_TRUE(entered) << entered.error().ToString();
  std::string out;
  ASSERT_TRUE(AwaitEntryOutput(**entered, out, "set"));
  ExpectClean(running);
  const std::optional<backends::EntryEnd> end = (*entered)->End();
  ASSERT_TRUE(end);
  // Killed with the rest, or nobody was left to say so: never a success (L17).
  EXPECT_TRUE(!end->status || end->status->signalled);
}

TEST_P(Conformance, AnEntryEndsWhenWhoeverAskedForItGoes) {
  RunningJob running(*backend_, Granted("mkfifo gate; echo ready; cat gate; echo over; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  {
    auto entered =
        running.job().Enter(ShellEntry("exec 9> gate; trap '' HUP TERM; echo set; "
                                       "sleep 600"));
    ASSERT_TRUE(entered) << entered.error().ToString();
    std::string out;
    ASSERT_TRUE(AwaitEntryOutput(**entered, out, "set"));
  }
  // Its end closed the last writer of the gate.
  EXPECT_TRUE(running.AwaitOutput("over"));
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryIsRefusedOnceTheJobHasEnded) {
  RunningJob running(*backend_, Granted("true"));
  EXPECT_EQ(running.Wait().outcome.kind, Outcome::Kind::kExited);
  EntryRun entry = Enter(running.job(), ShellEntry("true"));
  ASSERT_FALSE(entry.entered);
  EXPECT_EQ(entry.entered.error().kind, ErrorKind::kConflict);
}

TEST_P(Conformance, AnEntryHasATerminalOfTheSessions) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan plan = ShellEntry(
      "test -t 0 && test -t 1 && test -t 2 && stty size && stat -Lc 'owner %u' /proc/self/fd/0 && "
      "read line && echo \"got $line\" && trap 'stty size; exit 3' WINCH && { sleep 600 & } && "
      "echo waits && wait");
  plan.terminal = TerminalSize{33, 97};
  auto entered = running.job().Enter(std::move(plan));
  ASSERT_TRUE(entered) << entered.error().ToString();
  backends::Entry& entry = **entered;
  EXPECT_EQ(entry.errors(), -1);
  std::string out;
  ASSERT_TRUE(AwaitEntryOutput(entry, out, "owner")) << out;
  EXPECT_THAT(out, HasSubstr("33 97"));
  WriteToEntry(entry.input(), "hello\n");
  ASSERT_TRUE(AwaitEntryOutput(entry, out, "waits")) << out;
  EXPECT_THAT(out, HasSubstr("owner " + UidInside()));
  EXPECT_THAT(out, HasSubstr("got hello"));
  ASSERT_TRUE(entry.Resize({12, 34}));
  ASSERT_TRUE(AwaitEntryOutput(entry, out, "12 34")) << out;
  const backends::EntryEnd end = AwaitEntryEnd(entry);
  ASSERT_TRUE(end.status);
  EXPECT_EQ(end.status->code, 3);
  ExpectClean(running);
}

TEST_P(Conformance, AnEntrysTerminalTellsTheEndOfItsInput) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan plan = ShellEntry("stty -echo; echo set; cat; echo over");
  plan.terminal = TerminalSize{};
  auto entered = running.job().Enter(std::move(plan));
  ASSERT_TRUE(entered) << entered.error().ToString();
  std::string out;
  ASSERT_TRUE(AwaitEntryOutput(**entered, out, "set"));
  WriteToEntry((*entered)->input(), "typed\n");
  (*entered)->CloseInput();
  EXPECT_TRUE(AwaitEntryOutput(**entered, out, "over"));
  EXPECT_THAT(out, HasSubstr("typed"));
  ExpectClean(running);
}

// Nothing of the launcher's - its channel, its plan, the other ends of the streams - is left open.
TEST_P(Conformance, AnEntryAndItsJobInheritTheirStreamsAlone) {  // L20
  const std::string show = "ls /proc/self/fd | tr '\\n' ' '";
  RunningJob running(*backend_, Granted(show + "; echo ready; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryRun entry = Enter(running.job(), ShellEntry(show));
  EXPECT_EQ(entry.out, "0 1 2 3 ") << entry.err;  // 3: the directory that is listed
  EXPECT_THAT(running.End().out, HasSubstr("0 1 2 3 ready"));
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryInterruptsAtTheTerminalsKey) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan plan;
  plan.argv = {"cat"};  // no shell, which would have its own mind about the key
  plan.terminal = TerminalSize{};
  auto entered = running.job().Enter(std::move(plan));
  ASSERT_TRUE(entered) << entered.error().ToString();
  WriteToEntry((*entered)->input(), "\x03");
  const backends::EntryEnd end = AwaitEntryEnd(**entered);
  ASSERT_TRUE(end.status);
  EXPECT_EQ(end.status->ShellCode(), 128 + SIGINT);
  ExpectClean(running);
}

// The job may not use what was put beside it: not its descriptors, its terminal or its memory.
TEST_P(Conformance, AnEntryCannotBeReachedByTheJob) {  // L8
  RunningJob running(
      *backend_,
      Granted("mkfifo gate; echo ready; read pid < gate; for f in /proc/$pid/fd/*; do "
              "(echo stolen > $f) 2>/dev/null; done; cat /proc/$pid/environ 2>/dev/null | "
              "grep -a OWN; cat /proc/1/environ /proc/1/mem 2>/dev/null; ls /proc/1/fd "
              "2>/dev/null; echo tried; sleep 600"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  EntryPlan plan = ShellEntry("exec 2>&1; echo $$ > gate; read nothing; echo mine");
  plan.env.vars.push_back({"OWN", "entered"});
  auto entered = running.job().Enter(std::move(plan));
  ASSERT_TRUE(entered) << entered.error().ToString();
  ASSERT_TRUE(running.AwaitOutput("tried"));
  (*entered)->CloseInput();
  std::string out;
  EXPECT_TRUE(AwaitEntryOutput(**entered, out, "mine"));
  if (backend_->Probe().files.mechanism.find("landlock") != std::string::npos) {
    EXPECT_THAT(out, Not(HasSubstr("stolen")));
    EXPECT_THAT(running.End().out, Not(HasSubstr("OWN=entered")));
  }
  ExpectClean(running);
}

TEST_P(Conformance, AnEntryRunsSeveralAtOnceAndRefusesTooMany) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  std::vector<std::unique_ptr<backends::Entry>> entries;
  for (int i = 0; i < 16; ++i) {
    auto entered = running.job().Enter(ShellEntry("echo set; read x; exit " + std::to_string(i)));
    ASSERT_TRUE(entered) << i << entered.error().ToString();
    entries.push_back(std::move(*entered));
  }
  EXPECT_FALSE(Enter(running.job(), ShellEntry("true")).entered);
  for (int i = 15; i >= 0; --i) {
    entries[static_cast<std::size_t>(i)]->CloseInput();
    const backends::EntryEnd end = AwaitEntryEnd(*entries[static_cast<std::size_t>(i)]);
    ASSERT_TRUE(end.status);
    EXPECT_EQ(end.status->code, i);
  }
  ExpectClean(running);
}

TEST_P(Conformance, TheJobItselfHasATerminalOnRequest) {
  if (!backend_->Probe().pty) GTEST_SKIP() << "no terminals here";
  backends::Plan plan = Granted(
      "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && echo ready && "
      "read line && echo \"got $line\" && exit 5");
  plan.terminal = TerminalSize{21, 77};
  RunningJob running(*backend_, std::move(plan));
  ASSERT_TRUE(running.started()) << running.started().error().ToString();
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto input = running.job().OpenTerminalInput();
  ASSERT_TRUE(input) << input.error().ToString();
  WriteToEntry((*input)->fd(), "typed\n");
  ASSERT_TRUE(running.AwaitOutput("got typed"));
  const JobRun& run = running.Wait();
  EXPECT_THAT(run.out, HasSubstr("21 77"));
  EXPECT_THAT(run.out, HasSubstr("xterm-256color"));
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->code, 5);
  ExpectClean(running);
}

TEST_P(Conformance, ATerminalLosesNothingOfALastBurst) {  // L18
  if (!backend_->Probe().pty) GTEST_SKIP() << "no terminals here";
  backends::Plan plan = job_.Shell("stty -opost; head -c 2000000 /dev/zero | tr '\\0' x; echo end");
  plan.terminal = TerminalSize{};
  JobRun run = Run(std::move(plan));
  ASSERT_TRUE(run.outcome.status) << run.outcome.reason;
  EXPECT_EQ(run.outcome.status->code, 0);
  EXPECT_EQ(run.out.size(), 2000004u);
  EXPECT_THAT(run.out.substr(run.out.size() - 4), "end\n");
}

TEST_P(Conformance, AJobWithoutATerminalHasNoInput) {
  RunningJob running(*backend_, Granted());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto input = running.job().OpenTerminalInput();
  ASSERT_FALSE(input);
  EXPECT_EQ(input.error().kind, ErrorKind::kUnsupported);
  ExpectClean(running);
}

}  // namespace

}  // namespace writ::test
