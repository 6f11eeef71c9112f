// JobThread: one job from its order to the check that all is gone, on a thread of its own, because
// Backend and Job block.
//
// Made, told and destroyed by the loop's thread; every callback is run there, through the loop.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "layered_workspace.h"
#include "writ/backends/backend.h"
#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/messages.h"

namespace writ::backends::microvm {

struct JobPlaces {
  std::string inputs;
  std::string base;
  std::string scratch;
  std::uint64_t job_memory = 0;
  std::function<Status(bool on_base)> mount_inputs = {};  // may be empty
  // The job is a step of a recipe. `image`: the root that it changes.
  std::optional<RootJob> root_job = {};
  std::string image = {};
};

class JobThread {
 public:
  struct Events {
    std::function<void(UniqueFd listener)> on_prepared;  // empty: no proxy
    // Just before Started; what is put beside the job outlives neither this nor its end. With the
    // way to its terminal, where it has one.
    std::function<void(std::shared_ptr<Job>, std::shared_ptr<TerminalInput>)> on_running;
    std::function<void(const GuestWord&)> on_word;  // Started, Refused, Ended
  };
  JobThread(EventLoop& loop, Backend& backend, JobPlaces places, JobOrder order, Events events);
  ~JobThread();  // ends the job

  // The job's output, once each; empty the second time.
  UniqueFd TakeStdout() { return std::move(out_.read_end); }
  UniqueFd TakeStderr() { return std::move(err_.read_end); }

  void Start(Go go);
  void Cancel();
  void Kill();
  bool ended() const { return told_end_; }
  // After the end. kConflict before it.
  Result<UniqueFd> OpenChanges() const;
  // The layer that the running job writes to. kConflict after the end.
  Result<UniqueFd> OpenUpper() const;

 private:
  void Run();
  Result<Ended> RunJob();
  Result<Ended> RunStep();
  Status MountWorkspace();
  Status TakeCheckpoint() const;
  Result<Plan> MakePlan();
  Status ShowTrees(const std::vector<std::string>& trees, const std::string& of, Plan& plan) const;
  void Tell(GuestWord word);
  // The environment, or nothing where the job was given up.
  std::optional<Go> AwaitGo();

  EventLoop& loop_;
  Backend& backend_;
  const JobPlaces places_;
  JobOrder order_;
  Events events_;  // the loop's thread only
  Pipe out_;
  Pipe err_;
  std::optional<LayeredWorkspace> workspace_;  // the thread's until it has told the end
  std::stop_source stop_;
  std::stop_source kill_;
  bool told_end_ = false;                                       // the loop's thread only
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // the same

  std::mutex mutex_;  // guards go_ and given_up_
  std::condition_variable wake_;
  std::optional<Go> go_;
  bool given_up_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace writ::backends::microvm
