// LeasedWorld: a runner with a fake backend against a fake plane that offers runs and keeps leases.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "e2e/support/runner_world.h"

namespace writ::test {

// A gate that a job of a test waits at, cancelled or opened, and a test at the job's start.
class JobGate {
 public:
  // In the job: says that it runs, and waits. False: it was stopped.
  bool Pass(const std::stop_token& stop);
  void Open();
  void Close();                                   // for jobs that come
  [[nodiscard]] bool WaitForStart(int jobs = 1);  // bounded

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  int started_ = 0;
  bool open_ = false;
};

// Polls, bounded.
bool Eventually(const std::function<bool()>& so);

class LeasedWorld : public ::testing::Test {
 protected:
  LeasedWorld();
  protocol::Contract Draft(const std::string& run_id);
  // An agent that waits at the gate and exits 0, or was cancelled.
  FakeBackend& AddWaitingAgent();
  // The receipt of a run that ended, checked with its chain and both signatures.
  void ExpectOneGoodReceipt(const std::string& run_id, std::string_view status);
  std::string LastEvent(const std::string& run_id, std::string_view member = "type");
  bool HasFinding(const std::string& run_id, std::string_view code);
  // A receipt that the plane did not take: why (empty: none is kept), and its bundle.
  std::string ParkedCode(const std::string& run_id) const;
  json::Value ParkedBundle(const std::string& run_id) const;

  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
  JobGate gate_;
};

}  // namespace writ::test
