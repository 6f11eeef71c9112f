#include "writ/backends/microvm/event_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace writ::backends::microvm {

EventLoop::EventLoop() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) std::abort();
}

EventLoop::WatchId EventLoop::Add(int fd, short events, std::function<void(short)> ready) {
  watches_[++last_] = Watch{fd, events, std::move(ready)};
  return last_;
}

void EventLoop::SetEvents(WatchId id, short events) {
  auto it = watches_.find(id);
  if (it != watches_.end()) it->second.events = events;
}

void EventLoop::Remove(WatchId id) {
  watches_.erase(id);
  timers_.erase(id);
}

EventLoop::WatchId EventLoop::At(Clock::time_point when, std::function<void()> due) {
  timers_[++last_] = Timer{when, std::move(due)};
  return last_;
}

void EventLoop::Post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  ::eventfd_write(wake_.get(), 1);
}

void EventLoop::RunPosted() {
  eventfd_t ignored = 0;
  (void)::eventfd_read(wake_.get(), &ignored);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
  }
  for (auto& one : work) one();
}

void EventLoop::RunTimers() {
  const auto now = Clock::now();
  std::vector<WatchId> due;
  for (const auto& [id, timer] : timers_)
    if (timer.when <= now) due.push_back(id);
  for (WatchId id : due) {
    auto it = timers_.find(id);
    if (it == timers_.end()) continue;
    auto call = std::move(it->second.due);
    timers_.erase(it);
    call();
  }
}

int EventLoop::Timeout() const {
  if (timers_.empty()) return -1;
  auto first = Clock::time_point::max();
  for (const auto& [id, timer] : timers_) first = std::min(first, timer.when);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
}

void EventLoop::Run() {
  std::vector<pollfd> fds;
  std::vector<WatchId> ids;
  while (!stopped_) {
    fds.assign(1, pollfd{wake_.get(), POLLIN, 0});
    ids.assign(1, 0);
    for (const auto& [id, watch] : watches_) {
      if (watch.events == 0) continue;
      fds.push_back({watch.fd, watch.events, 0});
      ids.push_back(id);
    }
    const int ready = ::poll(fds.data(), static_cast<nfds_t>(fds.size()), Timeout());
    if (ready > 0) {
      if (fds[0].revents != 0) RunPosted();
      for (std::size_t i = 1; i < fds.size() && !stopped_; ++i) {
        if (fds[i].revents == 0) continue;
        auto it = watches_.find(ids[i]);
        if (it == watches_.end() || it->second.events == 0) continue;
        auto call = it->second.ready;  // a copy: the callback may remove its own watch
        call(fds[i].revents);
      }
    }
    if (!stopped_) RunTimers();
  }
  stopped_ = false;
}

}  // namespace writ::backends::microvm
