#include "monitor_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kConsoleBytes = 8 * 1024;  // the last ones are kept
constexpr std::size_t kMaxText = 300;
constexpr std::chrono::seconds kKillBound{10};

}  // namespace

Result<SocketPair> MakeStreamPair() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return SysError(errno, "microvm.socketpair", "cannot make a socket pair");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string Printable(std::string_view text) {
  std::string out(text.substr(0, kMaxText));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = ' ';
  return out;
}

Status MonitorProcess::Run(const Start& start, std::function<void()> on_exit) {
  WRIT_ASSIGN(SocketPair console, MakeStreamPair());
  SpawnOptions spawn;
  spawn.path = start.program;
  spawn.argv = start.argv;
  spawn.env = start.env;
  spawn.cwd = start.cwd;
  spawn.fds = start.fds;
  for (int fd : start.console_fds) spawn.fds.push_back({console.theirs.get(), fd});
  // Ended by its owner alone; a signal to the whole tree is meant for the job in it.
  spawn.blocked_signals = {SIGTERM, SIGINT, SIGHUP};
  WRIT_ASSIGN(child_, Child::Spawn(spawn));
  console_ = std::move(console.ours);
  ::fcntl(console_.get(), F_SETFL, O_NONBLOCK);
  console_watch_ = loop_.Add(console_.get(), POLLIN, [this](short) { ReadConsole(); });
  exit_watch_ = loop_.Add(child_.pidfd(), POLLIN, [this, told = std::move(on_exit)](short) {
    if (auto status = child_.Wait(std::chrono::milliseconds(0))) status_ = *status;
    while (ReadConsole()) continue;
    loop_.Remove(console_watch_);
    loop_.Remove(exit_watch_);
    told();
  });
  return {};
}

void MonitorProcess::Kill() {
  loop_.Remove(console_watch_);
  loop_.Remove(exit_watch_);
  if (!child_.running()) return;
  (void)child_.Signal(SIGKILL).has_value();
  (void)child_.Wait(kKillBound).has_value();
}

bool MonitorProcess::ReadConsole() {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::read(console_.get(), buffer.data(), buffer.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count <= 0) {
    loop_.SetEvents(console_watch_, 0);
    return false;
  }
  said_.append(buffer.data(), static_cast<std::size_t>(count));
  if (said_.size() > 2 * kConsoleBytes) said_.erase(0, said_.size() - kConsoleBytes);
  return true;
}

MachineEnd MonitorProcess::End(const std::string& guest_ended) const {
  MachineEnd end;
  const auto panic = said_.find("Kernel panic");
  const std::string last = LastLine();
  if (panic != std::string::npos) {
    end.kind = MachineEnd::Kind::kPanicked;
    end.text = "the guest's kernel panicked: " +
               Printable(said_.substr(panic, said_.find_first_of("\r\n", panic) - panic));
  } else if (!guest_ended.empty()) {
    end.kind = MachineEnd::Kind::kPoweredOff;
    end.text = "the guest ended its machine (" + Printable(guest_ended) + ")";
    if (!last.empty()) end.text += "; its console: " + last;
  } else {
    end.text = "the machine's monitor ended";
    if (status_)
      end.text += status_->signalled ? " by signal " + std::to_string(status_->signal)
                                     : " with " + std::to_string(status_->code);
    if (!last.empty()) end.text += ": " + last;
  }
  return end;
}

std::string MonitorProcess::LastLine() const {
  std::string_view text = said_;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  return Printable(text.substr(text.find_last_of("\r\n") + 1));
}

}  // namespace writ::backends::microvm
