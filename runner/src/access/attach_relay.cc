#include "access/attach_relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "writ/base/unique_fd.h"

namespace writ::runner {
namespace {

constexpr std::chrono::hours kLong{24};  // its end wakes who waits

bool Readable(int fd) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, 0) > 0;
}

// The caller's side, in the calling thread: keys and sizes, until it goes or `over` is readable.
class Keys {
 public:
  using Send = std::function<Status(AccessWord, std::string_view)>;
  Keys(backends::TerminalInput* input, AccessChannel& channel, Send send)
      : input_(input), channel_(channel), send_(std::move(send)) {}

  void Run(int over) {
    for (;;) {
      pollfd fds[3] = {{channel_.fd(), POLLIN, 0},
                       {over, POLLIN, 0},
                       {pending_.empty() ? -1 : input_->fd(), POLLOUT, 0}};
      if (::poll(fds, 3, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      if (fds[2].revents != 0 && !Give()) return;
      if (fds[0].revents != 0 && !OnCaller()) return;
    }
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  bool OnCaller() {
    auto open = channel_.Fill();
    for (;;) {
      auto message = channel_.Next();
      if (!open || !message) return false;
      if (!*message) return *open;
      if (!OnMessage(**message)) return false;
    }
  }
  bool OnMessage(const AccessMessage& message) {
    if (message.word == AccessWord::kInputEnd) return true;
    if (input_ == nullptr) return message.word == AccessWord::kResize;
    if (message.word == AccessWord::kResize) {
      const std::size_t blank = message.bytes.find(' ');
      TerminalSize size;
      const char* end = message.bytes.data() + message.bytes.size();
      if (blank == std::string::npos ||
          std::from_chars(message.bytes.data(), message.bytes.data() + blank, size.rows).ec !=
              std::errc() ||
          std::from_chars(message.bytes.data() + blank + 1, end, size.columns).ec != std::errc() ||
          size.rows == 0 || size.columns == 0)
        return false;
      (void)input_->Resize(size).has_value();
      return true;
    }
    if (message.word != AccessWord::kInput || pending_.size() + message.bytes.size() > kInputWindow)
      return false;
    pending_ += message.bytes;
    return pending_.empty() || Give();
  }
  bool Give() {
    const ssize_t n = ::write(input_->fd(), pending_.data(), pending_.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    const std::size_t taken = n > 0 ? static_cast<std::size_t>(n) : pending_.size();
    if (n > 0) bytes_ += taken;
    pending_.erase(0, taken);
    return send_(AccessWord::kCredit, std::to_string(taken)).has_value();
  }

  backends::TerminalInput* input_;
  AccessChannel& channel_;
  Send send_;
  std::string pending_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

AttachEnd RelayAttached(LiveSpool& spool, std::uint64_t from, backends::TerminalInput* input,
                        AccessChannel& channel, int hurry_fd) {
  AttachEnd end;
  end.offset = from;
  UniqueFd over(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::mutex sending;  // one message at a time
  auto send = [&](AccessWord word, std::string_view bytes) {
    std::lock_guard lock(sending);
    return channel.Send(word, bytes, hurry_fd);
  };
  Keys keys(input, channel, send);
  std::stop_source stop;
  // Sends what is in the spool; ends with the session, or when it is stopped or nobody takes it.
  std::jthread sender([&] {
    for (;;) {
      const bool last = Readable(hurry_fd);
      auto piece = spool.Read(end.offset, kMaxAccessPiece);
      if (!piece) break;
      if (!piece->empty()) {
        if (!send(AccessWord::kOutput, *piece)) break;
        end.offset += piece->size();
        end.bytes_out += piece->size();
        continue;
      }
      if (last) {
        end.session_over = true;
        break;
      }
      if (stop.stop_requested()) break;
      spool.WaitPast(end.offset, kLong, stop.get_token());
    }
    ::eventfd_write(over.get(), 1);
  });
  keys.Run(over.get());
  // It has let go, and may not read what is on the way.
  if (!Readable(over.get())) ::shutdown(channel.fd(), SHUT_RDWR);
  stop.request_stop();
  sender.join();
  end.bytes_in = keys.bytes();
  return end;
}

}  // namespace writ::runner
