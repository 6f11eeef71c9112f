// Clone: one clone as its owner sees it: the control connection (words.h), and the thread behind
// it. In the server's loop thread, but for what the thread posts.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "clone_thread.h"
#include "served_snapshot.h"
#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/pages/serving.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

class Clone {
 public:
  // `over` is called once, when nothing of the clone runs any more and it may be let go; not from
  // within a call of its own.
  Clone(EventLoop& loop, UniqueFd control, uid_t vmm_uid, std::shared_ptr<ServedSnapshot> snapshot,
        const ServingOptions& options, std::atomic<unsigned>& spinning, std::function<void()> over);
  ~Clone();
  Clone(const Clone&) = delete;
  Clone& operator=(const Clone&) = delete;

 private:
  void OnControl();
  Status OnWord(std::string_view bytes, std::vector<UniqueFd> fds);
  Status StartServing(const Serve& serve, std::vector<UniqueFd> fds);
  void OnAttached(Attached attached, UniqueFd pidfd);
  void OnEnded(const Status& status);
  void Fail(const Error& error);
  void End();
  void StopThread();
  void Finish();
  void Tell(const ClonesWord& word);
  FaultCounters Read() const;

  EventLoop& loop_;
  const UniqueFd control_;
  const uid_t vmm_uid_;
  const std::shared_ptr<ServedSnapshot> snapshot_;
  const ServingOptions options_;
  std::atomic<unsigned>& spinning_;
  const std::function<void()> over_;

  EventLoop::WatchId control_watch_ = 0;
  EventLoop::WatchId pidfd_watch_ = 0;
  EventLoop::WatchId again_ = 0;
  UniqueFd pidfd_;
  std::unique_ptr<CloneThread> thread_;
  bool running_ = false;  // the thread has not ended
  bool failed_ = false;
  bool ending_ = false;
  bool vmm_ended_ = false;
};

}  // namespace writ::backends::microvm::pages
