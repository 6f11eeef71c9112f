// bench_connects PORT COUNT: connects to 127.0.0.1:PORT and closes, COUNT times; prints nanoseconds
// per connect.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
  const int count = std::atoi(argv[2]);
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return 1;
    linger hard{1, 0};  // no TIME_WAIT, so that a run does not use up the ports
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    ::close(socket);
  }
  auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::steady_clock::now() - start);
  std::printf("%lld\n", static_cast<long long>(took.count() / count));
  return 0;
}
