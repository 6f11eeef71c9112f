#include "vsock_dial.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace writ::backends::microvm {
namespace {

constexpr std::chrono::milliseconds kPause{10};
constexpr std::size_t kMaxAnswer = 16;  // "OK 4294967295\n"

bool IsOk(std::string_view line) {
  if (!line.starts_with("OK ") || line.size() < 4) return false;
  return std::all_of(line.begin() + 3, line.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

VsockDial::VsockDial(EventLoop& loop, std::string socket, unsigned port,
                     std::function<void(UniqueFd)> connected)
    : loop_(loop), socket_(std::move(socket)), port_(port), connected_(std::move(connected)) {
  watch_ = loop_.At(EventLoop::Clock::now(), [this] { Try(); });
}

VsockDial::~VsockDial() {
  loop_.Remove(watch_);
}

void VsockDial::Try() {
  answer_.clear();
  // Never waits: a monitor that takes no connection is tried again.
  fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!fd_ || socket_.size() >= sizeof address.sun_path) return Again();
  socket_.copy(address.sun_path, socket_.size());
  if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return Again();
  const std::string word = "CONNECT " + std::to_string(port_) + "\n";
  if (::send(fd_.get(), word.data(), word.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(word.size()))
    return Again();
  watch_ = loop_.Add(fd_.get(), POLLIN, [this](short) { OnReadable(); });
}

void VsockDial::Again() {
  loop_.Remove(watch_);
  fd_.reset();
  watch_ = loop_.At(EventLoop::Clock::now() + kPause, [this] { Try(); });
}

// Byte by byte: what follows the line is the guest's.
void VsockDial::OnReadable() {
  for (;;) {
    char c = 0;
    const ssize_t count = ::recv(fd_.get(), &c, 1, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) return Again();
    if (c == '\n') break;
    answer_ += c;
    if (answer_.size() > kMaxAnswer) return Again();
  }
  if (!IsOk(answer_)) return Again();
  loop_.Remove(watch_);
  auto connected = std::move(connected_);
  connected(std::move(fd_));
}

}  // namespace writ::backends::microvm
