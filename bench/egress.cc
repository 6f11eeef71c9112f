// The egress proxy beside a direct connection, over loopback, in one run: set-up of a CONNECT
// tunnel up to the first echoed bytes, bulk throughput one way, time of a decision, start of the
// process.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/places.h"
#include "writ/egress/decision.h"
#include "writ/egress/proxy_process.h"

namespace {

using namespace writ;
using namespace writ::egress;

constexpr std::size_t kBulkBytes = 256u << 20;

std::string Hello() {
  const std::string name = "allowed.example.com";
  auto big = [](std::size_t v, int width) {
    std::string out;
    for (int i = width - 1; i >= 0; --i) out += static_cast<char>(v >> (8 * i) & 0xff);
    return out;
  };
  std::string entry = big(0, 1) + big(name.size(), 2) + name;
  std::string list = big(entry.size(), 2) + entry;
  std::string extensions = big(0, 2) + big(list.size(), 2) + list;
  std::string body = big(0x0303, 2) + std::string(32, 'r') + big(0, 1) + big(2, 2) +
                     big(0x1301, 2) + big(1, 1) + big(0, 1) + big(extensions.size(), 2) +
                     extensions;
  std::string message = big(1, 1) + big(body.size(), 3) + body;
  return big(22, 1) + big(0x0301, 2) + big(message.size(), 2) + message;
}

void Fail(const char* what) {
  std::perror(what);
  std::abort();
}

UniqueFd Listen(std::uint16_t& port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(fd.get(), 1024) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    Fail("listen");
  port = ntohs(address.sin_port);
  return fd;
}

UniqueFd Connect(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    Fail("connect");
  return fd;
}

void Send(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) Fail("send");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void Receive(int fd, std::size_t bytes) {
  static thread_local std::vector<char> buffer(1 << 20);
  while (bytes > 0) {
    ssize_t n = ::recv(fd, buffer.data(), std::min(bytes, buffer.size()), 0);
    if (n <= 0) Fail("recv");
    bytes -= static_cast<std::size_t>(n);
  }
}

// The upstream: echoes the hello; when it ends in 'B', sends kBulkBytes after it.
struct World {
  std::uint16_t upstream_port = 0;
  std::uint16_t proxy_port = 0;
  UniqueFd upstream;
  std::unique_ptr<ProxyProcess> proxy;
  std::string hello = Hello();

  World() {
    upstream = Listen(upstream_port);
    std::thread([this] {
      for (;;) {
        int fd = ::accept4(upstream.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        std::thread([this, fd] { Serve(fd); }).detach();
      }
    }).detach();
    ProxyConfig config;
    config.rules.rules.push_back(Rule{"allow",
                                      Rule::Effect::kAllow,
                                      HostPattern::Parse("allowed.example.com").value(),
                                      upstream_port,
                                      {}});
    config.rules.address_grants.push_back({"loopback", Cidr::Parse("127.0.0.0/8").value()});
    config.resolver_overrides.push_back({"allowed.example.com", {IpAddress::V4(127, 0, 0, 1)}});
    proxy = Started(config);
    if (!proxy->AddListener(Listen(proxy_port), ListenerReach::kPrivate)) Fail("listener");
  }

  static std::unique_ptr<ProxyProcess> Started(const ProxyConfig& config) {
    auto process = ProxyProcess::Configure(Spawned(), config, [](const ProxyEvent&) {});
    const Status ready = process ? (*process)->AwaitReady() : Status(process.error());
    if (!ready) {
      std::fprintf(stderr, "%s\n", ready.error().ToString().c_str());
      std::abort();
    }
    return std::move(*process);
  }

  static SpawnedProxy Spawned() {
    ProxyStart start;
    start.executable = writ::test::BinDir() + "/writ-egress-proxy";
    if (::geteuid() == 0) start.identity = ProxyIdentity{65534, 65534};
    auto spawned = ProxyProcess::Spawn(start);
    if (!spawned) Fail("spawn");
    return std::move(*spawned);
  }

  void Serve(int fd) {
    UniqueFd owned(fd);
    Receive(fd, hello.size());
    Send(fd, hello);
    char more;
    if (::recv(fd, &more, 1, 0) != 1) return;
    std::vector<char> block(1 << 20, 'x');
    for (std::size_t sent = 0; sent < kBulkBytes; sent += block.size())
      Send(fd, {block.data(), block.size()});
  }

  UniqueFd Direct() {
    UniqueFd fd = Connect(upstream_port);
    Send(fd.get(), hello);
    Receive(fd.get(), hello.size());
    return fd;
  }

  UniqueFd Tunnel() {
    static const std::string kAnswer = "HTTP/1.1 200 Connection established\r\n\r\n";
    UniqueFd fd = Connect(proxy_port);
    std::string authority = "allowed.example.com:" + std::to_string(upstream_port);
    Send(fd.get(), "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n");
    Receive(fd.get(), kAnswer.size());
    Send(fd.get(), hello);
    Receive(fd.get(), hello.size());
    return fd;
  }
};

World& TheWorld() {
  static World* world = new World;
  return *world;
}

void SetUpDirect(benchmark::State& state) {
  World& world = TheWorld();
  for (auto _ : state) benchmark::DoNotOptimize(world.Direct().get());
}
void SetUpThroughProxy(benchmark::State& state) {
  World& world = TheWorld();
  for (auto _ : state) benchmark::DoNotOptimize(world.Tunnel().get());
}
void Bulk(benchmark::State& state, UniqueFd (World::*open)()) {
  World& world = TheWorld();
  for (auto _ : state) {
    state.PauseTiming();
    UniqueFd fd = (world.*open)();
    state.ResumeTiming();
    Send(fd.get(), "B");
    Receive(fd.get(), kBulkBytes);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(kBulkBytes));
}
void BulkDirect(benchmark::State& state) {
  Bulk(state, &World::Direct);
}
void BulkThroughProxy(benchmark::State& state) {
  Bulk(state, &World::Tunnel);
}

void Decide(benchmark::State& state) {
  RuleSet rules;
  for (std::int64_t i = 0; i < state.range(0); ++i)
    rules.rules.push_back(
        Rule{"r" + std::to_string(i),
             Rule::Effect::kAllow,
             HostPattern::Parse("*.h" + std::to_string(i) + ".example.com").value(),
             std::nullopt,
             {}});
  Target target{Protocol::kConnect, HostName::Normalise("denied.example.org").value(), 443};
  for (auto _ : state) benchmark::DoNotOptimize(DecideHost(rules, target).allowed);
}

void NormaliseHost(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(HostName::Normalise("API.Registry.Example.COM").has_value());
}

void StartProcess(benchmark::State& state) {
  for (auto _ : state) {
    auto started = World::Started(ProxyConfig{});
    state.PauseTiming();
    started->Stop(std::chrono::seconds(5));
    state.ResumeTiming();
  }
}

BENCHMARK(SetUpDirect)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(SetUpThroughProxy)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(BulkDirect)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BulkThroughProxy)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Decide)->Arg(10)->Arg(1'000)->Arg(100'000);
BENCHMARK(NormaliseHost);
BENCHMARK(StartProcess)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
