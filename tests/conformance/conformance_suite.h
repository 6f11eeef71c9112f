// The fixture of the suite that every backend passes unchanged: what a job sees and how it ends
// does not depend on the tier. One file per question; all of them are one gtest suite, so that a
// backend is added in one place (conformance_suite.cc).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "conformance/job_fixture.h"

namespace writ::test {

// A tree is dead within grace + this (L16). The launcher's own bound is 10 s for processes stuck in
// the kernel.
inline constexpr std::chrono::seconds kEndBound{5};

class Conformance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    backend_ = MakeBackend(GetParam());
  }
  JobRun Run(backends::Plan plan, const backends::WatchOptions& options = {}) {
    JobRun run = job_.Run(*backend_, std::move(plan), options);
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, testing::IsEmpty());
    EXPECT_THAT(run.dismantled.errors, testing::IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
    return run;
  }
  JobRun Sh(const std::string& script) { return Run(job_.Shell(script)); }

  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

}  // namespace writ::test
