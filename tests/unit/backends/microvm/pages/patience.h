// How long the page server's tests wait for another process before they fail, where they would
// otherwise hang.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace writ::test {

inline constexpr std::chrono::seconds kPatience{20};  // of one wait; a busy host is no failure

// For a SetUp: the program's end, by SIGALRM, where a test waits for what has no bound of its own
// (an answer to a runner); before CTest's.
inline void BoundTest() {
  ::alarm(100);
}

// Reading from this socket fails (EAGAIN) after that; 0 s: never.
inline void BoundReads(int socket, std::chrono::seconds patience = kPatience) {
  const timeval most{.tv_sec = patience.count(), .tv_usec = 0};
  ASSERT_EQ(::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most), 0);
}

// Whether `so` has come to hold.
template <typename Condition>
bool Eventually(const Condition& so) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!so()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace writ::test
