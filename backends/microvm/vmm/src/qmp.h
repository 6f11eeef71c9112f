// Qmp: QEMU's machine protocol over a descriptor - one JSON object a line, commands answered in
// order, events at any time. What cannot be read ends the connection.
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "writ/backends/microvm/event_loop.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/json.h"

namespace writ::backends::microvm {

class Qmp {
 public:
  // `on_event`: name and data. Commands may be given at once; they wait for the greeting, where
  // that has not been taken by who had the connection before.
  enum class Greeting { kAwaited, kTaken };
  Qmp(EventLoop& loop, UniqueFd fd,
      std::function<void(std::string_view, const json::Value&)> on_event,
      Greeting greeting = Greeting::kAwaited, std::function<void()> on_gone = {});
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  // `fd` goes along with the command (getfd), where there is one.
  void Execute(const std::string& command, json::Object arguments, std::function<void(Status)> done,
               UniqueFd fd = {});
  // Ends it from within one of its own callbacks: nothing is told any more.
  void Abandon();
  // The connection for somebody else; empty where an answer is outstanding. Nothing is told any
  // more.
  UniqueFd GiveAway();

 private:
  void OnReady();
  bool OnLine(std::string_view line);
  void SendNext();
  void Close();

  struct Waiting {
    std::string line;
    UniqueFd fd;
    std::function<void(Status)> done;
  };
  EventLoop& loop_;
  UniqueFd fd_;
  EventLoop::WatchId watch_ = 0;
  std::function<void(std::string_view, const json::Value&)> on_event_;
  std::function<void()> on_gone_;  // the other end is
  std::string held_;
  std::deque<Waiting> waiting_;  // the first one is being answered where in_flight_
  bool greeted_ = false;
  bool in_flight_ = false;
};

}  // namespace writ::backends::microvm
