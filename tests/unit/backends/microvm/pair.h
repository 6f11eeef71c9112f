// Two sessions, or one and a raw peer, on a socket pair and one loop.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "writ/backends/microvm/session.h"

namespace writ::test {

struct StreamPair {
  UniqueFd host;
  UniqueFd guest;
};
inline StreamPair MakeStreamPair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Ends the loop after so long that the test has failed.
inline void Bound(backends::microvm::EventLoop& loop) {
  loop.At(backends::microvm::EventLoop::Clock::now() + std::chrono::seconds(60), [&loop] {
    ADD_FAILURE() << "nothing happened any more";
    loop.Stop();
  });
}

}  // namespace writ::test
