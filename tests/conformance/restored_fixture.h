// Runs of the microvm tier that start from a snapshot.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conformance/job_fixture.h"
#include "conformance/machine_snapshots.h"
#include "conformance/running_job.h"

namespace writ::test {

namespace fs = std::filesystem;
using namespace backends;

inline constexpr std::uint64_t kJobMemory = 128u << 20;

inline MicrovmBackendOptions WithoutPages(MicrovmBackendOptions options) {
  options.pages.program.clear();
  return options;
}

// Whether a page server can be used here.
inline bool PagesCanBeServed() {
  return ::access("/dev/userfaultfd", R_OK | W_OK) == 0;
}

class Restored : public testing::Test {
 protected:
  void SetUp() override { Use(snapshots_.Options()); }
  void Use(MicrovmBackendOptions options) {
    backend_ = MakeMicrovmBackend(std::move(options));
    if (const Capabilities& can = backend_->Probe(); !can.usable)
      GTEST_SKIP() << can.unusable_reason;
    job_.Use(*backend_);
  }
  static Plan Sized(Plan plan) {
    plan.limits.memory_bytes = kJobMemory;
    return plan;
  }
  microvm::SnapshotRecord Build(std::vector<std::string> warm_up = {}, unsigned cpus = 1) {
    auto made = snapshots_.Build(std::move(warm_up), kJobMemory, {}, cpus);
    if (!made) ADD_FAILURE() << made.error().ToString();
    EXPECT_EQ(fs::directory_iterator(snapshots_.work_dir()), fs::directory_iterator());
    return made ? *made : microvm::SnapshotRecord{};
  }
  // Runs it to its end, and tells how its machine was started.
  MachineStart Start(const std::string& script, JobRun& run) {
    RunningJob running(*backend_, Sized(job_.Shell(script)));
    if (!running.started()) {
      ADD_FAILURE() << running.started().error().ToString();
      return {};
    }
    MachineStart start;
    if (auto told = running.job().StartOfMachine())
      start = *told;
    else
      ADD_FAILURE() << "nothing is told of the machine's start";
    run = running.Wait();
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
    return start;
  }
  std::string FolderOf(const microvm::SnapshotRecord& record) const {
    return snapshots_.store().dir() + "/sha256-" + record.id.ToHex();
  }

  MachineSnapshots snapshots_;
  JobFixture job_;
  std::unique_ptr<Backend> backend_;
};

}  // namespace writ::test
