#include "writ/egress/proxy_process.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "writ/base/child.h"
#include "writ/egress/control_message.h"

namespace writ::egress {

// Everything that the owner's calls and the handle's thread share.
struct ProxyProcess::State {
  UniqueFd socket;
  Child child;  // Wait and Signal by the owner only
  Sink sink;    // called by the thread only
  std::thread thread;

  std::mutex mutex;  // guards everything below
  std::condition_variable changed;
  bool ready = false;
  bool ended = false;  // the socket closed: nothing more will come
  std::optional<FailedMessage> failed;
  std::map<std::uint64_t, std::optional<ListenerRefusedMessage>> listener_answers;
  std::uint64_t next_listener = 0;
  std::optional<ClosedMessage> closed;
  std::string broken;  // why the conversation ended early
  Counters seen;       // tally of the events received
  std::optional<Counters> last_snapshot;
  std::uint64_t next_seq = 0;
  bool stopping = false;

  void Run();
  // False: the conversation is over.
  bool Take(ProxyMessage message);
  bool Deliver(ProxyEvent event, std::uint64_t seq);
};

namespace {

Error Lost() {
  return Error{ErrorKind::kUnavailable, "egress.proxy_lost", "the egress proxy has ended",
               "The session has no egress any more; end it."};
}

}  // namespace

bool ProxyProcess::State::Deliver(ProxyEvent event, std::uint64_t seq) {
  {
    std::lock_guard lock(mutex);
    if (seq != next_seq) {
      broken = "event " + std::to_string(next_seq) + " is missing";
      return false;
    }
    ++next_seq;
    Tally(seen, event);
  }
  sink(event);
  return true;
}

bool ProxyProcess::State::Take(ProxyMessage message) {
  if (auto* decision = std::get_if<DecisionEvent>(&message))
    return Deliver(std::move(*decision), decision->seq);
  if (auto* flow = std::get_if<FlowEvent>(&message)) return Deliver(std::move(*flow), flow->seq);
  if (auto* refusal = std::get_if<RefusalEvent>(&message))
    return Deliver(std::move(*refusal), refusal->seq);
  std::lock_guard lock(mutex);
  if (std::holds_alternative<ReadyMessage>(message)) {
    ready = true;
  } else if (auto* failure = std::get_if<FailedMessage>(&message)) {
    failed = std::move(*failure);
  } else if (const auto* listening = std::get_if<ListeningMessage>(&message)) {
    listener_answers[listening->id] = std::nullopt;
  } else if (auto* refused = std::get_if<ListenerRefusedMessage>(&message)) {
    std::uint64_t id = refused->id;
    listener_answers[id] = std::move(*refused);
  } else if (const auto* snapshot = std::get_if<CountersMessage>(&message)) {
    last_snapshot = snapshot->counters;
  } else if (auto* last = std::get_if<ClosedMessage>(&message)) {
    closed = std::move(*last);
  }
  changed.notify_all();
  return true;
}

void ProxyProcess::State::Run() {
  for (;;) {
    auto received = ReceiveWithFds(socket.get(), kMaxControlMessage);
    std::string why;
    if (!received) {
      // A reset says that the other side died with a message of ours unread; what it had sent is
      // still there, behind the reset.
      if (received.error().sys_errno == ECONNRESET) continue;
      why = received.error().message;
    } else if (!received->bytes.empty()) {
      auto message = DecodeProxyMessage(received->bytes);
      if (message && Take(std::move(*message))) continue;
      if (!message) why = "the proxy sent an unreadable message: " + message.error().message;
    }
    std::unique_lock lock(mutex);
    if (broken.empty()) broken = why;
    bool lost = !closed;
    std::string reason =
        broken.empty() ? "the proxy process ended without its closing report" : broken;
    bool was_ready = ready;
    lock.unlock();
    if (lost && was_ready) sink(ProxyLost{reason});
    // Shut, so that a proxy that talks nonsense loses its socket and leaves.
    ::shutdown(socket.get(), SHUT_RDWR);
    lock.lock();
    ended = true;
    changed.notify_all();
    return;
  }
}

ProxyProcess::ProxyProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<SpawnedProxy> ProxyProcess::Spawn(const ProxyStart& start) {
  if (::geteuid() == 0 && !start.identity)
    return Error{ErrorKind::kDenied, "egress.identity",
                 "a root runner must name the uid that the proxy runs as"};
  if (start.identity && (start.identity->uid == 0 || start.identity->gid == 0))
    return Error{ErrorKind::kDenied, "egress.identity", "the proxy must not run as uid or gid 0"};

  WRIT_ASSIGN(SocketPair pair, MakeSeqpacketPair());
  SpawnOptions options;
  options.path = start.executable;
  options.argv = {"writ-egress-proxy"};
  if (start.identity) {
    options.argv.push_back("--uid=" + std::to_string(start.identity->uid));
    options.argv.push_back("--gid=" + std::to_string(start.identity->gid));
  }
  options.fds = {{pair.second.get(), kControlFd}, {STDERR_FILENO, STDERR_FILENO}};
  auto child = Child::Spawn(options);
  if (!child) return std::move(child).error().With("starting the egress proxy");
  return SpawnedProxy{std::move(pair.first), std::move(*child)};
}

Result<std::unique_ptr<ProxyProcess>> ProxyProcess::Configure(SpawnedProxy spawned,
                                                              const ProxyConfig& config,
                                                              Sink sink) {
  WRIT_TRY(Validate(config.rules));
  std::string document = SerializeConfig(config);
  auto memfd = MakeSealedMemfd("writ-egress-config", document);
  explicit_bzero(document.data(), document.size());
  if (!memfd) return std::move(memfd).error();

  auto state = std::make_unique<State>();
  state->socket = std::move(spawned.socket);
  state->child = std::move(spawned.child);
  state->sink = std::move(sink);
  // A process that has ended already cannot be sent to; the thread below sees that as its end.
  (void)SendWithFds(state->socket.get(), Encode(RunnerMessage(ConfigureMessage{})), {memfd->get()})
      .has_value();
  State* shared = state.get();
  state->thread = std::thread([shared] { shared->Run(); });
  return std::unique_ptr<ProxyProcess>(new ProxyProcess(std::move(state)));
}

Status ProxyProcess::AwaitReady(std::chrono::milliseconds deadline) {
  std::unique_lock lock(state_->mutex);
  bool answered = state_->changed.wait_for(
      lock, deadline, [&] { return state_->ready || state_->failed || state_->ended; });
  if (state_->ready) return {};
  Error error{ErrorKind::kUnavailable, "egress.start_failed", "the egress proxy did not start"};
  if (state_->failed) {
    error.message += ": " + state_->failed->message;
    error.context.push_back(state_->failed->code);
  } else if (!answered) {
    error.message += " within " + std::to_string(deadline.count()) + " ms";
  } else {
    error.message += ": it ended at once";
  }
  return error;  // the destructor kills and reaps
}

ProxyProcess::~ProxyProcess() {
  if (!state_) return;
  (void)state_->child.Signal(SIGKILL).has_value();
  ::shutdown(state_->socket.get(), SHUT_RDWR);
  if (state_->thread.joinable()) state_->thread.join();
  (void)state_->child.Wait(std::nullopt).has_value();
}

Status ProxyProcess::AddListener(UniqueFd listener, ListenerReach reach) {
  std::uint64_t id;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->ended || state_->stopping) return Lost();
    id = state_->next_listener++;
  }
  if (auto sent = SendWithFds(state_->socket.get(),
                              Encode(RunnerMessage(ListenerMessage{id, reach})), {listener.get()});
      !sent)
    return Lost().With(sent.error().message);
  std::unique_lock lock(state_->mutex);
  bool answered = state_->changed.wait_for(lock, std::chrono::seconds(10), [&] {
    return state_->listener_answers.contains(id) || state_->ended;
  });
  auto answer = state_->listener_answers.find(id);
  if (answer != state_->listener_answers.end()) {
    if (!answer->second) return {};
    return Error{ErrorKind::kInvalid, answer->second->code, answer->second->message};
  }
  if (answered) return Lost();
  return Error{ErrorKind::kUnavailable, "egress.listener",
               "the egress proxy did not take a listener within 10 s"};
}

ClosingReport ProxyProcess::Stop(std::chrono::milliseconds deadline) {
  auto until = std::chrono::steady_clock::now() + deadline;
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    lock.unlock();
    (void)SendWithFds(state_->socket.get(), Encode(RunnerMessage(StopMessage{})), {}).has_value();
    lock.lock();
    if (!state_->changed.wait_until(lock, until, [&] { return state_->ended; }))
      state_->broken = "no closing report within " + std::to_string(deadline.count()) + " ms";
  }
  auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  auto exited = state_->child.Wait(std::max(left, std::chrono::milliseconds(0)));
  if (!exited || !*exited) {
    (void)state_->child.Signal(SIGKILL).has_value();
    exited = state_->child.Wait(std::nullopt);
  }
  ::shutdown(state_->socket.get(), SHUT_RDWR);
  if (state_->thread.joinable()) state_->thread.join();

  std::lock_guard lock(state_->mutex);
  ClosingReport report;
  if (!state_->closed) {
    report.counters = state_->last_snapshot.value_or(state_->seen);
    report.differences.push_back(state_->broken.empty()
                                     ? "the proxy process ended without its closing report"
                                     : state_->broken);
    if (exited && *exited && (*exited)->signalled)
      report.differences.push_back("it was ended by signal " + std::to_string((*exited)->signal));
    return report;
  }
  report.counters = state_->closed->counters;
  report.resolver_overrides = state_->closed->resolver_overrides;
  report.differences = Reconcile(report.counters, state_->seen);
  report.status = report.differences.empty() ? ClosingReport::Status::kReconciled
                                             : ClosingReport::Status::kUnreconciled;
  return report;
}

bool ProxyProcess::alive() const {
  std::lock_guard lock(state_->mutex);
  return !state_->ended;
}

pid_t ProxyProcess::pid() const {
  return state_->child.pid();
}
int ProxyProcess::pidfd() const {
  return state_->child.pidfd();
}

}  // namespace writ::egress
