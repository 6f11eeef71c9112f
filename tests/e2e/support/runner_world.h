// RunnerWorld: a temporary runner - directories, identity, registry, observer - against one fake
// plane.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "e2e/support/fake_backend.h"
#include "e2e/support/fake_plane.h"
#include "writ/backends/registry.h"
#include "writ/runner/engine.h"
#include "writ/runner/enroll.h"

namespace writ::test {

// The system's clock, shifted: recorded contracts are judged at the time of their recording, while
// waits stay real.
class ShiftedClock final : public Clock {
 public:
  explicit ShiftedClock(std::chrono::milliseconds shift) : shift_(shift) {}
  static ShiftedClock At(std::string_view rfc3339);
  WallTime Now() const override { return system_.Now() + shift_; }
  std::chrono::nanoseconds Monotonic() const override { return system_.Monotonic(); }

 private:
  SystemClock system_;
  std::chrono::milliseconds shift_;
};

class RecordingObserver final : public runner::RunObserver {
 public:
  void OnStep(const std::string& run_id, runner::Step step) override;
  void OnOutput(const std::string& run_id, std::string_view redacted) override;
  void OnEnd(const std::string& run_id, const runner::RunEnd& end) override;
  std::string steps() const;  // "claimed verified ..."
  std::string output() const;
  runner::RunEnd end() const;  // of the last run

 private:
  mutable std::mutex mutex_;
  std::string steps_, output_;
  runner::RunEnd end_;
};

// What the runner that works in `state_dir` answers to GET `path` at its own socket, headers too.
std::string AskRunner(const std::string& state_dir, const std::string& path);

class RunnerWorld {
 public:
  RunnerWorld(FakePlane& plane, const Clock& clock);
  ~RunnerWorld();
  runner::RunnerConfig config;  // change before Open
  backends::BackendRegistry registry;
  RecordingObserver observer;

  FakeBackend& AddFake(FakeBackend::Agent agent, backends::Tier tier = backends::Tier::kProcess,
                       std::string name = "");
  runner::Engine& Open();  // enrols and creates the engine
  void Close() { engine_.reset(); }
  // Opens where needed and finishes one run; its receipt is at the plane afterwards.
  Result<std::optional<std::string>> RunOne();
  const std::string& root() const { return root_; }
  std::vector<std::string> Sessions() const;  // what is left below work/sessions and work/trash

 private:
  const Clock& clock_;
  std::string root_;
  std::unique_ptr<runner::Engine> engine_;
};

}  // namespace writ::test
