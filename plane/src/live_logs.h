// LiveLogs: a run's output while it runs, for those who watch (an extension, protocol.md section
// 5).
//
// One bounded file per run and stream; redacted by the runner before it comes here. Not evidence:
// the log artifact in the receipt is. Thread-safe; another process may read what this one writes.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/types.h"

namespace writ::plane {

class LiveLogs {
 public:
  static Result<LiveLogs> Open(int root, std::uint64_t max_bytes);
  LiveLogs(LiveLogs&& other) noexcept : dir_(std::move(other.dir_)), max_bytes_(other.max_bytes_) {}

  // Bytes that are there already are skipped; a gap is kConflict "log.gap".
  Result<LogChunk> Append(const std::string& run_id, LogStream stream, std::uint64_t offset,
                          std::string_view bytes);
  // 0 where there is nothing yet.
  Result<std::uint64_t> Size(const std::string& run_id, LogStream stream) const;
  // At most 256 KiB from `offset`.
  Result<LogChunk> Read(const std::string& run_id, LogStream stream, std::uint64_t offset) const;
  void Remove(const std::string& run_id) const;
  // Removes files that were last written before `before`.
  void SweepOlder(WallTime before) const;

 private:
  LiveLogs(UniqueFd dir, std::uint64_t max_bytes) : dir_(std::move(dir)), max_bytes_(max_bytes) {}
  UniqueFd dir_;
  std::uint64_t max_bytes_;
  std::mutex mutex_;  // guards the order of appends
};

}  // namespace writ::plane
