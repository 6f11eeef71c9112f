// UniqueFd: owns one file descriptor and closes it once.
//
// A function that takes a UniqueFd by value takes ownership; a plain int borrows. Every descriptor
// of this project is made with its O_CLOEXEC flag set.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "writ/base/result.h"

namespace writ {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);
  // A second descriptor of the same open file description, O_CLOEXEC.
  Result<UniqueFd> Duplicate() const;

 private:
  int fd_ = -1;
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Result<Pipe> MakePipe();  // O_CLOEXEC both

struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};
// AF_UNIX, SOCK_SEQPACKET, SOCK_CLOEXEC: whole messages, ordered, and end-of-file when a side dies.
Result<SocketPair> MakeSeqpacketPair();

// A sealed, read-only, O_CLOEXEC memfd that holds `bytes`: how a plan reaches another process.
Result<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes);

// Sends bytes and descriptors in one message (SCM_RIGHTS). `fds` are borrowed. Blocks on a full
// socket; MSG_NOSIGNAL.
Status SendWithFds(int socket, std::string_view bytes, const std::vector<int>& fds);

struct ReceivedMessage {
  std::string bytes;  // empty at end-of-file
  std::vector<UniqueFd> fds;
};
// Receives one message of at most `limit` bytes; a longer or control-truncated one is an error.
Result<ReceivedMessage> ReceiveWithFds(int socket, std::size_t limit);

}  // namespace writ
