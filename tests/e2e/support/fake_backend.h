// FakeBackend: a backend whose jobs are functions of the test, run in the watching thread. It
// enforces nothing and says so nowhere: for tests of the order of steps, never of isolation.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "writ/backends/backend.h"

namespace writ::test {

struct FakeJobView {
  std::string workspace;
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;  // as the job would see it, base environment left out
  backends::OutputSink* sink = nullptr;
  std::stop_token stop;
  uid_t uid = 0;
  backends::StderrTo stderr_to = backends::StderrTo::kOwnStream;
  backends::Limits limits;
  void Print(std::string_view text) const;
  void Write(const std::string& path, std::string_view bytes) const;  // owned by the job's uid
};

class FakeBackend final : public backends::Backend {
 public:
  using Agent = std::function<backends::Outcome(FakeJobView&)>;
  // `name`: "" for "fake" in the process tier, which journals of the tests name, else the tier's.
  explicit FakeBackend(Agent agent, backends::Tier tier = backends::Tier::kProcess,
                       std::string name = "");

  std::string_view Name() const override { return name_; }
  backends::Tier GetTier() const override { return tier_; }
  const backends::Capabilities& Probe() override;
  Status Check(const backends::Plan& plan) override;
  Result<std::unique_ptr<backends::Job>> Prepare(backends::Plan plan) override;
  Result<backends::Recovered> Recover(const backends::LeftJob& left,
                                      std::chrono::milliseconds) override;

  // Knobs.
  std::atomic<bool> usable{true};
  Status start_answer;
  // Set: workspaces are overlays, mounted in a mount namespace of the session's thread.
  std::atomic<backends::OverlayWorkspace> overlay{backends::OverlayWorkspace::kNone};
  std::vector<backends::Leak> leaks;
  // Of Recover: what it finds left, and the uid that it says the job had.
  std::vector<backends::Leak> left;
  std::optional<uid_t> left_uid;
  std::atomic<int> prepared{0}, dismantled{0}, recovered{0};

 private:
  Agent agent_;
  backends::Tier tier_;
  std::string name_;
  std::mutex mutex_;  // guards what follows
  // For each setting of the knobs; never changed then, as sessions of several threads look at them.
  std::map<std::pair<bool, backends::OverlayWorkspace>, backends::Capabilities> capabilities_;
};

backends::Outcome Exited(int code);

}  // namespace writ::test
