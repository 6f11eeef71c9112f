#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <utility>

#include "qmp.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/base/child.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kConsoleBytes = 8 * 1024;  // the last ones are kept
constexpr std::size_t kMaxText = 300;
constexpr std::chrono::seconds kKillBound{10};

Result<SocketPair> MakeStreamPair() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return SysError(errno, "microvm.socketpair", "cannot make a socket pair");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string Printable(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, kMaxText))
    out += static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f ? c : ' ';
  return out;
}

class Qemu final : public Vmm {
 public:
  explicit Qemu(EventLoop& loop) : loop_(loop) {}
  ~Qemu() override { Kill(); }

  Status Boot(const MachineSpec& spec, std::function<void(const MachineEnd&)> on_end) override {
    if (booted_)
      return Error{ErrorKind::kConflict, "microvm.state", "the machine was booted before"};
    booted_ = true;
    WRIT_ASSIGN(SocketPair control, MakeStreamPair());
    WRIT_ASSIGN(SocketPair channel, MakeStreamPair());
    WRIT_ASSIGN(SocketPair console, MakeStreamPair());
    SpawnOptions spawn;
    spawn.path = spec.vmm;
    spawn.argv = QemuCommand(spec);
    spawn.env = {"LANG=C"};
    spawn.fds = {{control.second.get(), kQemuControlFd},
                 {channel.second.get(), kQemuChannelFd},
                 {console.second.get(), kQemuConsoleFd},
                 {console.second.get(), 2}};
    // Ended by its owner alone; a signal to the whole tree is meant for the job in it.
    spawn.blocked_signals = {SIGTERM, SIGINT, SIGHUP};
    WRIT_ASSIGN(child_, Child::Spawn(spawn));
    on_end_ = std::move(on_end);
    channel_ = std::move(channel.first);
    console_ = std::move(console.first);
    ::fcntl(console_.get(), F_SETFL, O_NONBLOCK);
    console_watch_ = loop_.Add(console_.get(), POLLIN, [this](short) { ReadConsole(); });
    exit_watch_ = loop_.Add(child_.pidfd(), POLLIN, [this](short) { OnExit(); });
    qmp_ = std::make_unique<Qmp>(
        loop_, std::move(control.first),
        [this](std::string_view event, const json::Value& data) { OnEvent(event, data); });
    return {};
  }

  UniqueFd TakeChannel() override { return std::move(channel_); }
  void Pause(std::function<void(Status)> done) override { Tell("stop", std::move(done)); }
  void Resume(std::function<void(Status)> done) override { Tell("cont", std::move(done)); }

  void Kill() override {
    Forget();
    if (!child_.running()) return;
    (void)child_.Signal(SIGKILL).has_value();
    (void)child_.Wait(kKillBound).has_value();
  }

 private:
  void Tell(const std::string& command, std::function<void(Status)> done) {
    if (!qmp_)
      return done(Error{ErrorKind::kConflict, "microvm.state", "the machine does not run"});
    qmp_->Execute(command, std::move(done));
  }

  void Forget() {
    loop_.Remove(console_watch_);
    loop_.Remove(exit_watch_);
    qmp_.reset();
    on_end_ = nullptr;
  }

  // False: there is nothing more.
  bool ReadConsole() {
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

  void OnEvent(std::string_view event, const json::Value& data) {
    if (event != "SHUTDOWN") return;
    const json::Value* guest = data.Find("guest");
    if (guest != nullptr && guest->if_bool() != nullptr && *guest->if_bool())
      guest_ended_ = data.FindString("reason").value_or("guest");
  }

  void OnExit() {
    auto status = child_.Wait(std::chrono::milliseconds(0));
    while (ReadConsole()) continue;
    MachineEnd end;
    const auto panic = said_.find("Kernel panic");
    const std::string last = LastLine();
    if (panic != std::string::npos) {
      end.kind = MachineEnd::Kind::kPanicked;
      end.text = "the guest's kernel panicked: " +
                 Printable(said_.substr(panic, said_.find_first_of("\r\n", panic) - panic));
    } else if (!guest_ended_.empty()) {
      end.kind = MachineEnd::Kind::kPoweredOff;
      end.text = "the guest ended its machine (" + Printable(guest_ended_) + ")";
      if (!last.empty()) end.text += "; its console: " + last;
    } else {
      end.text = "the machine's monitor ended";
      if (status && *status)
        end.text += (*status)->signalled ? " by signal " + std::to_string((*status)->signal)
                                         : " with " + std::to_string((*status)->code);
      if (!last.empty()) end.text += ": " + last;
    }
    auto told = std::move(on_end_);
    Forget();
    if (told) told(end);
  }

  std::string LastLine() const {
    std::string_view text = said_;
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
      text.remove_suffix(1);
    return Printable(text.substr(text.find_last_of("\r\n") + 1));
  }

  EventLoop& loop_;
  bool booted_ = false;
  UniqueFd channel_;
  UniqueFd console_;
  std::string said_;         // on the console, the last of it
  std::string guest_ended_;  // QEMU's reason
  EventLoop::WatchId console_watch_ = 0;
  EventLoop::WatchId exit_watch_ = 0;
  std::function<void(const MachineEnd&)> on_end_;
  std::unique_ptr<Qmp> qmp_;
  Child child_;
};

}  // namespace

std::unique_ptr<Vmm> MakeQemu(EventLoop& loop) {
  return std::make_unique<Qemu>(loop);
}

}  // namespace writ::backends::microvm
