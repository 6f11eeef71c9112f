// How long the page server's tests wait for another process before they fail, where they would
// otherwise hang.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <chrono>
#include <thread>

namespace writ::test {

inline constexpr std::chrono::seconds kPatience{20};  // of one wait; a busy host is no failure
// The test program's end, by SIGALRM, where it waits for what cannot be bounded (an answer to a
// runner): less than what CTest gives it.
inline constexpr std::chrono::duration<unsigned> kLongestTest{100};

// Reading from this socket fails (EAGAIN) after that.
inline void BoundReads(int socket) {
  const timeval most{.tv_sec = kPatience.count(), .tv_usec = 0};
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
