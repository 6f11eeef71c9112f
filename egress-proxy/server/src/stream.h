// Stream: one connected socket under the event loop, read and written by coroutines.
//
// Works on any stream socket. Non-blocking calls first, the reactor only when they would block, so
// a busy flow pays no reactor trip. One reader and one writer coroutine at a time; loop thread
// only.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <string_view>

#include "writ/base/unique_fd.h"

namespace writ::egress {

class Stream {
 public:
  Stream(asio::io_context& io, UniqueFd fd);  // makes it non-blocking

  // Bytes read; 0 at end of stream; -errno on failure (-ECANCELED after Abort or CancelWaits).
  asio::awaitable<ssize_t> Read(char* into, std::size_t limit);
  // 0, or errno. `bytes` must live until it returns.
  asio::awaitable<int> Write(std::string_view bytes);
  asio::awaitable<int> WaitReadable();
  asio::awaitable<int> WaitWritable();

  // Every wait, now and later, fails with ECANCELED.
  void Abort();
  // Waits that are pending fail; later ones work.
  void CancelWaits();
  bool aborted() const { return aborted_; }
  // Without waiting; what does not fit is lost. Works after Abort: for a last word.
  void SendNow(std::string_view bytes);
  void ShutdownWrite();
  int fd() { return descriptor_.native_handle(); }

 private:
  asio::posix::stream_descriptor descriptor_;
  bool aborted_ = false;
};

}  // namespace writ::egress
