#include "writ/backends/microvm/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "checkpoint.h"
#include "guest_entry.h"
#include "job_thread.h"
#include "warm_up.h"
#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/relay.h"
#include "writ/backends/microvm/session.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/backends/sandbox_backend.h"

namespace writ::backends::microvm {
namespace {

constexpr int kOk = 200;
constexpr int kWrong = 400;
constexpr int kUnknown = 404;
constexpr int kConflict = 409;
constexpr std::string_view kEntryPath = "/entry/";

using StreamPtr = std::shared_ptr<Stream>;

class Agent {
 public:
  explicit Agent(AgentOptions options)
      : options_(std::move(options)),
        backend_(MakeSandboxBackend({.launched = Launched(options_.launcher)})) {}
  ~Agent() {
    if (changes_.joinable()) changes_.join();
  }
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  Result<std::string> Run() {
    backend_->Probe();
    do {
      quiesced_ = false;
      WRIT_ASSIGN(UniqueFd transport, NextTransport());
      Session::Events events;
      events.on_request = [this](const StreamPtr& stream) { OnRequest(stream); };
      events.on_closed = [this](const std::string& reason) {
        why_ = reason;
        loop_.Stop();
      };
      WRIT_ASSIGN(session_, Session::Make(loop_, std::move(transport), Session::Side::kGuest,
                                          options_.host_token, std::move(events)));
      loop_.Run();
      warming_.reset();
      entries_.clear();
      running_.reset();
      terminal_.reset();
      job_.reset();
      session_.reset();
    } while (quiesced_);
    return why_;
  }

 private:
  Result<UniqueFd> NextTransport() const {
    UniqueFd next(options_.listener ? ::accept4(options_.listener.get(), nullptr, nullptr,
                                                SOCK_CLOEXEC | SOCK_NONBLOCK)
                                    : ::fcntl(options_.transport.get(), F_DUPFD_CLOEXEC, 0));
    if (!next) return SysError(errno, "agent.channel", "there is no channel to the host");
    return next;
  }

  static LaunchedOptions Launched(const std::string& launcher) {
    LaunchedOptions out;
    out.launcher = launcher;
    return out;
  }

  static void Say(const StreamPtr& stream, int status, std::string_view bytes) {
    stream->Answer(status);
    stream->Write(bytes);
    stream->Finish();
  }

  void OnRequest(const StreamPtr& stream) {
    const std::string& path = stream->path();
    if (path == "/hello") return Say(stream, kOk, Encode(MakeHello()));
    if (path == "/metrics") return Say(stream, kOk, Encode(ReadMetrics(options_.scratch)));
    if (path == "/identity") return OnIdentity(stream);
    if (path == "/job") return OnJob(stream);
    if (path == "/stdout" || path == "/stderr") return OnOutput(stream);
    if (path == "/stdin") return OnInput(stream);
    if (path == "/proxy") return OnProxy(stream);
    if (path.starts_with(kEntryPath)) return OnEntry(stream);
    if (path == "/changes") return OnChanges(stream);
    if (path == "/warm-up") return OnWarmUp(stream);
    if (path == "/quiesce") return OnQuiesce(stream);
    Say(stream, kUnknown, {});
  }

  Hello MakeHello() {
    const Capabilities& can = backend_->Probe();
    Hello hello;
    hello.token = options_.guest_token;
    hello.agent = can.version;
    utsname kernel{};
    ::uname(&kernel);
    hello.kernel = kernel.release;
    // With a reason the kernel holds the network, and tells nobody where a job wanted to go.
    hello.usable = can.usable && can.network.enforcement == Enforcement::kKernel &&
                   can.network.reason.empty() && can.resources.enforcement == Enforcement::kKernel;
    hello.unusable_reason =
        can.usable ? can.network.reason + can.resources.reason : can.unusable_reason;
    hello.isolation =
        can.files.mechanism + "; " + can.syscalls.mechanism + "; " + can.resources.mechanism;
    return hello;
  }

  void OnIdentity(const StreamPtr& stream) {
    auto bytes = std::make_shared<std::string>();
    stream->on_bytes = [stream, bytes](std::string_view more) {
      stream->Consumed(more.size());
      if (bytes->size() + more.size() <= kMaxWordBytes) bytes->append(more);
    };
    stream->on_end = [this, stream, bytes] {
      auto identity = DecodeIdentity(*bytes);
      ::explicit_bzero(bytes->data(), bytes->size());
      if (!identity || identity->token.size() != 2 * kTokenBytes) return Say(stream, kWrong, {});
      auto taken = options_.take_identity(*identity);
      if (!taken) return Say(stream, kConflict, taken.error().ToString());
      session_->SetToken(identity->token);
      Say(stream, kOk, Encode(*taken));
    };
  }

  void OnWarmUp(const StreamPtr& stream) {
    if (job_stream_ || warming_) return Say(stream, kConflict, "there is a job");
    auto bytes = std::make_shared<std::string>();
    stream->on_bytes = [stream, bytes](std::string_view more) {
      stream->Consumed(more.size());
      if (bytes->size() + more.size() <= kMaxOrderBytes) bytes->append(more);
    };
    stream->on_end = [this, stream, bytes] {
      auto command = DecodeWarmUp(*bytes);
      if (!command || warming_) return Say(stream, kWrong, {});
      warming_ = std::make_unique<WarmUpRun>(loop_);
      warmed_ = true;
      Status started = warming_->Start(*command, [this, stream](const WarmedUp& warmed) {
        loop_.Post([ended = std::shared_ptr<WarmUpRun>(std::move(warming_))] {});
        Say(stream, kOk, Encode(warmed));
      });
      if (started) return;
      warming_.reset();
      Say(stream, kConflict, started.error().ToString());
    };
  }

  // The last word of this session: what follows, in this machine or in a clone of it, begins anew.
  void OnQuiesce(const StreamPtr& stream) {
    if (job_stream_ || warming_) return Say(stream, kConflict, "there is a job");
    if (options_.quiesce) options_.quiesce(warmed_ ? Caches::kKept : Caches::kDropped);
    Say(stream, kOk, {});
    stream->on_closed = [this] {
      quiesced_ = true;
      loop_.Stop();
    };
  }

  void OnJob(const StreamPtr& stream) {
    if (job_stream_) return Say(stream, kConflict, {});
    job_stream_ = stream;
    stream->Answer(kOk);
    auto frames = std::make_shared<FrameReader>(kMaxOrderBytes);
    stream->on_bytes = [this, stream, frames](std::string_view bytes) {
      stream->Consumed(bytes.size());
      Status read = frames->Add(bytes, [this](std::string_view word) { return OnWord(word); });
      if (!read) stream->Reset();
    };
    stream->on_closed = [this] {
      if (job_) job_->Kill();
    };
  }

  Status OnWord(std::string_view bytes) {
    WRIT_ASSIGN(HostWord word, DecodeHostWord(bytes));
    if (auto* order = std::get_if<JobOrder>(&word)) {
      if (job_) return Error{ErrorKind::kConflict, "agent.job", "this guest has had its job"};
      JobThread::Events events;
      events.on_prepared = [this](UniqueFd listener) { OnPrepared(std::move(listener)); };
      events.on_running = [this](std::shared_ptr<Job> job, std::shared_ptr<TerminalInput> input) {
        running_ = std::move(job);
        terminal_ = std::move(input);
        if (stdin_) OnInput(std::exchange(stdin_, nullptr));
      };
      events.on_word = [this](const GuestWord& said) { OnSaid(said); };
      job_ = std::make_unique<JobThread>(
          loop_, *backend_,
          JobPlaces{options_.inputs, options_.base, options_.scratch, options_.job_memory,
                    options_.mount_inputs, options_.root_job, options_.image},
          std::move(*order), std::move(events));
      for (auto* waiting : {&stdout_, &stderr_})
        if (*waiting) OnOutput(std::exchange(*waiting, nullptr));
      return {};
    }
    if (!job_) return Error{ErrorKind::kConflict, "agent.job", "there is no job"};
    if (auto* go = std::get_if<Go>(&word)) job_->Start(std::move(*go));
    if (std::holds_alternative<Cancel>(word)) job_->Cancel();
    if (std::holds_alternative<Kill>(word)) job_->Kill();
    if (const auto* resize = std::get_if<Resize>(&word); resize && terminal_)
      (void)terminal_->Resize(resize->size).has_value();
    if (std::holds_alternative<Hold>(word))
      job_stream_->Write(
          Frame(Encode(GuestWord(Held{options_.hold_job && options_.hold_job().has_value()}))));
    if (const auto* clock = std::get_if<SetClock>(&word)) {
      // One that cannot be set is told as it is.
      if (options_.set_clock) (void)options_.set_clock(clock->realtime_ns).has_value();
      if (options_.release_job) options_.release_job();
      job_stream_->Write(Frame(Encode(GuestWord(ClockSet{ClockOfMachine()}))));
    }
    return {};
  }

  void OnPrepared(UniqueFd listener) {
    listener_ = std::move(listener);
    if (listener_) {
      accepting_ = loop_.Add(listener_.get(), 0, [this](short) { Accept(); });
      WantConnections();
    }
    job_stream_->Write(Frame(Encode(GuestWord(Prepared{}))));
  }

  void OnSaid(const GuestWord& word) {
    const bool ended = std::holds_alternative<Ended>(word);
    if (ended) {
      running_.reset();
      terminal_.reset();
      loop_.Remove(accepting_);
      listener_.reset();
      while (!proxies_.empty()) {
        proxies_.front()->Reset();
        proxies_.pop_front();
      }
    }
    // As pid 1 we are the last parent of whoever lost his own; none of ours is being waited for.
    if (ended && ::getpid() == 1)
      while (::waitpid(-1, nullptr, WNOHANG | __WALL) > 0) continue;
    job_stream_->Write(Frame(Encode(word)));
    if (ended) job_stream_->Finish();
  }

  void OnOutput(const StreamPtr& stream) {
    const bool out = stream->path() == "/stdout";
    if (!job_) {  // asked for ahead of the job
      (out ? stdout_ : stderr_) = stream;
      return;
    }
    UniqueFd fd = out ? job_->TakeStdout() : job_->TakeStderr();
    if (!fd) return Say(stream, kConflict, {});
    stream->Answer(kOk);
    StartRelay(loop_, std::move(fd), stream, Ways::kToStream, {});
  }

  // What is typed at the job's terminal.
  void OnInput(const StreamPtr& stream) {
    if (!terminal_) {  // asked for ahead of the job
      stdin_ = stream;
      return;
    }
    UniqueFd fd(::fcntl(terminal_->fd(), F_DUPFD_CLOEXEC, 0));
    stream->Answer(fd ? kOk : kConflict);
    if (!fd) return stream->Finish();
    StartRelay(loop_, std::move(fd), stream, Ways::kToFd, {});
  }

  // "/entry/N", or one of its streams.
  void OnEntry(const StreamPtr& stream) {
    const std::string_view rest = std::string_view(stream->path()).substr(kEntryPath.size());
    std::uint64_t id = 0;
    const char* const last = rest.data() + rest.size();
    auto [end, parse] = std::from_chars(rest.data(), last, id);
    if (parse != std::errc() || (end != last && *end != '/')) return Say(stream, kWrong, {});
    auto at = entries_.find(id);
    if (end != last) {
      if (at == entries_.end() || !at->second->Take({end + 1, last}, stream))
        Say(stream, kConflict, {});
      return;
    }
    if (at != entries_.end()) return Say(stream, kConflict, {});
    auto entry = std::make_shared<GuestEntry>(
        loop_, running_, [this] { return Checkpoint(); }, [this, id] { entries_.erase(id); });
    entries_[id] = entry;
    entry->Begin(stream);
  }

  // Whoever pauses the machine waits for its end: one word at a time holds the job.
  Result<std::unique_ptr<Entry>> Checkpoint() {
    if (!job_) return Error{ErrorKind::kConflict, "agent.no_job", "there is no job"};
    WRIT_ASSIGN(UniqueFd upper, job_->OpenUpper());
    return BeginCheckpoint({std::move(upper), options_.hold_job, options_.release_job});
  }

  // Waits for a connection of the job's.
  void OnProxy(const StreamPtr& stream) {
    proxies_.push_back(stream);
    stream->on_closed = [this, id = stream.get()] {
      std::erase_if(proxies_, [id](const StreamPtr& one) { return one.get() == id; });
      WantConnections();
    };
    WantConnections();
  }

  void WantConnections() {
    if (listener_) loop_.SetEvents(accepting_, proxies_.empty() ? short{0} : short{POLLIN});
  }

  void Accept() {
    UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection || proxies_.empty()) return;
    StreamPtr stream = std::move(proxies_.front());
    proxies_.pop_front();
    WantConnections();
    stream->Answer(kOk);
    StartRelay(loop_, std::move(connection), stream, Ways::kBoth, {});
  }

  void OnChanges(const StreamPtr& stream) {
    auto upper = job_ ? job_->OpenChanges() : Result<UniqueFd>(Error{});
    auto pipe = MakePipe();
    if (!upper || !pipe || changes_.joinable()) return Say(stream, kConflict, {});
    // Writes into a pipe, and so as fast as the host takes it. A walk that fails leaves the stream
    // without its last record.
    changes_ = std::jthread([dir = std::move(upper).value(), out = std::move(pipe->write_end)] {
      (void)WriteTree(dir.get(), out.get()).has_value();
    });
    stream->Answer(kOk);
    StartRelay(loop_, std::move(pipe->read_end), stream, Ways::kToStream, {});
  }

  AgentOptions options_;
  std::unique_ptr<Backend> backend_;
  EventLoop loop_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<JobThread> job_;
  std::unique_ptr<WarmUpRun> warming_;
  bool warmed_ = false;  // a command was run
  StreamPtr job_stream_;
  StreamPtr stdout_;  // asked for, and there is no job yet
  StreamPtr stderr_;
  StreamPtr stdin_;  // asked for, and the job does not run yet
  std::shared_ptr<Job> running_;
  std::shared_ptr<TerminalInput> terminal_;
  std::map<std::uint64_t, std::shared_ptr<GuestEntry>> entries_;
  std::deque<StreamPtr> proxies_;  // the host's offers
  UniqueFd listener_;
  EventLoop::WatchId accepting_ = 0;
  std::jthread changes_;
  bool quiesced_ = false;
  std::string why_;
};

}  // namespace

Result<std::string> RunAgent(AgentOptions options) {
  return Agent(std::move(options)).Run();
}

}  // namespace writ::backends::microvm
