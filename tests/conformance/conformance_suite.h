// The fixture of the suite that every backend passes unchanged: what a job sees and how it ends
// does not depend on the tier. One file per question; all of them are one gtest suite, so that a
// backend is added in one place (main.cc for those of this tree).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "conformance/job_fixture.h"
#include "conformance/running_job.h"
#include "writ/conformance/conformance.h"

namespace writ::test {

// A tree is dead within grace + this (L16). The launcher's own bound is 10 s for processes stuck in
// the kernel.
inline constexpr std::chrono::seconds kEndBound{5};

inline constexpr char kIdle[] = "echo ready; sleep 600";

class Conformance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { Use(conformance::FindTested(GetParam()).make()); }
  void Use(std::unique_ptr<backends::Backend> backend) {
    backend_ = std::move(backend);
    if (const backends::Capabilities& can = backend_->Probe(); !can.usable)
      GTEST_SKIP() << can.unusable_reason;
    job_.Use(*backend_);
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
  // A root directory of the job's own, or the host's.
  virtual bool OwnView() const {
    return conformance::FindTested(GetParam()).view == conformance::View::kOwn;
  }
  // A job that something may be put beside; it says "ready" and idles.
  backends::Plan Granted(const std::string& script = kIdle) {
    backends::Plan plan = job_.Shell(script);
    plan.entries = backends::EntryGrant{"a test"};
    return plan;
  }
  void ExpectClean(RunningJob& running) {
    const JobRun& run = running.End();
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, testing::IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
  }
  // Where jobs find their workspace and their temporary files.
  std::string WorkspacePath() {
    auto job = backend_->Prepare(job_.Shell("true"));
    return job ? (*job)->WorkspacePath() : job.error().ToString();
  }
  std::string TmpPath() const { return OwnView() ? "/tmp" : job_.session_dir() + "/tmp"; }
  // What is added to a bound that a start falls within.
  std::chrono::milliseconds Boot() const { return conformance::FindTested(GetParam()).times.start; }
  // Long enough for a job to say its first word, and no longer.
  std::chrono::milliseconds FirstWord() const {
    return conformance::FindTested(GetParam()).times.first_word;
  }
  // The uid that jobs see of themselves; files are the plan's identity's outside whatever it is.
  std::string UidInside() const { return OwnView() ? "1000" : std::to_string(job_.identity().uid); }

  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

}  // namespace writ::test
