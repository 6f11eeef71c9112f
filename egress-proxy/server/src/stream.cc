#include "stream.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

namespace writ::egress {

Stream::Stream(asio::io_context& io, UniqueFd fd) : descriptor_(io, fd.release()) {
  int flags = ::fcntl(descriptor_.native_handle(), F_GETFL);
  ::fcntl(descriptor_.native_handle(), F_SETFL, flags | O_NONBLOCK);
}

asio::awaitable<int> Stream::WaitReadable() {
  if (aborted_) co_return ECANCELED;
  asio::error_code error;
  co_await descriptor_.async_wait(asio::posix::descriptor_base::wait_read,
                                  asio::redirect_error(asio::use_awaitable, error));
  co_return error || aborted_ ? ECANCELED : 0;
}

asio::awaitable<int> Stream::WaitWritable() {
  if (aborted_) co_return ECANCELED;
  asio::error_code error;
  co_await descriptor_.async_wait(asio::posix::descriptor_base::wait_write,
                                  asio::redirect_error(asio::use_awaitable, error));
  co_return error || aborted_ ? ECANCELED : 0;
}

asio::awaitable<ssize_t> Stream::Read(char* into, std::size_t limit) {
  for (;;) {
    if (aborted_) co_return -ECANCELED;
    ssize_t n = ::recv(fd(), into, limit, MSG_DONTWAIT);
    if (n >= 0) co_return n;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return -errno;
    int error = co_await WaitReadable();
    if (error != 0) co_return -error;
  }
}

asio::awaitable<int> Stream::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (aborted_) co_return ECANCELED;
    ssize_t n = ::send(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return errno;
    int error = co_await WaitWritable();
    if (error != 0) co_return error;
  }
  co_return 0;
}

void Stream::Abort() {
  aborted_ = true;
  CancelWaits();
}

void Stream::CancelWaits() {
  asio::error_code ignored;
  descriptor_.cancel(ignored);
}

void Stream::SendNow(std::string_view bytes) {
  (void)!::send(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Stream::ShutdownWrite() {
  ::shutdown(fd(), SHUT_WR);
}

}  // namespace writ::egress
