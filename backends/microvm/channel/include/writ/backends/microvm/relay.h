// Relay: moves bytes between a descriptor and a stream, each way with its own end and no more in
// memory than the stream's window and kSendHighWater.
//
// Owns the descriptor and itself: it lives until both ways are at their end, or the stream or the
// descriptor broke. The loop and the session outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "writ/backends/microvm/session.h"

namespace writ::backends::microvm {

enum class Ways {
  kBoth,      // a socket
  kToStream,  // reads the descriptor
  kToFd,      // writes it
};

// What has gone through a relay, for whoever has to know: in the loop's thread.
struct RelayCount {
  std::uint64_t bytes = 0;  // read from the descriptor, or written to it
  bool done = false;        // nothing more goes through
  std::function<void()> changed = {};
};

// `done` is called once, when the descriptor has been closed. May be empty.
void StartRelay(EventLoop& loop, UniqueFd fd, std::shared_ptr<Stream> stream, Ways ways,
                std::function<void()> done, std::shared_ptr<RelayCount> count = nullptr);

}  // namespace writ::backends::microvm
