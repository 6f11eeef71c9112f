#include "writ/egress/server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <list>

#include "connection.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/egress/confinement.h"

namespace writ::egress {
namespace {

constexpr std::size_t kMaxConfigBytes = 64u << 20;
constexpr std::uint64_t kReservedDescriptors = 64;
constexpr auto kStarvedPause = std::chrono::milliseconds(20);

// The process's own state machine: configure, listen, stop.
class Server {
 public:
  Server(asio::io_context& io, std::optional<ProxyIdentity> identity)
      : io_(io), identity_(identity), link_(io, UniqueFd(kControlFd), [this] { Leave(3); }) {}

  asio::awaitable<void> Run();
  int exit_status() const { return exit_status_; }

 private:
  struct Listener {
    Listener(asio::io_context& io, UniqueFd fd, ListenerReach r)
        : descriptor(io, fd.release()), reach(r) {}
    asio::posix::stream_descriptor descriptor;
    ListenerReach reach;
  };

  Status Configure(std::vector<UniqueFd> fds);
  Result<Listener*> AddListener(std::vector<UniqueFd> fds, ListenerReach reach);
  asio::awaitable<void> Accept(Listener* listener);
  asio::awaitable<void> Admit(UniqueFd socket, ListenerReach reach);
  asio::awaitable<void> Stop();
  void Leave(int status) {
    exit_status_ = status;
    io_.stop();
  }

  asio::io_context& io_;
  std::optional<ProxyIdentity> identity_;
  RunnerLink link_;
  Resolver* resolver_ = nullptr;  // lives as long as the process: its threads may sit in libc
  std::optional<Session> session_;
  std::list<Listener> listeners_;
  int exit_status_ = 3;
};

Status Server::Configure(std::vector<UniqueFd> fds) {
  if (fds.size() != 1)
    return Error{ErrorKind::kInvalid, "egress.config",
                 "the configuration came without its memory file"};
  WRIT_ASSIGN(std::string document, ReadAll(fds[0].get(), kMaxConfigBytes));
  auto config = ParseConfig(document);
  explicit_bzero(document.data(), document.size());
  if (!config) return std::move(config).error();
  fds.clear();

  std::optional<PeerGuard> guard;
  if (config->allowed_uid) {
    WRIT_ASSIGN(PeerGuard opened, PeerGuard::Open());
    guard = std::move(opened);
  }
  resolver_ = new Resolver(io_);
  // Lets libc load what it needs for names while files may still be mapped executable.
  addrinfo* list = nullptr;
  if (::getaddrinfo("localhost", nullptr, nullptr, &list) == 0) ::freeaddrinfo(list);
  WRIT_TRY(InstallFilter());

  session_.emplace(io_, std::move(*config), link_, *resolver_);
  session_->peer_guard = std::move(guard);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
    return SysError(errno, "egress.rlimit", "cannot read the descriptor limit");
  std::uint64_t carried =
      files.rlim_cur > kReservedDescriptors + 2 ? (files.rlim_cur - kReservedDescriptors) / 2 : 1;
  session_->max_connections = static_cast<std::size_t>(
      std::min<std::uint64_t>(session_->config.limits.connections, carried));
  return {};
}

Result<Server::Listener*> Server::AddListener(std::vector<UniqueFd> fds, ListenerReach reach) {
  auto refuse = [](const char* message) {
    return Error{ErrorKind::kInvalid, "egress.listener", message};
  };
  if (fds.size() != 1) return refuse("a listener came without its socket");
  int listening = 0;
  int type = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fds[0].get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 ||
      listening == 0)
    return refuse("a listener is not a listening socket");
  size = sizeof type;
  if (::getsockopt(fds[0].get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
    return refuse("a listener is not a stream socket");
  if (reach == ListenerReach::kShared && session_->config.token.empty())
    return refuse("a listener that others can reach needs a session token");
  sockaddr_storage local{};
  size = sizeof local;
  if (::getsockname(fds[0].get(), reinterpret_cast<sockaddr*>(&local), &size) != 0)
    return SysError(errno, "egress.listener", "cannot read a listener's address");
  ProtectedEndpoint self;
  if (local.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(local);
    std::memcpy(self.address.bytes.data(), &v4.sin_addr, 4);
    self.port = ntohs(v4.sin_port);
  } else if (local.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(local);
    self.address.family = IpAddress::Family::kV6;
    std::memcpy(self.address.bytes.data(), &v6.sin6_addr, 16);
    self.port = ntohs(v6.sin6_port);
  }
  if (self.port) {
    if (reach == ListenerReach::kShared && Classify(self.address) == AddressClass::kUnspecified)
      return refuse("a listener that others can reach is bound to every address");
    session_->config.rules.never.push_back(self);  // the proxy is no target (L22)
  }
  listeners_.emplace_back(io_, std::move(fds[0]), reach);
  return &listeners_.back();
}

asio::awaitable<void> Server::Admit(UniqueFd socket, ListenerReach reach) {
  Counters& counters = session_->counters;
  ++counters.accepted;
  if (session_->connections.size() >= session_->max_connections) {
    ++counters.overloaded;
    ++counters.closed;
    std::string reply = RefusalReply(503, "proxy.connections", ReplyShape{});
    (void)!::send(socket.get(), reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    ::shutdown(socket.get(), SHUT_WR);
    RefusalEvent event{0, Reason::kOverloaded, "proxy.connections", 503};
    co_await link_.Emit(std::move(event), counters);
    co_return;
  }
  int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto connection = std::make_shared<Connection>(*session_, std::move(socket), reach);
  session_->connections.insert(connection);
  asio::co_spawn(
      io_, [connection]() -> asio::awaitable<void> { return connection->Run(); }, asio::detached);
}

asio::awaitable<void> Server::Accept(Listener* listener) {
  for (;;) {
    asio::error_code error;
    co_await listener->descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                             asio::redirect_error(asio::use_awaitable, error));
    if (error || session_->stopping) co_return;
    for (int batch = 0; batch < 64 && !session_->stopping; ++batch) {
      UniqueFd socket(::accept4(listener->descriptor.native_handle(), nullptr, nullptr,
                                SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        co_await Admit(std::move(socket), listener->reach);
        continue;
      }
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Out of descriptors in spite of the limit: leave the rest in the backlog for a moment.
        asio::steady_timer pause(io_, kStarvedPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      }
      if (errno != ECONNABORTED && errno != EINTR) break;
    }
  }
}

asio::awaitable<void> Server::Stop() {
  session_->stopping = true;
  for (Listener& listener : listeners_) {
    asio::error_code ignored;
    listener.descriptor.close(ignored);
  }
  while (!session_->connections.empty()) {
    auto open = session_->connections;  // ending changes the set
    for (const auto& connection : open) connection->Abort("stopped");
    asio::steady_timer turn(io_, std::chrono::milliseconds(1));
    asio::error_code ignored;
    co_await turn.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  ClosedMessage closed{session_->counters, {}};
  for (const auto& entry : session_->overrides) closed.resolver_overrides.push_back(entry.first);
  ProxyMessage last = std::move(closed);
  co_await link_.Send(std::move(last));
  Leave(0);
}

asio::awaitable<void> Server::Run() {
  bool configured = false;
  for (;;) {
    auto incoming = co_await link_.Receive();
    if (!incoming) co_return Leave(3);
    if (std::holds_alternative<ConfigureMessage>(incoming->message) && !configured) {
      Status status = EnterIdentity(identity_);
      if (status) status = Configure(std::move(incoming->fds));
      if (!status) {
        ProxyMessage failed = FailedMessage{status.error().code, status.error().ToString()};
        co_await link_.Send(std::move(failed));
        co_return Leave(1);
      }
      configured = true;
      ProxyMessage ready = ReadyMessage{};
      co_await link_.Send(std::move(ready));
    } else if (const auto* listen = std::get_if<ListenerMessage>(&incoming->message);
               listen != nullptr && configured) {
      std::uint64_t id = listen->id;
      auto added = AddListener(std::move(incoming->fds), listen->reach);
      if (!added) {
        ProxyMessage refused =
            ListenerRefusedMessage{id, added.error().code, added.error().message};
        co_await link_.Send(std::move(refused));
        continue;
      }
      // Blocking accepts would stop everything; the flag is shared with whoever made the socket.
      asio::error_code ignored;
      (*added)->descriptor.native_non_blocking(true, ignored);
      asio::co_spawn(io_, Accept(*added), asio::detached);
      ProxyMessage listening = ListeningMessage{id};
      co_await link_.Send(std::move(listening));
    } else if (std::holds_alternative<StopMessage>(incoming->message) && configured &&
               !session_->stopping) {
      asio::co_spawn(io_, Stop(), asio::detached);
    } else {
      co_return Leave(3);  // a runner that breaks the order of messages is no runner
    }
  }
}

}  // namespace

int RunProxy(const std::optional<ProxyIdentity>& identity) {
  if (auto shed = ShedResources(kControlFd); !shed) {
    log::Error("egress.start_failed", shed.error().ToString());
    return 1;
  }
  try {
    // Never destroyed: coroutines that are still open hold sockets that the process's end closes.
    auto* io = new asio::io_context;
    auto* server = new Server(*io, identity);
    asio::co_spawn(*io, server->Run(), asio::detached);
    io->run();
    return server->exit_status();
  } catch (const std::exception& failure) {
    log::Error("egress.crashed", failure.what());
    return 1;
  }
}

}  // namespace writ::egress
