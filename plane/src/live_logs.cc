#include "live_logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::plane {
namespace {

constexpr std::size_t kMaxChunk = 256 * 1024;

std::string FileOf(const std::string& run_id, LogStream stream) {
  return run_id + (stream == LogStream::kStderr     ? ".stderr.log"
                   : stream == LogStream::kProgress ? ".progress.log"
                                                    : ".log");
}

Result<std::uint64_t> SizeOf(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return SysError(errno, "log.read", "cannot read a live log");
  return static_cast<std::uint64_t>(st.st_size);
}

}  // namespace

Result<LiveLogs> LiveLogs::Open(int root, std::uint64_t max_bytes) {
  WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(root, "logs", 0700));
  return LiveLogs(std::move(dir), max_bytes);
}

Result<LogChunk> LiveLogs::Append(const std::string& run_id, LogStream stream, std::uint64_t offset,
                                  std::string_view bytes) {
  std::lock_guard lock(mutex_);
  WRIT_ASSIGN(UniqueFd file,
              OpenBeneath(dir_.get(), FileOf(run_id, stream), O_WRONLY | O_CREAT | O_APPEND, 0600));
  WRIT_ASSIGN(std::uint64_t size, SizeOf(file.get()));
  LogChunk out;
  out.offset = offset;
  if (offset > size && size < max_bytes_) {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "log.gap",
                 .message = "the log of " + run_id + " stands at offset " + std::to_string(size)};
  }
  if (offset <= size) {
    bytes.remove_prefix(std::min<std::uint64_t>(bytes.size(), size - offset));
    std::uint64_t room = max_bytes_ - std::min(size, max_bytes_);
    std::string_view kept = bytes.substr(0, std::min<std::uint64_t>(room, bytes.size()));
    out.truncated = kept.size() < bytes.size();
    if (!kept.empty()) WRIT_TRY(WriteAll(file.get(), kept));
    out.size = size + kept.size();
  } else {
    out.size = size;
    out.truncated = true;
  }
  return out;
}

Result<std::uint64_t> LiveLogs::Size(const std::string& run_id, LogStream stream) const {
  struct stat st {};
  if (::fstatat(dir_.get(), FileOf(run_id, stream).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
    return static_cast<std::uint64_t>(st.st_size);
  if (errno == ENOENT) return 0;
  return SysError(errno, "log.read", "cannot look at a live log");
}

Result<LogChunk> LiveLogs::Read(const std::string& run_id, LogStream stream,
                                std::uint64_t offset) const {
  LogChunk out;
  out.offset = offset;
  auto file = OpenBeneath(dir_.get(), FileOf(run_id, stream), O_RDONLY);
  if (!file && file.error().sys_errno == ENOENT) return out;
  if (!file) return std::move(file).error().With("opening a live log");
  WRIT_ASSIGN(out.size, SizeOf(file->get()));
  out.truncated = out.size >= max_bytes_;
  if (offset >= out.size) return out;
  out.bytes.resize(std::min<std::uint64_t>(kMaxChunk, out.size - offset));
  ssize_t n = ::pread(file->get(), out.bytes.data(), out.bytes.size(), static_cast<off_t>(offset));
  if (n < 0) return SysError(errno, "log.read", "cannot read a live log");
  out.bytes.resize(static_cast<std::size_t>(n));
  return out;
}

void LiveLogs::Remove(const std::string& run_id) const {
  for (LogStream stream : {LogStream::kOutput, LogStream::kStderr, LogStream::kProgress})
    ::unlinkat(dir_.get(), FileOf(run_id, stream).c_str(), 0);
}

void LiveLogs::SweepOlder(WallTime before) const {
  int copy = ::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return;
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy), ::closedir);
  if (list == nullptr) {
    ::close(copy);
    return;
  }
  while (dirent* entry = ::readdir(list.get())) {
    struct stat st {};
    std::string_view name = entry->d_name;
    if (name.ends_with(".log") &&
        ::fstatat(dir_.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1000 < before.unix_ms) {
      ::unlinkat(dir_.get(), entry->d_name, 0);
    }
  }
}

}  // namespace writ::plane
