// The life of the process: confinement, loss, reports.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "proxy_fixture.h"
#include "writ/base/child.h"
#include "writ/egress/confinement.h"
#include "writ/egress/control_message.h"

namespace writ::egress::test {
namespace {

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string StatusLine(const std::string& status, const std::string& name) {
  std::size_t at = status.find("\n" + name + ":");
  if (at == std::string::npos) return "";
  std::string line = status.substr(at + 1, status.find('\n', at + 1) - at - 1);
  return line.substr(name.size() + 1);
}

TEST(ProxyProcess, RunsWithoutPrivilegesUnderItsOwnFilter) {  // L20
  Proxy proxy(Proxy::LoopbackConfig());
  std::string status = Slurp("/proc/" + std::to_string(proxy.process().pid()) + "/status");
  EXPECT_EQ(StatusLine(status, "Seccomp"), "\t2");
  EXPECT_EQ(StatusLine(status, "NoNewPrivs"), "\t1");
  EXPECT_EQ(StatusLine(status, "CapEff"), "\t0000000000000000");
  EXPECT_EQ(StatusLine(status, "CapPrm"), "\t0000000000000000");
  if (::geteuid() == 0) {
    EXPECT_EQ(StatusLine(status, "Uid"), "\t65534\t65534\t65534\t65534");
    EXPECT_EQ(StatusLine(status, "Gid"), "\t65534\t65534\t65534\t65534");
    std::string groups = StatusLine(status, "Groups");
    EXPECT_EQ(groups.find_first_not_of(" \t"), std::string::npos) << groups;
  }
}

TEST(ProxyProcess, KeepsTheTokenOutOfArgvAndEnvironment) {  // L8, L11
  ProxyConfig config = Proxy::LoopbackConfig();
  config.token = NewSessionToken();
  std::string token(config.token.Reveal());
  EXPECT_GE(token.size(), 43u);
  Proxy proxy(std::move(config));
  std::string base = "/proc/" + std::to_string(proxy.process().pid());
  EXPECT_EQ(Slurp(base + "/cmdline").find(token), std::string::npos);
  EXPECT_EQ(Slurp(base + "/environ").find(token), std::string::npos);
  EXPECT_EQ(Slurp(base + "/environ"), "");
}

// Runs `attempt` in a child under the filter; its result is the exit status, 200 + signal when
// killed.
int UnderFilter(const std::function<int()>& attempt) {
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(99);
    if (!InstallFilter()) _exit(98);
    _exit(attempt());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? 200 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(ProxyProcess, CanNeitherBindNorListenNorWriteFilesNorStartPrograms) {
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  UniqueFd owned(socket);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  auto result = [](long r) { return r == 0 || r > 0 ? 0 : errno; };
  EXPECT_EQ(UnderFilter([&] {
              return result(::bind(socket, reinterpret_cast<sockaddr*>(&any), sizeof any));
            }),
            EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::listen(socket, 1)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::open("/tmp", O_RDWR | O_TMPFILE, 0600)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::open("/dev/null", O_WRONLY)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::open("/dev/null", O_RDONLY)); }), 0);
  EXPECT_EQ(UnderFilter([&] { return result(::socket(AF_UNIX, SOCK_STREAM, 0)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::socket(AF_NETLINK, SOCK_RAW, 0)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::socket(AF_INET, SOCK_STREAM, 0)); }), 0);
  EXPECT_EQ(UnderFilter([&] { return result(::unlink("/nonexistent")); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] { return result(::syscall(SYS_memfd_create, "x", 0)); }), EPERM);
  EXPECT_EQ(UnderFilter([&] {
              char* none[] = {nullptr};
              return result(::execve("/bin/true", none, none));
            }),
            200 + SIGSYS);
  EXPECT_EQ(UnderFilter([&] { return result(::syscall(SYS_ptrace, 0, 0, 0, 0)); }), 200 + SIGSYS);
}

TEST(ProxyProcess, IsReportedAsLostWhenItIsKilled) {
  Upstream upstream(Echo());
  ProxyConfig config = Proxy::LoopbackConfig();
  config.rules.rules.push_back(Allow("allow", "allowed.example.com", upstream.port()));
  Proxy proxy(std::move(config));
  auto [fd, head] = proxy.Tunnel("allowed.example.com:" + std::to_string(upstream.port()));
  ASSERT_EQ(StatusOf(head), 200);
  ASSERT_EQ(::syscall(SYS_pidfd_send_signal, proxy.process().pidfd(), SIGKILL, nullptr, 0), 0);
  ASSERT_TRUE(proxy.WaitFor([](const auto& events) {
    return !events.empty() && std::holds_alternative<ProxyLost>(events.back());
  }));
  EXPECT_EQ(ReadUntilEof(fd.get()), "");  // fail closed: the tunnel is gone with it
  BoundListener another = ListenOnLoopback();
  auto added = proxy.process().AddListener(std::move(another.fd), ListenerReach::kPrivate);
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().code, "egress.proxy_lost");
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.status, ClosingReport::Status::kLost);
  EXPECT_EQ(report.counters.allowed, 1u);  // what was decided before is still known
  EXPECT_FALSE(report.differences.empty());
  EXPECT_FALSE(proxy.process().alive());
}

TEST(ProxyProcess, LeavesWhenItsSocketCloses) {
  auto pair = MakeSeqpacketPair();
  SpawnOptions options;
  options.path = Proxy::StartOptions().executable;
  options.argv = {"writ-egress-proxy"};
  if (::geteuid() == 0) options.argv.insert(options.argv.end(), {"--uid=65534", "--gid=65534"});
  options.fds = {{pair->second.get(), kControlFd}};
  auto child = Child::Spawn(options);
  ASSERT_TRUE(child.has_value());
  pair->second.reset();
  auto config = MakeSealedMemfd("config", SerializeConfig(Proxy::LoopbackConfig()));
  ASSERT_TRUE(
      SendWithFds(pair->first.get(), Encode(RunnerMessage(ConfigureMessage{})), {config->get()})
          .has_value());
  auto ready = ReceiveWithFds(pair->first.get(), kMaxControlMessage);
  ASSERT_TRUE(ready.has_value());
  EXPECT_TRUE(std::holds_alternative<ReadyMessage>(DecodeProxyMessage(ready->bytes).value()));
  pair->first.reset();
  auto ended = child->Wait(std::chrono::seconds(20));
  ASSERT_TRUE(ended.has_value() && ended->has_value());
  EXPECT_EQ((*ended)->code, 3);
}

TEST(ProxyProcess, RefusesToRunAsRoot) {  // L20
  if (::geteuid() != 0) GTEST_SKIP() << "only root can start it as root";
  ProxyStart start = Proxy::StartOptions();
  start.identity.reset();
  auto spawned = ProxyProcess::Spawn(start);
  ASSERT_FALSE(spawned.has_value());
  EXPECT_EQ(spawned.error().code, "egress.identity");
  start.identity = ProxyIdentity{0, 65534};
  EXPECT_FALSE(ProxyProcess::Spawn(start).has_value());
}

TEST(ProxyProcess, SaysWhyItDidNotStart) {
  ProxyStart start = Proxy::StartOptions();
  start.executable = "/bin/false";
  auto spawned = ProxyProcess::Spawn(start);
  ASSERT_TRUE(spawned.has_value());
  auto process = ProxyProcess::Configure(std::move(*spawned), Proxy::LoopbackConfig(),
                                         [](const ProxyEvent&) {});
  ASSERT_TRUE(process.has_value());
  const Status started = (*process)->AwaitReady();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, "egress.start_failed");
}

TEST(ProxyProcess, LeavesWhereItIsNeverGivenRules) {
  auto spawned = ProxyProcess::Spawn(Proxy::StartOptions());
  ASSERT_TRUE(spawned.has_value());
  spawned->socket.reset();
  auto ended = spawned->child.Wait(std::chrono::seconds(20));
  ASSERT_TRUE(ended.has_value() && ended->has_value());
}

TEST(ProxyProcess, RefusesListenersItCannotGuard) {
  Proxy proxy(Proxy::LoopbackConfig());  // no token
  BoundListener shared = ListenOnLoopback();
  auto added = proxy.process().AddListener(std::move(shared.fd), ListenerReach::kShared);
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().code, "egress.listener");
  UniqueFd not_listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(
      proxy.process().AddListener(std::move(not_listening), ListenerReach::kPrivate).has_value());
}

TEST(ProxyProcess, RefusesAConnectionOfAnotherUid) {
  ProxyConfig config = Proxy::LoopbackConfig();
  config.token = Secret("0123456789abcdef0123456789abcdef");
  config.allowed_uid = ::geteuid() + 1;
  Proxy proxy(std::move(config), ListenerReach::kShared);
  EXPECT_EQ(proxy.RoundTrip(
                "GET http://denied.example.com/ HTTP/1.1\r\nHost: denied.example.com\r\n\r\n"),
            "");
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.foreign_peer, 1u);
  EXPECT_EQ(report.counters.requests, 0u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
}

TEST(ProxyProcess, TakesAConnectionOfTheJobsUid) {
  ProxyConfig config = Proxy::LoopbackConfig();
  config.token = Secret("0123456789abcdef0123456789abcdef");
  config.allowed_uid = ::geteuid();
  Proxy proxy(std::move(config), ListenerReach::kShared);
  EXPECT_EQ(StatusOf(proxy.RoundTrip(
                "GET http://denied.example.com/ HTTP/1.1\r\nHost: denied.example.com\r\n\r\n")),
            407);
  EXPECT_EQ(proxy.Stop().counters.foreign_peer, 0u);
}

TEST(ProxyProcess, HoldsDecisionsUpWhileItsEventsAreNotTaken) {  // back-pressure, nothing lost
  std::mutex gate;
  std::unique_lock closed(gate);
  std::atomic<std::uint64_t> seen = 0;
  auto started = StartProxy(Proxy::LoopbackConfig(), [&](const ProxyEvent&) {
    std::lock_guard wait(gate);
    ++seen;
  });
  ASSERT_TRUE(started.has_value());
  BoundListener bound = ListenOnLoopback();
  std::uint16_t port = bound.port;
  ASSERT_TRUE((*started)->AddListener(std::move(bound.fd), ListenerReach::kPrivate).has_value());
  constexpr std::uint64_t kRequests = 4000;  // far more than a socket buffer holds
  std::atomic<std::uint64_t> answered = 0;
  UniqueFd fd = ConnectTo(port);
  std::string request =
      "HEAD http://denied.example.com/ HTTP/1.1\r\nHost: denied.example.com\r\n\r\n";
  std::thread sender([&] {
    for (std::uint64_t i = 0; i < kRequests; ++i) SendAll(fd.get(), request);
  });
  std::thread reader([&] {
    while (answered < kRequests && !ReadHead(fd.get()).empty()) ++answered;
  });
  // The answers stop for want of room for their events: seen as a silence of the socket.
  std::uint64_t before;
  do {
    before = answered;
    pollfd ended{(*started)->pidfd(), POLLIN, 0};
    ::poll(&ended, 1, 200);
  } while (answered != before);
  EXPECT_LT(answered, kRequests);
  closed.unlock();
  sender.join();
  reader.join();
  EXPECT_EQ(answered, kRequests);
  ClosingReport report = (*started)->Stop(std::chrono::seconds(20));
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
  EXPECT_EQ(report.counters.denied, kRequests);
  EXPECT_EQ(seen, kRequests);
}

TEST(ProxyProcess, ResolvesANameOfTheHostAndChecksItsAddress) {  // L22
  ProxyConfig config;
  config.rules.rules.push_back(Allow("allow.local", "localhost"));
  config.limits.resolve = std::chrono::seconds(5);
  Proxy proxy(std::move(config));
  std::string answer = proxy.RoundTrip("GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), 403) << answer;
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Denied"), "address-class");
}

}  // namespace
}  // namespace writ::egress::test
