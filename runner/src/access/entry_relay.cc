#include "access/entry_relay.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>

namespace writ::runner {
namespace {

// Signals that a caller may pass on: what a terminal or a service manager would send.
constexpr int kSignals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGKILL, SIGUSR1, SIGUSR2, SIGCONT};

constexpr std::uint64_t kMostInAPipe = 1 << 20;

std::optional<int> Number(std::string_view text) {
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Error Gone() {
  return Error{ErrorKind::kUnavailable, "access.gone", "the caller has gone"};
}
Error BadMessage() {
  return Error{ErrorKind::kInvalid, "access.bad_message", "the caller cannot be understood"};
}

}  // namespace

Result<backends::EntryEnd> EntryRelay::Run() {
  for (;;) {
    const bool ended = entry_.End().has_value();
    if (!ended) {
      const bool has_input = input_open_ && !pending_.empty();
      pollfd fds[6] = {{channel_.fd(), POLLIN, 0},
                       {entry_.event_fd(), POLLIN, 0},
                       {out_open_ ? entry_.output() : -1, POLLIN, 0},
                       {err_open_ ? entry_.errors() : -1, POLLIN, 0},
                       {has_input ? entry_.input() : -1, POLLOUT, 0},
                       {hurry_fd_, POLLIN, 0}};
      if (::poll(fds, 6, -1) < 0 && errno != EINTR)
        return SysError(errno, "access.relay", "cannot wait for the session");
      if (fds[0].revents != 0) WRIT_TRY(OnCaller());
      if (fds[4].revents != 0) WRIT_TRY(GiveInput());
      if (fds[2].revents != 0)
        WRIT_TRY(TakeOutput(entry_.output(), AccessWord::kOutput, out_open_));
      if (fds[3].revents != 0)
        WRIT_TRY(TakeOutput(entry_.errors(), AccessWord::kErrors, err_open_));
      if (fds[5].revents == 0 || entry_.End()) continue;
      return backends::EntryEnd{std::nullopt, "the session ended before it"};
    }
    WRIT_TRY(DrainOutput());
    return *entry_.End();
  }
}

// What it wrote is in the pipes by now; whoever it left behind may write on, and is not waited for:
// no more is taken than a pipe can hold.
Status EntryRelay::DrainOutput() {
  for (auto [fd, word, open] : {std::tuple{entry_.output(), AccessWord::kOutput, &out_open_},
                                std::tuple{entry_.errors(), AccessWord::kErrors, &err_open_}}) {
    const std::uint64_t most = bytes_out_ + kMostInAPipe;
    for (pollfd ready{fd, POLLIN, 0};
         fd >= 0 && *open && bytes_out_<most&& ::poll(&ready, 1, 0)> 0;)
      WRIT_TRY(TakeOutput(fd, word, *open));
  }
  return {};
}

Status EntryRelay::TakeOutput(int fd, AccessWord word, bool& open) {
  char piece[kMaxAccessPiece];
  const ssize_t n = ::read(fd, piece, sizeof piece);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return {};
  if (n <= 0) {
    open = false;
    return {};
  }
  const std::string_view bytes(piece, static_cast<std::size_t>(n));
  bytes_out_ += bytes.size();
  if (look_output_ && word == AccessWord::kOutput) WRIT_TRY(look_output_(bytes));
  return channel_.Send(word, bytes, hurry_fd_);
}

Status EntryRelay::OnCaller() {
  WRIT_ASSIGN(const bool open, channel_.Fill());
  for (;;) {
    WRIT_ASSIGN(std::optional<AccessMessage> message, channel_.Next());
    if (!message) return open ? Status() : Status(Gone());
    WRIT_TRY(OnMessage(*message));
  }
}

Status EntryRelay::OnMessage(const AccessMessage& message) {
  switch (message.word) {
    case AccessWord::kInput:
      if (input_over_ || pending_.size() + message.bytes.size() > kInputWindow) return BadMessage();
      if (look_input_) WRIT_TRY(look_input_(message.bytes));
      pending_ += message.bytes;
      return GiveInput();
    case AccessWord::kInputEnd:
      input_over_ = true;
      return GiveInput();
    case AccessWord::kResize: {
      const std::size_t blank = message.bytes.find(' ');
      if (blank == std::string::npos) return BadMessage();
      const auto rows = Number(std::string_view(message.bytes).substr(0, blank));
      const auto columns = Number(std::string_view(message.bytes).substr(blank + 1));
      if (!rows || !columns || *rows < 1 || *rows > 65535 || *columns < 1 || *columns > 65535)
        return BadMessage();
      (void)entry_.Resize({static_cast<std::uint16_t>(*rows), static_cast<std::uint16_t>(*columns)})
          .has_value();
      return {};
    }
    case AccessWord::kSignal: {
      const auto signal = Number(message.bytes);
      for (int allowed : kSignals)
        if (signal == allowed) return entry_.Signal(allowed);
      return BadMessage();
    }
    default:
      return BadMessage();
  }
}

Status EntryRelay::GiveInput() {
  std::size_t taken = 0;
  while (input_open_ && taken < pending_.size()) {
    const ssize_t n = ::write(entry_.input(), pending_.data() + taken, pending_.size() - taken);
    if (n > 0) taken += static_cast<std::size_t>(n);
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0 && errno == EAGAIN) break;
    input_open_ = false;  // it reads no more
  }
  bytes_in_ += taken;
  // What nobody reads any more is taken too, so that its sender comes to its end.
  const std::size_t credit = input_open_ ? taken : pending_.size();
  pending_.erase(0, credit);
  if (credit > 0) WRIT_TRY(channel_.Send(AccessWord::kCredit, std::to_string(credit), hurry_fd_));
  if (input_over_ && pending_.empty() && input_open_) {
    input_open_ = false;
    entry_.CloseInput();
  }
  return {};
}

}  // namespace writ::runner
