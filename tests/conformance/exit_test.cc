// How a job ends by itself, and what is told of it.
#include <csignal>
#include <utility>
#include <vector>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;

TEST_P(Conformance, TellsTheExitCodeAsItWas) {  // L17
  for (int code : {0, 1, 42, 255}) {
    JobRun run = Sh("exit " + std::to_string(code));
    ASSERT_TRUE(run.started) << run.started.error().ToString();
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited);
    ASSERT_TRUE(run.outcome.status);
    EXPECT_EQ(run.outcome.status->ShellCode(), code);
    EXPECT_GT(run.outcome.duration.count(), 0);
  }
}

TEST_P(Conformance, TellsASignalAsASignal) {
  JobRun run = Sh("kill -SEGV $$");
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kSignalled);
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->signal, SIGSEGV);
  EXPECT_EQ(run.outcome.status->ShellCode(), 128 + SIGSEGV);
}

TEST_P(Conformance, GivesTheShellsCodesForProgramsThatCannotRun) {
  job_.WriteWorkspaceFile("no-interpreter", "#!/nowhere/at/all\n");
  job_.WriteWorkspaceFile("not-a-program", "just text\n");
  for (const auto& [program, code] :
       std::vector<std::pair<std::string, int>>{{"surely-no-such-program", 127},
                                                {"./missing", 127},
                                                {"./no-interpreter", 127},
                                                {"./not-a-program", 126},
                                                {"/etc/passwd", 126},
                                                {"/usr", 126}}) {
    JobRun run = Run(job_.MakePlan({program}));
    EXPECT_TRUE(run.started) << program;
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << program;
    ASSERT_TRUE(run.outcome.status) << program;
    EXPECT_EQ(run.outcome.status->code, code) << program << ": " << run.outcome.reason;
    EXPECT_FALSE(run.outcome.reason.empty());
  }
}

TEST_P(Conformance, PassesArgumentsAsTheyAreAndNeverThroughAShell) {  // L2
  JobRun run = Run(job_.MakePlan({"printf", "%s|", "a b", "$(id)", "`x`", ";", "", "\n", "\xff"}));
  EXPECT_EQ(run.out, "a b|$(id)|`x`|;||\n|\xff|");
}

}  // namespace
}  // namespace writ::test
