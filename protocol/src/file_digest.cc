#include "writ/protocol/file_digest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "writ/base/unique_fd.h"

namespace writ::protocol {
namespace {

constexpr std::size_t kPiece = 1u << 20;

}  // namespace

Result<Digest> DigestOfFile(int file) {
  Sha256Hasher hasher;
  std::string buffer(kPiece, '\0');
  for (off_t at = 0;;) {
    const ssize_t count = ::pread(file, buffer.data(), buffer.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SysError(errno, "digest.read", "cannot read a file to hash it");
    if (count == 0) return hasher.Finish();
    hasher.Update(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
    at += count;
  }
}

Result<Digest> DigestOfFile(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return SysError(errno, "digest.read", "cannot open " + path);
  return DigestOfFile(file.get());
}

}  // namespace writ::protocol
