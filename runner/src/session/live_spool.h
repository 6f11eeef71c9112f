// LiveSpool: the redacted output of a run, kept in a file of its session until it is sent, so that
// what a failed call lost is sent again byte for byte from any offset (L18).
//
// It takes the first `limit` bytes and then one line that says so: what is shown live is bounded,
// the whole (head and tail) is the log artifact. A full disk ends it and nothing else: the job is
// not told. One writer (the watching thread), any number of readers (the sender, those who are
// attached); all may call at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::runner {

class LiveSpool {
 public:
  // `file`: empty, readable and writable, reached by no job.
  LiveSpool(UniqueFd file, std::uint64_t limit) : file_(std::move(file)), limit_(limit) {}

  void Append(std::string_view bytes);
  // Nothing more will come.
  void Complete();
  // After Complete, when nobody reads any more: the file is empty.
  void Empty();
  // At most `most` bytes from `offset` on; empty at the end.
  Result<std::string> Read(std::uint64_t offset, std::size_t most) const;
  std::uint64_t size() const;
  // Until there is more than `offset`, nothing more will come, the time is over, or the token
  // fires.
  void WaitPast(std::uint64_t offset, std::chrono::milliseconds limit, std::stop_token stop);

 private:
  void Write(std::string_view bytes);  // with mutex_ held
  UniqueFd file_;
  std::uint64_t limit_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any grown_;
  std::uint64_t size_ = 0;
  bool ended_ = false;
  bool complete_ = false;
};

}  // namespace writ::runner
