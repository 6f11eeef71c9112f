#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "misbehave.h"
#include "task.h"
#include "writ/base/unique_fd.h"

namespace writ::mock {
namespace {

constexpr unsigned kLongSeconds = 600;

void SleepLong() {
  for (unsigned left = kLongSeconds; left > 0;) left = ::sleep(left);
}

void TryConnect(const char* what, int family, int type, int protocol, const char* address,
                std::uint16_t port) {
  UniqueFd socket(::socket(family, type | SOCK_CLOEXEC, protocol));
  std::string line = std::string("direct ") + what + ": ";
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    ::inet_pton(AF_INET, address, &in->sin_addr);
    size = sizeof *in;
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&storage);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    ::inet_pton(AF_INET6, address, &in->sin6_addr);
    size = sizeof *in;
  }
  const bool connected =
      socket && ::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) == 0;
  Say(1, line + (connected ? "connected" : std::string("refused, ") + std::strerror(errno)) + "\n");
}

}  // namespace

void ForkBomb() {
  rlimit limit{};
  // Under a limit this is a test; without one it would be an accident.
  if (::getrlimit(RLIMIT_NPROC, &limit) != 0 || limit.rlim_cur > 8192 || ::geteuid() == 0) {
    Say(2, "fork-bomb: refused, there is no process limit here\n");
    return;
  }
  Say(1, "fork bomb starts\n");
  for (;;) {
    pid_t pid = ::fork();
    if (pid < 0) break;  // the limit; every process comes here in the end
  }
  SleepLong();
}

void IgnoreSigterm() {
  for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) ::signal(signal, SIG_IGN);
  Say(1, "ignoring SIGTERM\n");
  SleepLong();
}

void BurstExit() {
  std::string block(64 * 1024, 'b');
  block.back() = '\n';
  for (int i = 0; i < 128; ++i) Say(1, block);
  ::_exit(0);
}

void EndlessOutput() {
  const std::string block(64 * 1024, 'e');
  for (;;) Say(1, block);
}

void DoubleForkSetsid() {
  if (::fork() == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    ::close(0);
    ::close(1);
    ::close(2);
    SleepLong();
    ::_exit(0);
  }
  Say(1, "a process is hidden\n");
}

void HoldStdout() {
  if (::fork() == 0) {
    ::setsid();
    SleepLong();
    ::_exit(0);
  }
  Say(1, "a grandchild holds stdout\n");
  ::_exit(0);
}

void StopItself() {
  Say(1, "stopping\n");
  ::raise(SIGSTOP);
}

void Crash() {
  ::signal(SIGSEGV, SIG_DFL);
  ::raise(SIGSEGV);
}

void EatMemory() {
  std::vector<char*> blocks;
  constexpr std::size_t kBlock = 16u << 20;
  for (int i = 0; i < 1024; ++i) {
    auto* block = static_cast<char*>(std::malloc(kBlock));
    if (block == nullptr) break;
    std::memset(block, i, kBlock);
    blocks.push_back(block);
  }
  Say(1, "memory taken: " + std::to_string(blocks.size() * 16) + " MiB\n");
  for (char* block : blocks) std::free(block);
}

void IgnoreProxy() {
  TryConnect("tcp", AF_INET, SOCK_STREAM, 0, "192.0.2.1", 443);
  TryConnect("tcp to the metadata service", AF_INET, SOCK_STREAM, 0, "169.254.169.254", 80);
  TryConnect("tcp to a local service", AF_INET, SOCK_STREAM, 0, "127.0.0.1", 22);
  TryConnect("tcp over ipv6", AF_INET6, SOCK_STREAM, 0, "2001:db8::1", 443);
  TryConnect("udp", AF_INET, SOCK_DGRAM, 0, "192.0.2.53", 53);
  TryConnect("mptcp", AF_INET, SOCK_STREAM, 262, "192.0.2.1", 443);
  addrinfo* found = nullptr;
  const bool resolved = ::getaddrinfo("example.com", "443", nullptr, &found) == 0;
  if (found != nullptr) ::freeaddrinfo(found);
  Say(1, std::string("direct name lookup: ") + (resolved ? "answered" : "refused") + "\n");
}

}  // namespace writ::mock
