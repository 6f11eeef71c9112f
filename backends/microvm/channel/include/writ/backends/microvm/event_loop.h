// EventLoop: poll(2) over descriptors, one clock and what other threads hand in.
//
// One thread runs it; only Post may be called from others. A callback may add and remove watches,
// itself included. A watch with no events is not polled at all: an end-of-file that nobody wants to
// hear of does not spin.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using WatchId = std::uint64_t;  // 0: none

  EventLoop();  // aborts where the kernel gives no descriptor
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // `fd` is borrowed until Remove.
  WatchId Add(int fd, short events, std::function<void(short)> ready);
  void SetEvents(WatchId id, short events);
  void Remove(WatchId id);
  // Called once, unless removed before.
  WatchId At(Clock::time_point when, std::function<void()> due);

  // From any thread: runs `work` in the loop's.
  void Post(std::function<void()> work);

  // Until Stop is called, be it before; may be run again.
  void Run();
  void Stop() { stopped_ = true; }

 private:
  struct Watch {
    int fd = -1;
    short events = 0;
    std::function<void(short)> ready;
  };
  struct Timer {
    Clock::time_point when;
    std::function<void()> due;
  };
  void RunPosted();
  void RunTimers();
  int Timeout() const;

  UniqueFd wake_;  // eventfd
  WatchId last_ = 0;
  bool stopped_ = false;
  std::map<WatchId, Watch> watches_;
  std::map<WatchId, Timer> timers_;
  std::mutex mutex_;  // guards posted_
  std::vector<std::function<void()>> posted_;
};

}  // namespace writ::backends::microvm
