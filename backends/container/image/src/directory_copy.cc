#include "directory_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "entry_name.h"
#include "writ/backends/image/tree_copy.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

class Copy {
 public:
  Copy(const ImportLimits& limits, RootWriter& to, Links links = Links::kAsTheyAre)
      : limits_(limits), to_(to), links_(links) {}

  Status Tree(int dir, const std::string& path) {
    WRIT_ASSIGN(std::vector<std::string> names, SortedNames(dir));
    for (const std::string& name : names) {
      WRIT_ASSIGN(const std::string child,
                  CleanEntryName(path.empty() ? name : path + "/" + name, limits_));
      WRIT_TRY(Entry(dir, name, child));
    }
    return {};
  }
  // What `Tree` of "" has as its root.
  void BeginAt(const std::string& path) {
    inside_ =
        path.empty() ? 0 : 1 + static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
  }
  Status Entry(int dir, const std::string& name, const std::string& path) {
    return OneEntry(dir, name, path);
  }
  protocol::Digest Finish() { return hasher_.Finish(); }

 private:
  Error Failed(int err, const std::string& path) {
    return SysError(err, "image.read", "cannot read " + Shown(path) + " of the directory");
  }

  Result<std::vector<std::string>> SortedNames(int dir) {
    UniqueFd copy(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::unique_ptr<DIR, int (*)(DIR*)> list(copy ? ::fdopendir(copy.get()) : nullptr, ::closedir);
    if (list == nullptr) return SysError(errno, "image.read", "cannot list a directory");
    (void)copy.release();
    std::vector<std::string> out;
    while (const dirent* entry = ::readdir(list.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") out.push_back(name);
      if (out.size() > limits_.entries)
        return Error{ErrorKind::kInvalid, "image.too_large", "a directory has too many entries"};
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  void Note(char kind, mode_t mode, const std::string& path) {
    hasher_.Update(std::string(1, kind) + std::to_string(mode & 0755) + " " + path);
    hasher_.Update(std::string_view("\0", 1));
  }

  // By its words alone: from the folder that `path` is in, never above what is copied.
  bool StaysInside(const std::string& path, std::string_view target) const {
    if (target.starts_with('/')) return false;
    auto depth = std::count(path.begin(), path.end(), '/');
    while (!target.empty()) {
      const auto end = std::min(target.find('/'), target.size());
      const std::string_view part = target.substr(0, end);
      target.remove_prefix(std::min(end + 1, target.size()));
      if (part == "..")
        --depth;
      else if (!part.empty() && part != ".")
        ++depth;
      if (depth < static_cast<std::ptrdiff_t>(inside_)) return false;
    }
    return true;
  }

  Status OneEntry(int dir, const std::string& name, const std::string& path) {
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, path);
    if (S_ISDIR(st.st_mode)) {
      Note('d', st.st_mode, path);
      WRIT_TRY(to_.Directory(path, st.st_mode & 07777));
      WRIT_ASSIGN(UniqueFd below, OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY));
      return Tree(below.get(), path);
    }
    if (S_ISLNK(st.st_mode)) {
      char text[PATH_MAX];
      const ssize_t size = ::readlinkat(dir, name.c_str(), text, sizeof text);
      if (size < 0) return Failed(errno, path);
      const std::string target(text, static_cast<std::size_t>(size));
      if (links_ == Links::kInsideOnly && !StaysInside(path, target))
        return Error{ErrorKind::kInvalid, "image.outside_link",
                     "a link leads out of what is copied: " + Shown(path),
                     "copy what it leads to, and make the link in a RUN"};
      Note('l', 0, path);
      hasher_.Update(target);
      hasher_.Update(std::string_view("\0", 1));
      return to_.Symlink(path, target);
    }
    if (!S_ISREG(st.st_mode)) {
      to_.SkipSpecial();
      return {};
    }
    WRIT_ASSIGN(UniqueFd file, OpenBeneath(dir, name, O_RDONLY | O_NONBLOCK));
    if (::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return Failed(EIO, path);
    Note('f', st.st_mode, path);
    protocol::Sha256Hasher content;
    WRIT_TRY(to_.File(path, st.st_mode & 07777, st.st_mtime,
                      [&](int out) { return Bytes(file.get(), out, path, content); }));
    hasher_.Update(content.Finish().ToHex());
    return {};
  }

  Status Bytes(int in, int out, const std::string& path, protocol::Sha256Hasher& content) {
    std::string buffer(256 * 1024, '\0');
    for (;;) {
      const ssize_t count = ::read(in, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed(errno, path);
      if (count == 0) return {};
      WRIT_TRY(to_.CountBytes(static_cast<std::uint64_t>(count)));
      const std::string_view bytes(buffer.data(), static_cast<std::size_t>(count));
      content.Update(bytes);
      WRIT_TRY(WriteAll(out, bytes));
    }
  }

  const ImportLimits& limits_;
  RootWriter& to_;
  const Links links_;
  std::size_t inside_ = 0;  // as many components lead to what is copied
  protocol::Sha256Hasher hasher_;
};

}  // namespace

Result<protocol::Digest> CopyDirectory(int from, const ImportLimits& limits, RootWriter& to) {
  Copy copy(limits, to);
  WRIT_TRY(copy.Tree(from, ""));
  return copy.Finish();
}

Result<protocol::Digest> CopyBeneath(int from, const std::string& name, int to,
                                     const std::string& target, const ImportLimits& limits,
                                     ImportFindings& findings, Links links) {
  RootWriter writer(to, limits, findings);
  Copy copy(limits, writer, links);
  struct stat st {};
  // Looked at through a handle: no part of `name` is a link.
  auto source = OpenBeneath(from, name, O_PATH);
  if (!source || ::fstat(source->get(), &st) != 0)
    return Error{ErrorKind::kNotFound, "image.no_source",
                 "there is no " + Shown(name) + " that is reached without a link",
                 "name the file itself, below the folder"};
  if (S_ISDIR(st.st_mode)) {
    copy.BeginAt(target);
    if (!target.empty()) {
      WRIT_ASSIGN(const std::string clean, CleanEntryName(target, limits));
      WRIT_TRY(writer.Directory(clean, st.st_mode & 07777));
    }
    WRIT_ASSIGN(UniqueFd dir, OpenBeneath(from, name, O_RDONLY | O_DIRECTORY));
    WRIT_TRY(copy.Tree(dir.get(), target));
    return copy.Finish();
  }
  const auto slash = name.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : name.substr(0, slash);
  WRIT_ASSIGN(const std::string clean, CleanEntryName(target, limits));
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(from, parent, O_RDONLY | O_DIRECTORY));
  WRIT_TRY(copy.Entry(dir.get(), name.substr(slash == std::string::npos ? 0 : slash + 1), clean));
  return copy.Finish();
}

}  // namespace writ::backends::image
