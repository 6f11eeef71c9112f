// WarmUpRun: one command of an operator's, as root in the guest, before its machine becomes a
// snapshot.
//
// It is held by nothing but the machine: what it may harm is the guest, which has no job yet. What
// it leaves running is ended with it - as pid 1, everything but us -, so that a clone begins with
// what was written, and with no process or connection of the source's.
#pragma once

#include <functional>
#include <string>

#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/messages.h"
#include "writ/base/child.h"

namespace writ::backends::microvm {

class WarmUpRun {
 public:
  explicit WarmUpRun(EventLoop& loop) : loop_(loop) {}
  ~WarmUpRun();
  WarmUpRun(const WarmUpRun&) = delete;
  WarmUpRun& operator=(const WarmUpRun&) = delete;

  // `done` is told once, from the loop.
  Status Start(const WarmUp& command, std::function<void(const WarmedUp&)> done);

 private:
  bool ReadSome();
  void OnExit();

  EventLoop& loop_;
  Child child_;
  UniqueFd output_;
  EventLoop::WatchId output_watch_ = 0;
  EventLoop::WatchId exit_watch_ = 0;
  WarmedUp warmed_;
  std::function<void(const WarmedUp&)> done_;
};

}  // namespace writ::backends::microvm
