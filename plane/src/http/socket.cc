#include "http/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "writ/base/encoding.h"

namespace writ::plane::http {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr int kBacklog = 512;

// True when `fd` is ready for `events` before `deadline`.
bool WaitFor(int fd, short events, SteadyClock::time_point deadline) {
  for (;;) {
    auto left = std::chrono::ceil<milliseconds>(deadline - SteadyClock::now());
    pollfd waiting{fd, events, 0};
    int ready = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

// A peer that has shut down its writing side counts as gone: nobody who waits for an answer does
// that.
bool Gone(int fd) {
  pollfd entry{fd, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

class PlainSocket final : public Socket {
 public:
  explicit PlainSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  ssize_t Read(char* out, std::size_t size, milliseconds timeout) override {
    const auto deadline = SteadyClock::now() + timeout;
    for (;;) {
      ssize_t n = ::recv(fd_.get(), out, size, 0);
      if (n >= 0) return n;
      if (errno == EINTR) continue;
      if (errno != EAGAIN || !WaitFor(fd_.get(), POLLIN, deadline)) return -1;
    }
  }

  bool Write(std::string_view bytes, milliseconds timeout) override {
    const auto deadline = SteadyClock::now() + timeout;
    while (!bytes.empty()) {
      ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno != EINTR && (errno != EAGAIN || !WaitFor(fd_.get(), POLLOUT, deadline))) {
        return false;
      }
    }
    return true;
  }

  void Linger(milliseconds limit) override {
    ::shutdown(fd_.get(), SHUT_WR);
    const auto deadline = SteadyClock::now() + limit;
    char waste[16384];
    while (SteadyClock::now() < deadline && Read(waste, sizeof waste, limit) > 0) {
    }
  }

  bool PeerGone() const override { return Gone(fd_.get()); }

 private:
  UniqueFd fd_;
};

class TlsSocket final : public Socket {
 public:
  TlsSocket(UniqueFd fd, SSL* ssl) : fd_(std::move(fd)), ssl_(ssl) {}
  ~TlsSocket() override { SSL_free(ssl_); }

  bool Handshake(milliseconds timeout) {
    const auto deadline = SteadyClock::now() + timeout;
    for (;;) {
      ERR_clear_error();
      int n = SSL_accept(ssl_);
      if (n == 1) return true;
      if (!Again(n, deadline)) return false;
    }
  }

  ssize_t Read(char* out, std::size_t size, milliseconds timeout) override {
    const auto deadline = SteadyClock::now() + timeout;
    for (;;) {
      ERR_clear_error();
      int n = SSL_read(ssl_, out, static_cast<int>(std::min<std::size_t>(size, 1 << 20)));
      if (n > 0) return n;
      if (SSL_get_error(ssl_, n) == SSL_ERROR_ZERO_RETURN) return 0;
      if (!Again(n, deadline)) return -1;
    }
  }

  bool Write(std::string_view bytes, milliseconds timeout) override {
    const auto deadline = SteadyClock::now() + timeout;
    while (!bytes.empty()) {
      ERR_clear_error();
      int n = SSL_write(ssl_, bytes.data(),
                        static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20)));
      if (n > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
      } else if (!Again(n, deadline)) {
        return false;
      }
    }
    return true;
  }

  void Linger(milliseconds limit) override {
    ERR_clear_error();
    SSL_shutdown(ssl_);
    const auto deadline = SteadyClock::now() + limit;
    char waste[16384];
    while (SteadyClock::now() < deadline && Read(waste, sizeof waste, limit) > 0) {
    }
  }

  bool PeerGone() const override { return Gone(fd_.get()); }

 private:
  bool Again(int result, SteadyClock::time_point deadline) {
    switch (SSL_get_error(ssl_, result)) {
      case SSL_ERROR_WANT_READ:
        return WaitFor(fd_.get(), POLLIN, deadline);
      case SSL_ERROR_WANT_WRITE:
        return WaitFor(fd_.get(), POLLOUT, deadline);
      default:
        return false;
    }
  }
  UniqueFd fd_;
  SSL* ssl_;
};

// The first of OpenSSL's reasons: a file that cannot be opened says so with its errno.
Error TlsError(const std::string& message) {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  Error error{.kind = ErrorKind::kInvalid,
              .code = "plane.tls",
              .message = message,
              .hint =
                  "--tls-cert takes a PEM certificate chain, --tls-key its private key, "
                  "--client-ca a PEM CA; look whether the files are there and readable"};
  if (ERR_SYSTEM_ERROR(code)) {
    error.sys_errno = ERR_GET_REASON(code);
  } else if (const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code)) {
    error.message += std::string(": ") + reason;
  }
  return error;
}

bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    if (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) return true;
    return IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127;
  }
  return false;
}

std::string NumericHost(const sockaddr* address, socklen_t size) {
  char text[NI_MAXHOST];
  if (::getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
    return "unknown";
  return text;
}

std::string GroupOf(const sockaddr* address, const std::string& text) {
  if (address->sa_family != AF_INET6) return text;
  const auto& bytes = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&bytes) || IN6_IS_ADDR_LOOPBACK(&bytes)) return text;
  return HexEncode({reinterpret_cast<const char*>(bytes.s6_addr), 8});
}

}  // namespace

Result<TlsContext> TlsContext::Load(const TlsFiles& files) {
  ERR_clear_error();
  SSL_CTX* raw = SSL_CTX_new(TLS_server_method());
  if (raw == nullptr) return TlsError("TLS cannot be set up");
  TlsContext context(raw);
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(raw, files.certificate.c_str()) != 1) {
    return TlsError("the TLS certificate " + files.certificate + " cannot be used");
  }
  if (SSL_CTX_use_PrivateKey_file(raw, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return TlsError("the TLS key " + files.key + " cannot be used");
  }
  if (SSL_CTX_check_private_key(raw) != 1) return TlsError("the TLS key is not the certificate's");
  if (!files.client_ca.empty()) {
    if (SSL_CTX_load_verify_locations(raw, files.client_ca.c_str(), nullptr) != 1) {
      return TlsError("the client CA " + files.client_ca + " cannot be used");
    }
    STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(files.client_ca.c_str());
    if (names == nullptr) return TlsError("the client CA " + files.client_ca + " cannot be used");
    SSL_CTX_set_client_CA_list(raw, names);
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return context;
}

TlsContext::TlsContext(TlsContext&& other) noexcept : context_(other.context_) {
  other.context_ = nullptr;
}

TlsContext::~TlsContext() {
  SSL_CTX_free(static_cast<SSL_CTX*>(context_));
}

std::unique_ptr<Socket> Socket::Plain(UniqueFd fd) {
  return std::make_unique<PlainSocket>(std::move(fd));
}

std::unique_ptr<Socket> Socket::Tls(UniqueFd fd, const TlsContext& context, milliseconds timeout) {
  SSL* ssl = SSL_new(static_cast<SSL_CTX*>(context.get()));
  if (ssl == nullptr) return nullptr;
  SSL_set_fd(ssl, fd.get());
  auto socket = std::make_unique<TlsSocket>(std::move(fd), ssl);
  if (!socket->Handshake(timeout)) return nullptr;
  return socket;
}

namespace {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Result<Addresses> Resolve(const std::string& host, std::uint16_t port, PlainHttp plain) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failed != 0) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "plane.host",
                 .message = "the host " + host +
                            " is not an address of this machine: " + ::gai_strerror(failed)};
  }
  Addresses out(list, ::freeaddrinfo);
  if (!IsLoopback(list->ai_addr) && plain == PlainHttp::kOnLoopbackOnly) {
    return Error{
        .kind = ErrorKind::kDenied,
        .code = "plane.plain_http",
        .message = "plain http is only served on a loopback address, and " + host + " is none",
        .hint = "give --tls-cert and --tls-key, or bind to 127.0.0.1"};
  }
  return out;
}

}  // namespace

Status CheckHost(const std::string& host, PlainHttp plain) {
  auto found = Resolve(host, 0, plain);
  return found ? Status() : Status(std::move(found).error());
}

Result<Listener> Listen(const std::string& host, std::uint16_t port, PlainHttp plain) {
  WRIT_ASSIGN(Addresses list, Resolve(host, port, plain));
  Listener out;
  out.loopback = IsLoopback(list->ai_addr);
  out.fd.reset(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!out.fd) return SysError(errno, "plane.bind", "cannot make a socket");
  int one = 1;
  ::setsockopt(out.fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(out.fd.get(), list->ai_addr, list->ai_addrlen) != 0 ||
      ::listen(out.fd.get(), kBacklog) != 0) {
    Error error =
        SysError(errno, "plane.bind", "cannot listen on " + host + " port " + std::to_string(port));
    error.kind = ErrorKind::kUnavailable;
    return error;
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(out.fd.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  out.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                               : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  out.host = NumericHost(reinterpret_cast<sockaddr*>(&bound), size);
  if (bound.ss_family == AF_INET6) out.host = "[" + out.host + "]";
  return out;
}

PeerAddress PeerOf(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0)
    return {"unknown", "unknown", false};
  auto* address = reinterpret_cast<sockaddr*>(&peer);
  const std::string text = NumericHost(address, size);
  return {text, GroupOf(address, text), IsLoopback(address)};
}

}  // namespace writ::plane::http
