#include "writ/plane/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "http/connection.h"
#include "http/router.h"
#include "http/socket.h"
#include "plane_metrics.h"
#include "writ/base/log.h"
#include "writ/base/status/status_server.h"

namespace writ::plane {
namespace {

constexpr std::chrono::seconds kHandshake{10};
constexpr std::chrono::seconds kSweepEvery{60};
constexpr std::chrono::milliseconds kLeasesEvery{5000};  // and faster where the grace is short
constexpr std::chrono::seconds kTellEvery{10};
constexpr std::chrono::seconds kStatusPatience{2};
// A round of the lease keeper may wait for the store; longer than this it is stuck.
constexpr std::chrono::seconds kLongestRound{120};

}  // namespace

struct HttpServer::Impl {
  Plane& plane;
  const Clock& clock;
  http::Listener listener;
  std::optional<http::TlsContext> tls;
  http::ConnectionLimits limits;
  http::Router router;
  http::MessageEngine engine;
  std::string url;
  UniqueFd wake;  // eventfd: the acceptor is to end

  struct Worker {
    UniqueFd fd;        // a second descriptor of the connection, so that Stop can shut it down
    std::string group;  // of its peer
    bool done = false;
    std::thread thread;
  };
  std::mutex mutex_;  // guards workers_ and each worker's fd and done
  std::condition_variable ended_;
  std::list<Worker> workers_;
  std::size_t turned_away_ = 0;  // since the last line about it; the acceptor's
  std::optional<std::chrono::nanoseconds> told_;
  std::atomic<bool> stopping{false};
  std::thread acceptor;
  std::thread sweeper;
  std::thread lease_keeper;  // of its own: no retention sweep and no request makes it late
  std::mutex alive_mutex_;   // guards the two below
  std::condition_variable answered_;
  std::uint64_t asked_ = 0, turned_ = 0;  // Alive calls, and the last of them the acceptor saw
  std::atomic<std::chrono::nanoseconds> leases_kept{std::chrono::nanoseconds(0)};
  std::unique_ptr<status::StatusServer> status_server;  // ends before what it reads
  std::mutex stop_mutex_;                               // one Stop at a time
  bool stopped_ = false;

  Impl(Plane& p, const Clock& c, http::Listener l, std::optional<http::TlsContext> t)
      : plane(p),
        clock(c),
        listener(std::move(l)),
        tls(std::move(t)),
        router(p, c),
        engine(router, c) {
    limits.max_head_bytes = p.config().max_head_bytes;
    limits.max_headers = p.config().max_headers;
    url = std::string(tls ? "https://" : "http://") + listener.host + ":" +
          std::to_string(listener.port);
  }

  void Accept() {
    for (;;) {
      pollfd waiting[2] = {{listener.fd.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
      if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return;
      if (stopping) return;
      if ((waiting[1].revents & POLLIN) != 0) SayThatItTurns();
      if ((waiting[0].revents & POLLIN) == 0) continue;
      UniqueFd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) WaitForRoom();
        continue;
      }
      int one = 1;
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto second = fd.Duplicate();
      if (!second) continue;
      std::lock_guard lock(mutex_);
      workers_.remove_if([](Worker& worker) {
        if (worker.done) worker.thread.join();
        return worker.done;
      });
      const http::PeerAddress peer = http::PeerOf(fd.get());
      if (!HasRoomFor(peer)) {
        if (!tls) (void)::send(fd.get(), kBusy.data(), kBusy.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        continue;
      }
      Worker& worker = workers_.emplace_back();
      worker.fd = std::move(*second);
      worker.group = peer.group;
      worker.thread = std::thread([this, &worker, peer, socket = std::move(fd)]() mutable {
        Serve(std::move(socket), peer);
        std::lock_guard done_lock(mutex_);
        worker.fd.reset();
        worker.done = true;
        ended_.notify_all();
      });
    }
  }

  void SayThatItTurns() {
    std::uint64_t count = 0;
    (void)!::read(wake.get(), &count, sizeof count);
    // As a connection would: through the lock that every one of them takes.
    { std::lock_guard lock(mutex_); }
    std::lock_guard lock(alive_mutex_);
    turned_ = asked_;
    answered_.notify_all();
  }

  Status Alive(std::chrono::milliseconds patience) {
    const Error stuck{.kind = ErrorKind::kUnavailable, .code = "plane.stuck", .message = ""};
    {
      std::unique_lock lock(alive_mutex_);
      const std::uint64_t mine = ++asked_;
      const std::uint64_t one = 1;
      (void)!::write(wake.get(), &one, sizeof one);
      if (!answered_.wait_for(lock, patience, [&] { return turned_ >= mine; })) {
        Error error = stuck;
        error.message = "no connection is being accepted";
        return error;
      }
    }
    if (clock.Monotonic() - leases_kept.load() > kLongestRound) {
      Error error = stuck;
      error.message = "the leases are not being kept";
      return error;
    }
    return {};
  }

  status::StatusAnswer AnswerStatus(std::string_view path) {
    if (path == "/healthz") {
      if (Status alive = Alive(kStatusPatience); !alive)
        return {.code = 503, .body = alive.error().message + "\n"};
      return {.body = "ok\n"};
    }
    if (path == "/readyz") {
      const std::string wrong = router.NotReady();
      return {.code = wrong.empty() ? 200 : 503, .body = (wrong.empty() ? "ok" : wrong) + "\n"};
    }
    if (path != "/metrics") return {.code = 404, .body = "not here\n"};
    (void)router.NotReady();
    {
      std::lock_guard lock(mutex_);
      const auto open =
          std::count_if(workers_.begin(), workers_.end(), [](const Worker& w) { return !w.done; });
      plane.metrics().Set(Family::kConnections, {}, static_cast<double>(open));
    }
    auto text = plane.MetricsText();
    if (!text) return {.code = 503, .body = text.error().code + "\n"};
    return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = std::move(*text)};
  }

  // Under mutex_. Whether the limits, that of all connections and that of one peer, let it in. Who
  // is turned away is told to the log now and then, not each time: the line is as cheap to cause as
  // a connection.
  bool HasRoomFor(const http::PeerAddress& peer) {
    const Config& config = plane.config();
    const std::size_t own =
        peer.loopback ? config.max_connections_on_loopback : config.max_connections_per_address;
    const auto of_peer = std::count_if(workers_.begin(), workers_.end(),
                                       [&](const Worker& w) { return w.group == peer.group; });
    const bool crowded = static_cast<std::size_t>(of_peer) >= own;
    if (!crowded && workers_.size() < config.max_connections) return true;
    ++turned_away_;
    plane.metrics().Add(Family::kTurnedAway);
    const auto now = clock.Monotonic();
    if (!told_ || now - *told_ >= kTellEvery) {
      log::Warn("plane.connections",
                crowded ? "connections are turned away: one address has too many"
                        : "connections are turned away: the limit is reached",
                {{"peer", peer.text},
                 {"limit", crowded ? own : config.max_connections},
                 {"turnedAway", turned_away_}});
      told_ = now;
      turned_away_ = 0;
    }
    return false;
  }

  // Out of descriptors or memory: go on when a connection has ended, or soon.
  void WaitForRoom() {
    log::Error("plane.accept", "no more connections can be accepted now");
    std::unique_lock lock(mutex_);
    ended_.wait_for(lock, std::chrono::milliseconds(200));
  }

  void Serve(UniqueFd fd, const http::PeerAddress& peer) {
    auto socket = tls ? http::Socket::Tls(std::move(fd), *tls, kHandshake)
                      : http::Socket::Plain(std::move(fd));
    if (socket == nullptr) {
      log::Info("plane.handshake", "a TLS handshake failed", {{"peer", peer.text}});
      return;
    }
    engine.Serve(*socket, peer, limits, stopping);
  }

  void SweepNowAndThen() {
    std::unique_lock lock(mutex_);
    auto next = std::chrono::steady_clock::now() + kSweepEvery;
    while (!stopping) {
      ended_.wait_until(lock, next);
      if (stopping || std::chrono::steady_clock::now() < next) continue;
      lock.unlock();
      if (auto swept = plane.Sweep(); !swept) {
        plane.metrics().Add(Family::kSweepFailures);
        log::Error("plane.sweep", swept.error().ToString(), {{"code", swept.error().code}});
      }
      lock.lock();
      next = std::chrono::steady_clock::now() + kSweepEvery;
    }
  }

  void KeepLeases() {
    using std::chrono::milliseconds;
    const auto every = std::clamp(plane.config().lease.grace / 4, milliseconds(100), kLeasesEvery);
    std::unique_lock lock(mutex_);
    auto next = std::chrono::steady_clock::now() + every;
    std::string trouble;  // told once, however often it comes
    while (!stopping) {
      ended_.wait_until(lock, next);
      if (stopping || std::chrono::steady_clock::now() < next) continue;
      lock.unlock();
      if (auto swept = plane.SweepLeases(); swept) {
        if (!trouble.empty()) log::Info("plane.sweep_leases", "leases are kept again");
        trouble.clear();
      } else if (swept.error().code != trouble) {
        trouble = swept.error().code;
        log::Error("plane.sweep_leases", swept.error().ToString(), {{"code", trouble}});
      }
      leases_kept = clock.Monotonic();
      lock.lock();
      next = std::chrono::steady_clock::now() + every;
    }
  }

  void Stop(std::chrono::milliseconds grace) {
    std::lock_guard once(stop_mutex_);
    if (stopped_) return;
    stopped_ = true;
    status_server.reset();
    {
      std::lock_guard lock(mutex_);
      stopping = true;
    }
    router.Stop();
    ended_.notify_all();
    std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
    acceptor.join();
    sweeper.join();
    lease_keeper.join();
    listener.fd.reset();
    std::unique_lock lock(mutex_);
    // No new request is begun; those that wait for one are woken, those in progress may end.
    for (Worker& worker : workers_) {
      if (worker.fd) ::shutdown(worker.fd.get(), SHUT_RD);
    }
    auto all_done = [this] {
      return std::all_of(workers_.begin(), workers_.end(), [](const Worker& w) { return w.done; });
    };
    if (!ended_.wait_for(lock, grace, all_done)) {
      for (Worker& worker : workers_) {
        if (worker.fd) ::shutdown(worker.fd.get(), SHUT_RDWR);
      }
      ended_.wait(lock, all_done);
    }
    for (Worker& worker : workers_) worker.thread.join();
    workers_.clear();
  }

  static constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
      "Connection: close\r\nContent-Length: 52\r\n\r\n{\"error\":\"too many "
      "connections\",\"code\":\"overloaded\"}";
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() {
  Stop();
}
std::uint16_t HttpServer::port() const {
  return impl_->listener.port;
}
const std::string& HttpServer::url() const {
  return impl_->url;
}
Status HttpServer::Alive(std::chrono::milliseconds patience) const {
  return impl_->Alive(patience);
}
void HttpServer::Stop(std::chrono::milliseconds grace) {
  impl_->Stop(grace);
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(Plane& plane, const Clock& clock,
                                                      HttpServerOptions options) {
  std::optional<http::TlsContext> tls;
  if (options.tls) {
    WRIT_ASSIGN(auto loaded, http::TlsContext::Load(*options.tls));
    tls.emplace(std::move(loaded));
  }
  WRIT_ASSIGN(auto listener,
              http::Listen(options.host, options.port,
                           tls ? http::PlainHttp::kNotUsed : http::PlainHttp::kOnLoopbackOnly));
  auto impl = std::make_unique<Impl>(plane, clock, std::move(listener), std::move(tls));
  std::vector<status::StatusListener> listeners;
  if (!options.metrics.empty()) {
    WRIT_ASSIGN(status::StatusListener own, status::ListenForStatus(options.metrics));
    listeners.push_back(std::move(own));
  }
  impl->leases_kept = clock.Monotonic();
  impl->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wake) return SysError(errno, "plane.bind", "cannot make an eventfd");
  Impl* raw = impl.get();
  impl->acceptor = std::thread([raw] { raw->Accept(); });
  impl->sweeper = std::thread([raw] { raw->SweepNowAndThen(); });
  impl->lease_keeper = std::thread([raw] { raw->KeepLeases(); });
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(impl)));
  if (!listeners.empty()) {
    auto status_server = status::StatusServer::Start(
        std::move(listeners), [raw](std::string_view path) { return raw->AnswerStatus(path); });
    if (!status_server) return std::move(status_server).error();
    raw->status_server = std::move(*status_server);
  }
  return server;
}

}  // namespace writ::plane
