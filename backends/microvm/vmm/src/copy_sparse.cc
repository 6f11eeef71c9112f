#include "copy_sparse.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kPiece = 1u << 20;

}  // namespace

Status CopySparse(const std::string& from, const std::string& to) {
  UniqueFd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return SysError(errno, "microvm.copy", "cannot open " + from);
  UniqueFd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  struct stat st {};
  if (!out || ::fstat(in.get(), &st) != 0 || ::ftruncate(out.get(), st.st_size) != 0)
    return SysError(errno, "microvm.copy", "cannot make " + to);
  if (::ioctl(out.get(), FICLONE, in.get()) == 0) return {};
  std::vector<char> buffer(kPiece);
  for (off_t at = ::lseek(in.get(), 0, SEEK_DATA); at >= 0; at = ::lseek(in.get(), at, SEEK_DATA)) {
    const off_t end = ::lseek(in.get(), at, SEEK_HOLE);
    while (at < end) {
      const auto want = std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(end - at));
      const ssize_t count = ::pread(in.get(), buffer.data(), want, at);
      if (count <= 0) return SysError(errno, "microvm.copy", "cannot read " + from);
      const auto bytes = static_cast<std::size_t>(count);
      if (::pwrite(out.get(), buffer.data(), bytes, at) != count)
        return SysError(errno, "microvm.copy", "cannot write " + to);
      at += count;
    }
  }
  return {};
}

}  // namespace writ::backends::microvm
