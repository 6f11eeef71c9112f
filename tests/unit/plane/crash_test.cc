// kill -9 in the middle of work: what was answered is there, nothing is half there (L39).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <sstream>

#include "test_plane.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

// The child's work: runs from request to receipt for ever; each step that the plane confirmed is
// told to the parent as one line.
[[noreturn]] void WorkUntilKilled(const std::string& dir, int report) {
  SystemClock clock;
  plane::Config config;
  config.per_principal = config.per_agent = config.per_pool = std::nullopt;
  auto opened = plane::Plane::Open({.dir = dir, .config = config}, clock);
  if (!opened) ::_exit(2);
  auto& plane = **opened;
  auto local = plane::Caller::Local("owner");
  auto tell = [report](const std::string& line) {
    if (!WriteAll(report, line + "\n")) ::_exit(3);
  };
  TestRunner runner(plane, local);
  for (;;) {
    auto made = plane.Submit(local, json::Write(RunBody(plane)));
    if (!made) ::_exit(4);
    tell("submitted " + made->run_id);
    auto claim = plane.Claim(runner.token, "default", milliseconds(0));
    if (!claim || !*claim) ::_exit(5);
    tell("claimed " + (*claim)->run_id);
    auto finished = FinishClaim(**claim, runner, clock.Now());
    auto events = plane.AppendEvents((*claim)->run_id, (*claim)->claim_token, finished.events);
    if (!events || !events->accepted) ::_exit(6);
    tell("appended " + (*claim)->run_id);
    auto done = plane.Complete((*claim)->run_id, (*claim)->claim_token, finished.receipt, "");
    if (!done) ::_exit(7);
    tell("completed " + (*claim)->run_id);
  }
}

class Crash : public ::testing::TestWithParam<int> {};

TEST_P(Crash, LeavesEverythingThatWasAnsweredAndNothingHalfWritten) {
  TempFolder folder;
  ASSERT_TRUE(plane::Init(folder.path()));
  auto pipe = MakePipe().value();
  pid_t child = ::fork();
  if (child == 0) WorkUntilKilled(folder.path(), pipe.write_end.get());
  pipe.write_end.reset();
  // Kill after so many lines, in the middle of whatever comes next.
  std::string told;
  int lines = 0;
  char byte;
  while (lines < GetParam() && ::read(pipe.read_end.get(), &byte, 1) == 1) {
    told += byte;
    lines += byte == '\n' ? 1 : 0;
  }
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);
  auto rest = ReadAll(pipe.read_end.get(), 1 << 20);
  if (rest) told += *rest;

  SystemClock clock;
  auto opened = plane::Plane::Open({.dir = folder.path(), .config = std::nullopt}, clock);
  ASSERT_TRUE(opened) << opened.error().ToString();
  std::map<std::string, std::string> last;  // run -> the last step that was answered
  std::istringstream in(told.substr(0, told.rfind('\n') + 1));
  for (std::string step, run; in >> step >> run;) last[run] = step;
  EXPECT_FALSE(last.empty());
  std::set<std::string> seen;
  const auto runs = (*opened)->Runs().value();
  for (const auto& summary : runs) {
    seen.insert(summary.run_id);
    auto run = (*opened)->Run(summary.run_id).value();
    auto contract = protocol::Contract::Parse(json::Parse(run.contract).value()).value();
    std::vector<protocol::Event> events;
    for (const auto& text : run.events)
      events.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
    EXPECT_TRUE(protocol::EventChain::FromEvents(contract.Hash(), events));
    using plane::RunState;
    const auto state = summary.status;
    const std::size_t expected = state == RunState::kCreated   ? 2
                                 : state == RunState::kClaimed ? 3
                                                               : 6;
    EXPECT_EQ(events.size(), expected) << protocol::Word(state);
    EXPECT_EQ(summary.has_receipt, state == RunState::kCompleted);
    if (summary.has_receipt) {
      auto bundle = protocol::VerifyBundle((*opened)->Bundle(summary.run_id).value());
      EXPECT_TRUE(bundle.ok);
    }
    const std::string& step = last[summary.run_id];
    if (step == "claimed") {
      EXPECT_NE(state, RunState::kCreated);
    }
    if (step == "appended") {
      EXPECT_GE(events.size(), 6u);
    }
    if (step == "completed") {
      EXPECT_EQ(state, RunState::kCompleted);
    }
  }
  for (const auto& [run, step] : last) EXPECT_TRUE(seen.contains(run)) << run << " was " << step;
}

INSTANTIATE_TEST_SUITE_P(AtManyPoints, Crash,
                         ::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 17, 23, 31));

}  // namespace
}  // namespace writ::test
