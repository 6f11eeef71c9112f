#include "writ/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "writ/base/encoding.h"

namespace writ {

Result<std::string> ReadAll(int fd, std::uint64_t limit) {
  std::string out;
  struct stat st {};
  const auto too_large = [&] {
    return Error{ErrorKind::kInvalid, "file.too_large",
                 "the file is over the limit of " + std::to_string(limit) + " bytes"};
  };
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
    const off_t at = ::lseek(fd, 0, SEEK_CUR);
    const auto left = static_cast<std::uint64_t>(st.st_size > at && at > 0 ? st.st_size - at
                                                 : at > 0                  ? 0
                                                                           : st.st_size);
    if (left > limit) return too_large();  // without reading any of it
    out.reserve(static_cast<std::size_t>(left) + 1);
  }
  char buffer[65536];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "file.read_failed", "cannot read a file");
    if (n == 0) return out;
    if (out.size() + static_cast<std::size_t>(n) > limit) return too_large();
    out.append(buffer, static_cast<std::size_t>(n));
  }
}

Result<std::string> ReadFile(const std::string& path, std::uint64_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return SysError(errno, "file.open_failed", "cannot open " + path);
  auto bytes = ReadAll(fd.get(), limit);
  if (!bytes) return std::move(bytes).error().With("reading " + path);
  return bytes;
}

Status WriteAll(int fd, std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "file.write_failed", "cannot write a file");
    done += static_cast<std::size_t>(n);
  }
  return {};
}

namespace {

Status WriteAtomic(int dir, const std::string& name, std::string_view bytes, mode_t mode,
                   bool replace) {
  std::string temp = "." + name + "." + HexEncode(RandomBytes(8)) + ".tmp";
  UniqueFd fd(
      ::openat(dir, temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return SysError(errno, "file.create_failed", "cannot create '" + name + "'");
  Status written = WriteAll(fd.get(), bytes);
  // fchmod: the umask must not widen or narrow what the caller said.
  if (written && (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0))
    written = SysError(errno, "file.sync_failed", "cannot make '" + name + "' durable");
  if (written) {
    int rc = replace ? ::renameat(dir, temp.c_str(), dir, name.c_str())
                     : ::linkat(dir, temp.c_str(), dir, name.c_str(), 0);
    if (rc != 0)
      written = SysError(errno, "file.rename_failed", "cannot put '" + name + "' in place");
  }
  if (!written || !replace) (void)::unlinkat(dir, temp.c_str(), 0);
  if (!written) return written;
  if (::fsync(dir) != 0)
    return SysError(errno, "file.sync_failed", "cannot make the name '" + name + "' durable");
  return {};
}

}  // namespace

Status WriteFileAtomic(int dir, const std::string& name, std::string_view bytes, mode_t mode) {
  return WriteAtomic(dir, name, bytes, mode, true);
}

Status CreateFileAtomic(int dir, const std::string& name, std::string_view bytes, mode_t mode) {
  return WriteAtomic(dir, name, bytes, mode, false);
}

Result<UniqueFd> LockFile(int dir, const std::string& name) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return SysError(errno, "file.lock_failed", "cannot open the lock '" + name + "'");
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    Error error = SysError(errno, "file.locked", "another process holds the lock '" + name + "'");
    if (errno == EWOULDBLOCK) error.kind = ErrorKind::kConflict;
    return error;
  }
  return fd;
}

}  // namespace writ
