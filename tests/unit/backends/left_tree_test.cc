// Who is ended as left of a job, and who is left alone (L37, L38).
#include "writ/backends/job/left_tree.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "writ/base/child.h"

namespace writ::backends {
namespace {

Child Sleeper(std::vector<std::string> env) {
  SpawnOptions options;
  options.path = "/bin/sleep";
  options.argv = {"sleep", "600"};
  options.env = std::move(env);
  return Child::Spawn(options).value();
}

bool Lives(Child& child) {
  auto status = child.Wait(std::chrono::milliseconds(0));
  return status && !*status;
}

std::string RunId() {
  return "left_" + std::to_string(::getpid());
}

TEST(LeftTree, EndsWhoShowsTheRunsMarkAndNobodyElse) {
  Child of_run = Sleeper({"A=b", "WRIT_JOB_MARK=" + RunId()});
  Child of_longer = Sleeper({"WRIT_JOB_MARK=" + RunId() + "0"});
  Child of_value = Sleeper({"X=WRIT_JOB_MARK=" + RunId()});
  Child of_none = Sleeper({});
  const auto left = EndLeftTree({.run_id = RunId(), .uid = ::getuid()});
  EXPECT_TRUE(left.empty()) << left.front().what;
  EXPECT_FALSE(Lives(of_run));
  EXPECT_TRUE(Lives(of_longer));
  EXPECT_TRUE(Lives(of_value));
  EXPECT_TRUE(Lives(of_none));
}

// Begun since, but held by no more filters than we are: no job's.
TEST(LeftTree, SuspectsNoOrdinaryProcess) {
  Child supervisor = Sleeper({});
  const auto mark = ProcessMark::Of(supervisor.pid());
  Child other = Sleeper({});
  const auto left = EndLeftTree({.run_id = RunId(), .uid = ::getuid(), .supervisor = mark});
  EXPECT_TRUE(left.empty()) << left.front().what;
  EXPECT_TRUE(Lives(other));
}

TEST(JobMark, ReadsWhatItWritesAndWhatWasWrittenBeforeItHadAUid) {
  const JobMark mark{{77, 5, "boot"}, 2001};
  EXPECT_EQ(mark.Text(), "77 5 boot 2001");
  ASSERT_TRUE(JobMark::Parse(mark.Text()));
  EXPECT_EQ(JobMark::Parse(mark.Text())->uid, 2001u);
  ASSERT_TRUE(JobMark::Parse("77 5 boot"));
  EXPECT_FALSE(JobMark::Parse("77 5 boot")->uid);
  for (const char* text :
       {"", "77 5", "77 5 boot x", "77 5 boot -1", "77 5 boot 1 2", "1 5 boot 7"})
    EXPECT_FALSE(JobMark::Parse(text)) << text;
}

}  // namespace
}  // namespace writ::backends
