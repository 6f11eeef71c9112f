#include "tree_digest.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "entry_name.h"
#include "store_folder.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

constexpr std::size_t kPiece = 256 * 1024;

class Walk {
 public:
  Status Tree(int dir, const std::string& path) {
    const auto names = NamesIn(dir);
    if (!names) return Damaged(names.error().sys_errno, path);
    for (const std::string& name : *names) {
      WRIT_TRY(Entry(dir, name, path.empty() ? name : path + "/" + name));
    }
    return {};
  }
  protocol::Digest Finish() { return hasher_.Finish(); }

 private:
  static Error Damaged(int err, const std::string& path) {
    Error error = SysError(err, "image.damaged", "cannot read " + Shown(path) + " of the image");
    error.kind = ErrorKind::kIntegrity;
    error.hint = "import the image again, which mends it";
    return error;
  }

  void Note(std::string_view text) {
    hasher_.Update(text);
    hasher_.Update(std::string_view("\0", 1));
  }

  Status Entry(int dir, const std::string& name, const std::string& path) {
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Damaged(errno, path);
    const char kind = S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 'f';
    const mode_t mode = S_ISLNK(st.st_mode) ? 0 : st.st_mode & 07777;
    Note(std::string(1, kind) + std::to_string(mode) + " " + path);
    if (S_ISDIR(st.st_mode)) {
      auto below = OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY);
      return below ? Tree(below->get(), path) : Damaged(below.error().sys_errno, path);
    }
    if (S_ISLNK(st.st_mode)) {
      char target[PATH_MAX];
      const ssize_t size = ::readlinkat(dir, name.c_str(), target, sizeof target);
      if (size < 0) return Damaged(errno, path);
      Note(std::string_view(target, static_cast<std::size_t>(size)));
      return {};
    }
    if (!S_ISREG(st.st_mode)) return Damaged(EINVAL, path);
    auto file = OpenBeneath(dir, name, O_RDONLY | O_NONBLOCK);
    if (!file) return Damaged(file.error().sys_errno, path);
    Note(std::to_string(st.st_size));
    return Bytes(file->get(), path);
  }

  Status Bytes(int file, const std::string& path) {
    for (;;) {
      const ssize_t count = ::read(file, buffer_.data(), buffer_.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Damaged(errno, path);
      if (count == 0) return {};
      hasher_.Update(std::string_view(buffer_.data(), static_cast<std::size_t>(count)));
    }
  }

  protocol::Sha256Hasher hasher_;
  std::string buffer_ = std::string(kPiece, '\0');
};

}  // namespace

Result<protocol::Digest> TreeDigest(int root) {
  Walk walk;
  WRIT_TRY(walk.Tree(root, ""));
  return walk.Finish();
}

}  // namespace writ::backends::image
