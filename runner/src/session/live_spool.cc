#include "session/live_spool.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

#include "writ/base/log.h"

namespace writ::runner {
namespace {
constexpr std::string_view kMarker = "\n[writ: live output ends here; the log has the end]\n";
}

void LiveSpool::Append(std::string_view bytes) {
  std::lock_guard lock(mutex_);
  if (ended_ || bytes.empty()) return;
  const std::uint64_t left = limit_ - std::min(limit_, size_);
  Write(bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, bytes.size()))));
  if (bytes.size() > left && !ended_) {
    Write(kMarker);
    ended_ = true;
  }
  grown_.notify_all();
}

void LiveSpool::Complete() {
  std::lock_guard lock(mutex_);
  complete_ = true;
  grown_.notify_all();
}

void LiveSpool::Empty() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  if (ftruncate(file_.get(), 0) == 0) size_ = 0;
}

void LiveSpool::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended_ = true;
      log::Warn("runner.live", "live output ends: its spool could not be written",
                {{"errno", errno}});
      return;
    }
    size_ += static_cast<std::uint64_t>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

Result<std::string> LiveSpool::Read(std::uint64_t offset, std::size_t most) const {
  std::string out;
  {
    std::lock_guard lock(mutex_);
    if (offset >= size_) return out;
    out.resize(static_cast<std::size_t>(std::min<std::uint64_t>(most, size_ - offset)));
  }
  std::size_t got = 0;
  while (got < out.size()) {
    ssize_t n =
        pread(file_.get(), out.data() + got, out.size() - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return SysError(n < 0 ? errno : EIO, "runner.live", "could not read the spool");
    got += static_cast<std::size_t>(n);
  }
  return out;
}

std::uint64_t LiveSpool::size() const {
  std::lock_guard lock(mutex_);
  return size_;
}

void LiveSpool::WaitPast(std::uint64_t offset, std::chrono::milliseconds limit,
                         std::stop_token stop) {
  std::unique_lock lock(mutex_);
  grown_.wait_for(lock, stop, limit, [&] { return size_ > offset || complete_; });
}

}  // namespace writ::runner
