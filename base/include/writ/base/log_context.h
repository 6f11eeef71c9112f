// RunContext: which run, step and trace the log lines of a thread belong to.
//
// Every line that a thread writes while an InRun of its lives carries `run`, `step` and, where the
// run has one, `trace`, unless the line says them itself. The threads of one run share one context;
// a thread that a run starts takes it over with CurrentRun().
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace writ::log {

class RunContext {
 public:
  RunContext(std::string run, std::string trace) : run_(std::move(run)), trace_(std::move(trace)) {}
  // `step` outlives every context: a name out of a table.
  void SetStep(const char* step) { step_.store(step, std::memory_order_relaxed); }
  const std::string& run() const { return run_; }
  const std::string& trace() const { return trace_; }
  std::string_view step() const { return step_.load(std::memory_order_relaxed); }

 private:
  std::string run_;
  std::string trace_;
  std::atomic<const char*> step_{""};
};

class InRun {
 public:
  explicit InRun(std::shared_ptr<const RunContext> context);  // null: lines without a run
  ~InRun();
  InRun(const InRun&) = delete;
  InRun& operator=(const InRun&) = delete;

 private:
  std::shared_ptr<const RunContext> before_;
};

// Of this thread; null outside a run.
std::shared_ptr<const RunContext> CurrentRun();

}  // namespace writ::log
