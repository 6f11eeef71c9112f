// MonitorProcess: a monitor as a child of ours, the end of what its guest's console says, and its
// end.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/base/child.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};
Result<SocketPair> MakeStreamPair();

// At most 300 bytes, printable: what comes from a guest or its monitor, on an operator's screen.
std::string Printable(std::string_view text);

class MonitorProcess {
 public:
  explicit MonitorProcess(EventLoop& loop) : loop_(loop) {}
  ~MonitorProcess() { Kill(); }
  MonitorProcess(const MonitorProcess&) = delete;
  MonitorProcess& operator=(const MonitorProcess&) = delete;

  struct Start {
    std::string program;
    std::vector<std::string> argv;
    std::vector<std::string> env;
    std::string cwd = "/";
    std::vector<std::pair<int, int>> fds;  // as SpawnOptions::fds
    std::vector<int> console_fds;          // where the child finds what goes to the console
  };
  // `on_exit` is called once, unless Kill was first; End says how.
  Status Run(const Start& start, std::function<void()> on_exit);
  void Kill();
  pid_t pid() const { return child_.pid(); }
  // After on_exit. `guest_ended`: what the monitor said of a guest that ended itself, else empty.
  MachineEnd End(const std::string& guest_ended) const;
  // The monitor ended as on a guest's own wish.
  bool exited_well() const { return status_ && !status_->signalled && status_->code == 0; }

 private:
  bool ReadConsole();  // false: there is nothing more now
  std::string LastLine() const;

  EventLoop& loop_;
  UniqueFd console_;
  std::string said_;  // the last of it
  EventLoop::WatchId console_watch_ = 0;
  EventLoop::WatchId exit_watch_ = 0;
  std::optional<ExitStatus> status_;
  Child child_;
};

}  // namespace writ::backends::microvm
