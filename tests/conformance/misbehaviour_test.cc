// What a job does to its surroundings when it does not behave.
#include <chrono>
#include <filesystem>
#include <sstream>
#include <vector>

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

constexpr milliseconds kShort{1500};
constexpr milliseconds kLong{60000};
constexpr Misbehaviour kMisbehaviours[] = {
    {"symlink-escape", Outcome::Kind::kExited, kLong},
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
    {"eat-memory", Outcome::Kind::kViolated, kLong},
    {"ignore-proxy", Outcome::Kind::kExited, kLong},
};

// The modes as the agent lists them: "  NAME  what it does", after "Modes:".
std::vector<std::string> ModesOf(const std::string& help) {
  std::vector<std::string> modes;
  std::istringstream lines(help);
  bool listed = false;
  for (std::string line; std::getline(lines, line);) {
    if (listed) {
      std::string name;
      std::istringstream(line) >> name;
      if (!name.empty()) modes.push_back(name);
    }
    listed = listed || line == "Modes:";
  }
  return modes;
}

TEST_P(Conformance, KnowsEveryMisbehaviourThatTheMockAgentLists) {
  const JobRun help = Run(job_.MakePlan({job_.Install("writ-mock-agent"), "--help"}));
  std::vector<std::string> known;
  for (const Misbehaviour& bad : kMisbehaviours) known.emplace_back(bad.mode);
  EXPECT_THAT(ModesOf(help.out), testing::UnorderedElementsAreArray(known)) << help.out;
}

// Every mode of the mock agent, through the backend: a clear end within a bound, nothing left
// behind.
TEST_P(Conformance, SurvivesEveryMisbehaviourOfTheMockAgent) {
  const std::string agent = job_.Install("writ-mock-agent");
  const bool memory_is_held =
      backend_->Probe().resources.enforcement == backends::Enforcement::kKernel;
  for (const Misbehaviour& bad : kMisbehaviours) {
    const bool eats = bad.mode == std::string("eat-memory");
    backends::Plan plan = job_.MakePlan({agent, "--misbehave", bad.mode});
    plan.limits.wall_timeout = bad.timeout;
    plan.limits.processes = 50;
    // Held for the whole job where the kernel can, else for each process, which then gets no more.
    if (eats && memory_is_held) plan.limits.memory_bytes = 256u << 20;
    if (eats && !memory_is_held) plan.limits.address_space_bytes = 256u << 20;
    const Outcome::Kind kind = eats && !memory_is_held ? Outcome::Kind::kExited : bad.kind;
    plan.env.secrets.push_back({"MOCK_SECRET", Secret("0123456789abcdef")});
    JobRun run = Run(std::move(plan));
    EXPECT_EQ(run.outcome.kind, kind)
        << bad.mode << ": " << run.outcome.reason << run.out.substr(0, 200) << run.err;
    if (eats && memory_is_held) {
      ASSERT_TRUE(run.outcome.limit) << run.outcome.reason;
      EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.memory");
    }
    if (bad.mode == std::string("read-host-files")) {
      // A view of the job's own has a /home of its own.
      EXPECT_THAT(run.out, HasSubstr(OwnView() ? "could open /home\nhost files opened: 1\n"
                                               : "host files opened: 0\n"));
    }
    if (bad.mode == std::string("ignore-proxy")) {  // L25
      EXPECT_EQ(run.out.find("connected"), std::string::npos) << run.out;
      EXPECT_EQ(run.out.find("answered"), std::string::npos) << run.out;
      EXPECT_GE(run.outcome.refused_total, 4u);
    }
    if (bad.mode == std::string("symlink-escape")) {
      if (!OwnView()) {
        EXPECT_THAT(run.out, HasSubstr("write through a link: refused"));
      }
      EXPECT_FALSE(std::filesystem::exists("/var/tmp/writ-mock-escaped"));
    }
    if (bad.mode == std::string("special-files")) {
      EXPECT_THAT(run.out, HasSubstr("character device: refused"));
    }
  }
}

}  // namespace
}  // namespace writ::test
