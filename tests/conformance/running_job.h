// RunningJob: a job that is being watched by a thread of its own, so that a test can put things
// beside it. Ends it, and tells how that went.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "conformance/job_fixture.h"

namespace writ::test {

class RunningJob {
 public:
  RunningJob(backends::Backend& backend, backends::Plan plan);
  ~RunningJob();

  // Until its output holds `text`, or it has ended without.
  bool AwaitOutput(const std::string& text);
  // Cancels what has not ended, waits and dismantles.
  const JobRun& End();
  // Waits for its own end and dismantles.
  const JobRun& Wait();
  backends::Job& job() { return *job_; }
  const Status& started() const { return run_.started; }

 private:
  class Sink;
  JobRun run_;
  std::unique_ptr<backends::Job> job_;
  std::stop_source stop_;
  std::mutex mutex_;  // guards the two below
  std::condition_variable changed_;
  std::string seen_;
  bool over_ = false;
  bool dismantled_ = false;
  std::jthread watcher_;
};

// What an entry said, and how it ended. Gives `input` to it and closes that.
struct EntryRun {
  Status entered;
  backends::EntryEnd end;
  std::string out;
  std::string err;
};
EntryRun Enter(backends::Job& job, backends::EntryPlan plan, const std::string& input = {});
backends::EntryPlan ShellEntry(const std::string& script);
// Reads the entry's output until it holds `text`; false: it ended without.
bool AwaitEntryOutput(backends::Entry& entry, std::string& out, const std::string& text);
// Until its end is known.
backends::EntryEnd AwaitEntryEnd(backends::Entry& entry);
void WriteToEntry(int fd, const std::string& bytes);

}  // namespace writ::test
