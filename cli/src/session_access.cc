#include "session_access.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <vector>

#include "context.h"

namespace writ::cli {

using runner::AccessChannel;
using runner::AccessMessage;
using runner::AccessWord;
using std::chrono::steady_clock;

namespace {

Error Cut() {
  return Error{ErrorKind::kUnavailable, "access.cut", "the runner ended the connection",
               "writ runner status"};
}

// Waits for a whole message.
Result<AccessMessage> Await(AccessChannel& channel) {
  for (;;) {
    WRIT_ASSIGN(const bool open, channel.Fill());
    WRIT_ASSIGN(std::optional<AccessMessage> message, channel.Next());
    if (message) return std::move(*message);
    if (!open) return Cut();
    pollfd ready{channel.fd(), POLLIN, 0};
    ::poll(&ready, 1, -1);
  }
}

std::vector<std::string> StateDirs(const Context& context, const std::string& name) {
  const std::string runners = context.dir + "/runner";
  if (!name.empty()) return {runners + "/" + name};
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(runners, error))
    if (entry.is_directory(error)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

class Carrier {
 public:
  Carrier(AccessChannel& channel, const SessionStreams& streams)
      : channel_(channel), streams_(streams) {}

  Result<SessionEnding> Run(std::optional<std::chrono::milliseconds> limit) {
    WRIT_TRY(BlockSignals());
    std::optional<steady_clock::time_point> bound;
    if (limit) bound = steady_clock::now() + *limit;
    if (streams_.input < 0) Tell(AccessWord::kInputEnd, {});
    for (;;) {
      WRIT_ASSIGN(std::optional<SessionEnding> ending, TakeMessages());
      if (ending) return std::move(*ending);
      const bool reads = streams_.input >= 0 && !input_over_ && window_ > 0;
      pollfd fds[3] = {{channel_.fd(), POLLIN, 0},
                       {reads ? streams_.input : -1, POLLIN, 0},
                       {signals_.get(), POLLIN, 0}};
      int wait = -1;
      if (bound) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(*bound - steady_clock::now()).count();
        if (left <= 0)
          return Error{ErrorKind::kUnavailable, "access.timeout",
                       "it took longer than --timeout and was ended"};
        wait = static_cast<int>(std::min<std::int64_t>(left, 1 << 30));
      }
      if (::poll(fds, 3, wait) < 0 && errno != EINTR)
        return SysError(errno, "cli.poll", "cannot wait for the session");
      if (fds[2].revents != 0) {
        if (OnSignal()) return SessionEnding{.left = true, .done = {}};
      }
      if (fds[1].revents != 0) {
        if (SendInput()) return SessionEnding{.left = true, .done = {}};
      }
    }
  }

 private:
  Status BlockSignals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    if (streams_.resizes) sigaddset(&wanted, SIGWINCH);
    if (streams_.signals != SessionStreams::Signals::kAsAlways)
      for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&wanted, signal);
    if (::sigprocmask(SIG_BLOCK, &wanted, nullptr) != 0)
      return SysError(errno, "cli.signals", "cannot block signals");
    signals_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return SysError(errno, "cli.signals", "cannot make a signal descriptor");
    return {};
  }

  // True: it is one to leave at.
  bool OnSignal() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo != SIGWINCH) {
        if (streams_.signals == SessionStreams::Signals::kLeave) return true;
        Tell(AccessWord::kSignal, std::to_string(info.ssi_signo));
      } else if (auto size = SizeOfTerminal(STDIN_FILENO)) {
        Tell(AccessWord::kResize, std::to_string(size->rows) + " " + std::to_string(size->columns));
      }
    }
    return false;
  }

  // True: the leave keys were typed.
  bool SendInput() {
    char piece[16 * 1024];
    const ssize_t n =
        ::read(streams_.input, piece,
               static_cast<std::size_t>(std::min<std::uint64_t>(window_, sizeof piece)));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (n <= 0) {
      input_over_ = true;
      SendKeys(held_);
      Tell(AccessWord::kInputEnd, {});
      return false;
    }
    std::string bytes;
    for (char c : std::string_view(piece, static_cast<std::size_t>(n))) {
      if (streams_.leave_keys.empty()) {
        bytes.push_back(c);
        continue;
      }
      if (c != streams_.leave_keys[held_.size()]) {  // not them after all
        bytes += held_;
        held_.clear();
      }
      if (c != streams_.leave_keys[held_.size()]) {
        bytes.push_back(c);
      } else {
        held_.push_back(c);
        if (held_ == streams_.leave_keys) {
          SendKeys(bytes);
          return true;
        }
      }
    }
    SendKeys(bytes);
    return false;
  }

  void SendKeys(std::string_view bytes) {
    if (bytes.empty()) return;
    window_ -= std::min<std::uint64_t>(window_, bytes.size());
    Tell(AccessWord::kInput, bytes);
  }

  // The other side may have said its last word and be gone: how it ended is read, not guessed.
  void Tell(AccessWord word, std::string_view bytes) {
    (void)channel_.Send(word, bytes).has_value();
  }

  Result<std::optional<SessionEnding>> TakeMessages() {
    WRIT_ASSIGN(const bool open, channel_.Fill());
    for (;;) {
      WRIT_ASSIGN(std::optional<AccessMessage> message, channel_.Next());
      if (!message && !open) return Cut();
      if (!message) return std::optional<SessionEnding>();
      switch (message->word) {
        case AccessWord::kOutput:
          if (streams_.output) WRIT_TRY(streams_.output(message->bytes));
          break;
        case AccessWord::kErrors:
          if (streams_.errors) WRIT_TRY(streams_.errors(message->bytes));
          break;
        case AccessWord::kCredit: {
          std::uint64_t credit = 0;
          std::from_chars(message->bytes.data(), message->bytes.data() + message->bytes.size(),
                          credit);
          window_ = std::min(runner::kInputWindow, window_ + credit);
          break;
        }
        case AccessWord::kDone: {
          WRIT_ASSIGN(json::Value done, json::Parse(message->bytes, {}));
          return std::optional<SessionEnding>(SessionEnding{false, std::move(done)});
        }
        case AccessWord::kFailed:
          return runner::AccessFailure(message->bytes);
        default:
          return Cut();
      }
    }
  }

  AccessChannel& channel_;
  const SessionStreams& streams_;
  UniqueFd signals_;
  std::uint64_t window_ = runner::kInputWindow;
  bool input_over_ = false;
  std::string held_;  // a beginning of the leave keys
};

}  // namespace

Result<SessionAnswer> AskForSession(const Context& context, const std::string& name,
                                    const runner::AccessRequest& request) {
  const std::vector<std::string> dirs = StateDirs(context, name);
  Error last{ErrorKind::kNotFound, "access.no_runner",
             "no runner of " + context.dir + " lets anybody into its sessions",
             "this works on the runner's own machine, where its operator granted it: "
             "grants.session in runner.json, or `writ run --allow-access`"};
  bool asked = false;
  for (const std::string& dir : dirs) {
    auto channel = runner::OpenAccess(dir);
    if (!channel) {
      if (!asked && (channel.error().kind == ErrorKind::kDenied || !name.empty()))
        last = channel.error();
      continue;
    }
    // Refused before it was read, it has an answer all the same.
    (void)channel->Send(AccessWord::kAsk, json::Write(request.ToJson())).has_value();
    WRIT_ASSIGN(AccessMessage answer, Await(*channel));
    if (answer.word == AccessWord::kTaken) {
      WRIT_ASSIGN(json::Value taken, json::Parse(answer.bytes, {}));
      return SessionAnswer{std::move(*channel), std::move(taken)};
    }
    if (answer.word != AccessWord::kFailed) return Cut();
    last = runner::AccessFailure(answer.bytes);
    asked = true;
    if (last.code != "access.no_such_run" && last.code != "access.other_user") return last;
  }
  return last;
}

Result<SessionEnding> CarryStreams(AccessChannel& channel, const SessionStreams& streams,
                                   std::optional<std::chrono::milliseconds> limit) {
  return Carrier(channel, streams).Run(limit);
}

std::optional<TerminalSize> SizeOfTerminal(int fd) {
  winsize size{};
  if (!::isatty(fd) || ::ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  TerminalSize out;
  if (size.ws_row != 0) out.rows = size.ws_row;
  if (size.ws_col != 0) out.columns = size.ws_col;
  return out;
}

struct RawTerminal::Saved {
  int fd = -1;
  termios before{};
};

RawTerminal::RawTerminal(int fd) {
  auto saved = std::make_unique<Saved>();
  saved->fd = fd;
  if (::tcgetattr(fd, &saved->before) != 0) return;
  termios raw = saved->before;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSAFLUSH, &raw) == 0) saved_ = std::move(saved);
}

RawTerminal::~RawTerminal() {
  if (saved_) (void)::tcsetattr(saved_->fd, TCSAFLUSH, &saved_->before);
}

Result<std::string> ParseKeys(std::string_view text) {
  const Error wrong{ErrorKind::kInvalid, "cli.bad_keys", "these are no keys: " + std::string(text),
                    "write them like ctrl-p,ctrl-q or ctrl-]"};
  std::string out;
  while (!text.empty()) {
    std::string_view key = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), key.size() + 1));
    if (key.size() == 1) {
      out.push_back(key[0]);
      continue;
    }
    if (!key.starts_with("ctrl-") || key.size() != 6) return wrong;
    const char c = key[5] >= 'a' && key[5] <= 'z' ? static_cast<char>(key[5] - 'a' + 'A') : key[5];
    if (c < '@' || c > '_') return wrong;
    out.push_back(static_cast<char>(c - '@'));
  }
  if (out.empty() || out.size() > 8) return wrong;
  return out;
}

}  // namespace writ::cli
