#include "writ/backends/job/launched_entries.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "writ/backends/job/launched_job.h"
#include "writ/backends/linux/terminal.h"

namespace writ::backends {
namespace {

using std::chrono::steady_clock;

// From the request until it runs.
constexpr std::chrono::seconds kStartBound{20};

Error NotRunning() {
  return Error{ErrorKind::kConflict, "job.not_running", "the job does not run (any more)"};
}

// How a shell tells a program that could not be run.
std::optional<int> ExitOfExecFailure(int err) {
  if (err == ENOENT || err == ENOTDIR) return 127;
  if (err == EACCES || err == ENOEXEC || err == EISDIR || err == EPERM) return 126;
  return std::nullopt;
}

Error EntryFailed(const launch::EntryFailedMessage& failed) {
  if (auto none_left = NoTerminalLeft(failed.stage, failed.err)) return *none_left;
  const std::string text = "nothing could be put into the session: " + failed.stage;
  if (failed.err == 0) return Error{ErrorKind::kInternal, "job.entry_failed", text};
  Error error = SysError(failed.err, "job.entry_failed", text);
  if (failed.stage == "not granted") {
    error.kind = ErrorKind::kDenied;
    error.code = "job.entry_denied";
  }
  if (failed.err == EAGAIN)
    error.hint = "the job has as many processes as it may have, or too much was put in already";
  return error;
}

class LaunchedEntry final : public Entry {
 public:
  LaunchedEntry(std::shared_ptr<LaunchedEntries> table,
                std::shared_ptr<LaunchedEntries::State> state, std::uint64_t id)
      : table_(std::move(table)), state_(std::move(state)), id_(id) {}

  ~LaunchedEntry() override {
    for (UniqueFd* fd : {&in_, &out_, &err_, &sizes_, &slave_}) fd->reset();  // a terminal hangs up
    if (!End()) {
      table_->Signal(id_, SIGHUP);
      table_->Signal(id_, SIGCONT);
      table_->Signal(id_, SIGKILL);
    }
    table_->Forget(id_);
  }

  void Give(UniqueFd in, UniqueFd out, UniqueFd err) {
    in_ = std::move(in);
    out_ = std::move(out);
    err_ = std::move(err);
  }
  Status GiveTerminal(UniqueFd master, UniqueFd slave) {
    terminal_ = true;
    slave_ = std::move(slave);
    ::fcntl(master.get(), F_SETFL, ::fcntl(master.get(), F_GETFL) | O_NONBLOCK);
    out_ = std::move(master);
    return {};
  }

  void GiveRelay(UniqueFd in, UniqueFd out, UniqueFd sizes) {
    terminal_ = true;
    in_ = std::move(in);
    out_ = std::move(out);
    sizes_ = std::move(sizes);
  }

  int input() const override { return terminal_ && !in_ ? out_.get() : in_.get(); }
  int output() const override { return out_.get(); }
  int errors() const override { return err_.get(); }
  void CloseInput() override {
    constexpr char kEndOfFile = 4;  // as it is typed
    if (terminal_) (void)!::write(input(), &kEndOfFile, 1);
    if (!terminal_) in_.reset();
  }
  Status Resize(TerminalSize size) override {
    if (!terminal_)
      return Error{ErrorKind::kUnsupported, "job.no_terminal", "the command has no terminal"};
    if (!sizes_) return ResizeTerminal(out_.get(), size);
    return SendTerminalSize(sizes_.get(), size);
  }
  Status Signal(int signal) override {
    if (signal <= 0 || signal >= NSIG)
      return Error{ErrorKind::kInvalid, "job.bad_signal", "there is no such signal"};
    table_->Signal(id_, signal);
    return {};
  }
  int event_fd() const override { return state_->ended.get(); }
  std::optional<EntryEnd> End() const override { return table_->EndOf(*state_); }

 private:
  const std::shared_ptr<LaunchedEntries> table_;
  const std::shared_ptr<LaunchedEntries::State> state_;
  const std::uint64_t id_;
  bool terminal_ = false;
  UniqueFd in_, out_, err_;
  UniqueFd sizes_;  // of a relayed terminal
  UniqueFd slave_;  // held, so that the master does not end when a process lets go of it
};

// A command that could not be run: it has ended before anybody looked.
class FailedEntry final : public Entry {
 public:
  explicit FailedEntry(int code) : event_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {
    end_.status = ExitStatus{false, code, 0};
  }
  int input() const override { return -1; }
  int output() const override { return -1; }
  int errors() const override { return -1; }
  void CloseInput() override {}
  Status Resize(TerminalSize) override { return {}; }
  Status Signal(int) override { return {}; }
  int event_fd() const override { return event_.get(); }
  std::optional<EntryEnd> End() const override { return end_; }

 private:
  UniqueFd event_;
  EntryEnd end_;
};

}  // namespace

void LaunchedEntries::Open(int control, Terminals terminals) {
  std::lock_guard lock(mutex_);
  control_ = control;
  terminals_ = terminals;
}

LaunchedEntries::Terminals LaunchedEntries::terminals() const {
  std::lock_guard lock(mutex_);
  return terminals_;
}

void LaunchedEntries::Close() {
  std::lock_guard lock(mutex_);
  control_ = -1;
  for (auto& [id, state] : states_) {
    if (!state->end) state->end = EntryEnd{std::nullopt, "the session ended before it"};
    ::eventfd_write(state->changed.get(), 1);
    ::eventfd_write(state->ended.get(), 1);
  }
}

void LaunchedEntries::OnMessage(const launch::Message& message, std::vector<UniqueFd> fds) {
  std::lock_guard lock(mutex_);
  auto state_of = [this](std::uint64_t id) -> State* {
    auto at = states_.find(id);
    return at == states_.end() ? nullptr : at->second.get();
  };
  if (const auto* started = std::get_if<launch::EntryStartedMessage>(&message)) {
    State* state = state_of(started->id);
    if (state == nullptr) return;
    state->started = true;
    if (fds.size() == 2) {
      state->master = std::move(fds[0]);
      state->slave = std::move(fds[1]);
    }
    ::eventfd_write(state->changed.get(), 1);
  } else if (const auto* failed = std::get_if<launch::EntryFailedMessage>(&message)) {
    State* state = state_of(failed->id);
    if (state == nullptr) return;
    state->failed = *failed;
    ::eventfd_write(state->changed.get(), 1);
  } else if (const auto* ended = std::get_if<launch::EntryEndedMessage>(&message)) {
    State* state = state_of(ended->id);
    if (state == nullptr) return;
    state->end =
        EntryEnd{ExitStatus{ended->signalled != 0, ended->code, ended->signal}, std::string()};
    ::eventfd_write(state->ended.get(), 1);
  }
}

void LaunchedEntries::Signal(std::uint64_t id, int signal) {
  std::lock_guard lock(mutex_);
  if (control_ < 0) return;
  const std::string bytes = launch::EncodeMessage(launch::SignalEntryMessage{id, signal});
  (void)::send(control_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

std::optional<EntryEnd> LaunchedEntries::EndOf(const State& state) const {
  std::lock_guard lock(mutex_);
  return state.end;
}

void LaunchedEntries::Forget(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  states_.erase(id);
}

Result<std::shared_ptr<LaunchedEntries::State>> LaunchedEntries::Begin(
    const launch::EntryRequest& request, std::vector<int> fds, std::uint64_t& id) {
  std::string bytes = launch::EncodeEntryRequest(request);
  auto memfd = MakeSealedMemfd("writ-entry", bytes);
  ::explicit_bzero(bytes.data(), bytes.size());
  if (!memfd) return std::move(memfd).error();
  auto state = std::make_shared<State>();
  state->changed.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  state->ended.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->changed || !state->ended)
    return SysError(errno, "job.entry_failed", "no descriptors are left");
  fds.insert(fds.begin(), memfd->get());
  std::lock_guard lock(mutex_);
  if (control_ < 0) return NotRunning();
  id = next_id_++;
  WRIT_TRY(SendWithFds(control_, launch::EncodeMessage(launch::EnterMessage{id}), fds));
  states_.emplace(id, state);
  return state;
}

Result<std::unique_ptr<Entry>> LaunchedEntries::Enter(const launch::EntryRequest& request) {
  Pipe in, out, err;
  SocketPair sizes;
  std::vector<int> fds;
  const bool relayed = request.terminal && terminals() == Terminals::kRelayed;
  if (!request.terminal || relayed) {
    for (Pipe* pipe : {&in, &out, &err}) {
      WRIT_ASSIGN(*pipe, MakePipe());
    }
    fds = {in.read_end.get(), out.write_end.get(), err.write_end.get()};
    if (relayed) {
      WRIT_ASSIGN(sizes, MakeSeqpacketPair());
      fds.back() = sizes.second.get();
    }
    for (int fd : {in.write_end.get(), out.read_end.get(), err.read_end.get()})
      ::fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  std::uint64_t id = 0;
  WRIT_ASSIGN(std::shared_ptr<State> state, Begin(request, std::move(fds), id));
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();
  sizes.second.reset();
  // From here on its end undoes what began.
  auto entry = std::make_unique<LaunchedEntry>(shared_from_this(), state, id);
  pollfd ready{state->changed.get(), POLLIN, 0};
  const auto bound = steady_clock::now() + kStartBound;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
    const int rc = ::poll(&ready, 1, left > 0 ? static_cast<int>(left) : 0);
    if (rc > 0) break;
    if (rc < 0 && errno == EINTR) continue;
    return Error{
        ErrorKind::kUnavailable, "job.entry_failed",
        "the launcher did not answer within " + std::to_string(kStartBound.count()) + " s"};
  }
  std::unique_lock lock(mutex_);
  if (state->failed) {
    const launch::EntryFailedMessage failed = *state->failed;
    state->end = EntryEnd{};
    lock.unlock();
    const std::optional<int> code =
        failed.stage == "exec" ? ExitOfExecFailure(failed.err) : std::nullopt;
    if (code) return std::unique_ptr<Entry>(std::make_unique<FailedEntry>(*code));
    return EntryFailed(failed);
  }
  if (!state->started) return NotRunning();
  UniqueFd master = std::move(state->master);
  UniqueFd slave = std::move(state->slave);
  lock.unlock();
  if (relayed) {
    entry->GiveRelay(std::move(in.write_end), std::move(out.read_end), std::move(sizes.first));
  } else if (request.terminal) {
    if (!master || !slave)
      return Error{ErrorKind::kInternal, "job.entry_failed", "the launcher gave no terminal"};
    WRIT_TRY(entry->GiveTerminal(std::move(master), std::move(slave)));
  } else {
    entry->Give(std::move(in.write_end), std::move(out.read_end), std::move(err.read_end));
  }
  return std::unique_ptr<Entry>(std::move(entry));
}

}  // namespace writ::backends
