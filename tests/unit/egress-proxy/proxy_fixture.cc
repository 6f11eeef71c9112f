#include "proxy_fixture.h"
#include "support/places.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace writ::egress::test {
namespace {

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string Big(std::size_t value, int width) {
  std::string out;
  for (int i = width - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

}  // namespace

BoundListener ListenOnLoopback(int backlog) {
  BoundListener out;
  out.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (::bind(out.fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(out.fd.get(), backlog) != 0 ||
      ::getsockname(out.fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    ADD_FAILURE() << "cannot listen on loopback: errno " << errno;
  out.port = ntohs(address.sin_port);
  return out;
}

UniqueFd ConnectTo(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_in address = Loopback(port);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    ADD_FAILURE() << "cannot connect: errno " << errno;
  return fd;
}

void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string ReadUntilEof(int fd) {
  std::string out;
  char chunk[65536];
  for (;;) {
    ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
    if (n <= 0) return out;
    out.append(chunk, static_cast<std::size_t>(n));
  }
}

std::string ReadHead(int fd) {
  std::string out;
  char c;
  while (::recv(fd, &c, 1, 0) == 1) {
    out += c;
    if (out.ends_with("\r\n\r\n")) return out;
  }
  return out;
}

std::string ReadExactly(int fd, std::size_t bytes) {
  std::string out(bytes, '\0');
  std::size_t done = 0;
  while (done < bytes) {
    ssize_t n = ::recv(fd, out.data() + done, bytes - done, 0);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return out;
}

int StatusOf(std::string_view head) {
  if (head.size() < 12 || !head.starts_with("HTTP/1.")) return 0;
  return std::stoi(std::string(head.substr(9, 3)));
}

std::string HeaderOf(std::string_view head, std::string_view name) {
  std::string needle = "\r\n" + std::string(name) + ": ";
  std::size_t at = head.find(needle);
  if (at == std::string_view::npos) return "";
  std::size_t start = at + needle.size();
  return std::string(head.substr(start, head.find("\r\n", start) - start));
}

std::string MakeClientHello(std::string_view sni, bool encrypted_hello) {
  std::string extensions;
  if (!sni.empty()) {
    std::string entry = std::string(1, '\0') + Big(sni.size(), 2) + std::string(sni);
    std::string list = Big(entry.size(), 2) + entry;
    extensions += Big(0, 2) + Big(list.size(), 2) + list;
  }
  extensions += Big(0x0a0a, 2) + Big(0, 2);  // GREASE
  if (encrypted_hello) extensions += Big(0xfe0d, 2) + Big(3, 2) + "abc";
  std::string body = Big(0x0303, 2) + std::string(32, 'r') + Big(0, 1) + Big(2, 2) +
                     Big(0x1301, 2) + Big(1, 1) + Big(0, 1) + Big(extensions.size(), 2) +
                     extensions;
  std::string message = Big(1, 1) + Big(body.size(), 3) + body;
  return Big(22, 1) + Big(0x0301, 2) + Big(message.size(), 2) + message;
}

Upstream::Upstream(std::function<void(int fd)> serve) : serve_(std::move(serve)) {
  BoundListener bound = ListenOnLoopback();
  listener_ = std::move(bound.fd);
  port_ = bound.port;
  auto pipe = MakePipe();
  wake_read_ = std::move(pipe->read_end);
  wake_write_ = std::move(pipe->write_end);
  thread_ = std::thread([this] {
    for (;;) {
      pollfd waiting[2] = {{listener_.get(), POLLIN, 0}, {wake_read_.get(), POLLIN, 0}};
      if (::poll(waiting, 2, -1) < 0) continue;
      if (waiting[1].revents != 0) return;
      int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      ++connections_;
      std::lock_guard lock(mutex_);
      open_.push_back(fd);
      workers_.emplace_back([this, fd] {
        serve_(fd);
        ::shutdown(fd, SHUT_RDWR);
      });
    }
  });
}

Upstream::~Upstream() {
  wake_write_.reset();
  thread_.join();
  for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
  for (std::thread& worker : workers_) worker.join();
  for (int fd : open_) ::close(fd);
}

std::function<void(int)> AnswerWith(std::string response) {
  return [response](int fd) {
    if (ReadHead(fd).empty()) return;
    SendAll(fd, response);
  };
}

std::function<void(int)> Echo() {
  return [](int fd) {
    char chunk[65536];
    ssize_t n;
    while ((n = ::recv(fd, chunk, sizeof chunk, 0)) > 0)
      SendAll(fd, {chunk, static_cast<std::size_t>(n)});
  };
}

Rule Allow(std::string id, std::string_view host, std::optional<std::uint16_t> port) {
  return Rule{std::move(id), Rule::Effect::kAllow, HostPattern::Parse(host).value(), port, {}};
}

ProxyConfig Proxy::LoopbackConfig() {
  ProxyConfig config;
  config.rules.address_grants.push_back({"grant.loopback", Cidr::Parse("127.0.0.0/8").value()});
  config.resolver_overrides.push_back({"allowed.example.com", {IpAddress::V4(127, 0, 0, 1)}});
  return config;
}

ProxyStart Proxy::StartOptions() {
  ProxyStart start;
  start.executable = writ::test::BinDir() + "/writ-egress-proxy";
  if (::geteuid() == 0) start.identity = ProxyIdentity{65534, 65534};
  return start;
}

Result<std::unique_ptr<ProxyProcess>> StartProxy(const ProxyConfig& config,
                                                 ProxyProcess::Sink sink) {
  WRIT_ASSIGN(SpawnedProxy spawned, ProxyProcess::Spawn(Proxy::StartOptions()));
  WRIT_ASSIGN(auto process, ProxyProcess::Configure(std::move(spawned), config, std::move(sink)));
  WRIT_TRY(process->AwaitReady(std::chrono::seconds(20)));
  return process;
}

Proxy::Proxy(ProxyConfig config, ListenerReach reach) {
  auto started = StartProxy(config, [this](const ProxyEvent& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  });
  if (!started) {
    ADD_FAILURE() << started.error().ToString();
    std::abort();
  }
  process_ = std::move(*started);
  BoundListener bound = ListenOnLoopback();
  port_ = bound.port;
  auto added = process_->AddListener(std::move(bound.fd), reach);
  EXPECT_TRUE(added.has_value()) << (added ? "" : added.error().ToString());
}

Proxy::~Proxy() {
  process_.reset();
}

std::string Proxy::RoundTrip(std::string_view request) {
  UniqueFd fd = Connect();
  SendAll(fd.get(), request);
  ::shutdown(fd.get(), SHUT_WR);
  return ReadUntilEof(fd.get());
}

std::pair<UniqueFd, std::string> Proxy::Tunnel(const std::string& authority) {
  UniqueFd fd = Connect();
  SendAll(fd.get(), "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n");
  std::string head = ReadHead(fd.get());
  return {std::move(fd), head};
}

bool Proxy::WaitFor(const std::function<bool(const std::vector<ProxyEvent>&)>& enough) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return enough(events_); });
}

ClosingReport Proxy::Stop() {
  return process_->Stop(std::chrono::seconds(20));
}

}  // namespace writ::egress::test
