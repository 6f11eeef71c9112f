// What a job does to its surroundings when it does not behave.
#include <chrono>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::milliseconds;
using testing::HasSubstr;

struct Misbehaviour {
  const char* mode;
  Outcome::Kind kind;
  milliseconds timeout;
};

// Every mode of the mock agent, through the backend: a clear end within a bound, nothing left
// behind.
TEST_P(Conformance, SurvivesEveryMisbehaviourOfTheMockAgent) {
  const std::string agent = job_.Install("writ-mock-agent");
  constexpr milliseconds kShort{1500};
  constexpr milliseconds kLong{60000};
  for (const Misbehaviour& bad : {
           Misbehaviour{"symlink-escape", Outcome::Kind::kExited, kLong},
           {"hard-links", Outcome::Kind::kExited, kLong},
           {"plant-git-config", Outcome::Kind::kExited, kLong},
           {"nested-repository", Outcome::Kind::kExited, kLong},
           {"special-files", Outcome::Kind::kExited, kLong},
           {"huge-sparse", Outcome::Kind::kExited, kLong},
           {"deep-tree", Outcome::Kind::kExited, kLong},
           {"bad-names", Outcome::Kind::kExited, kLong},
           {"closed-directory", Outcome::Kind::kExited, kLong},
           {"read-host-files", Outcome::Kind::kExited, kLong},
           {"secret-in-pieces", Outcome::Kind::kExited, kLong},
           {"fork-bomb", Outcome::Kind::kViolated, kLong},
           {"ignore-sigterm", Outcome::Kind::kTimedOut, kShort},
           {"burst-exit", Outcome::Kind::kExited, kLong},
           {"endless-output", Outcome::Kind::kTimedOut, kShort},
           {"double-fork-setsid", Outcome::Kind::kExited, kLong},
           {"hold-stdout", Outcome::Kind::kExited, kLong},
           {"stop-itself", Outcome::Kind::kTimedOut, kShort},
           {"crash", Outcome::Kind::kSignalled, kLong},
           {"ignore-proxy", Outcome::Kind::kExited, kLong},
       }) {
    backends::Plan plan = job_.MakePlan({agent, "--misbehave", bad.mode});
    plan.limits.wall_timeout = bad.timeout;
    plan.limits.processes = 50;
    plan.env.secrets.push_back({"MOCK_SECRET", Secret("0123456789abcdef")});
    JobRun run = Run(std::move(plan));
    EXPECT_EQ(run.outcome.kind, bad.kind)
        << bad.mode << ": " << run.outcome.reason << run.out.substr(0, 200) << run.err;
    if (bad.mode == std::string("read-host-files")) {
      EXPECT_THAT(run.out, HasSubstr("host files opened: 0\n"));
    }
    if (bad.mode == std::string("ignore-proxy")) {  // L25
      EXPECT_EQ(run.out.find("connected"), std::string::npos) << run.out;
      EXPECT_EQ(run.out.find("answered"), std::string::npos) << run.out;
      EXPECT_GE(run.outcome.refused_total, 4u);
    }
    if (bad.mode == std::string("symlink-escape")) {
      EXPECT_THAT(run.out, HasSubstr("write through a link: refused"));
    }
    if (bad.mode == std::string("special-files")) {
      EXPECT_THAT(run.out, HasSubstr("character device: refused"));
    }
  }
}

}  // namespace
}  // namespace writ::test
