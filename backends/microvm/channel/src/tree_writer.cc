// Walks an upper layer that nobody changes any more.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <utility>
#include <vector>

#include "tree_record.h"
#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kExtentBytes = 64 * 1024;
constexpr mode_t kModeMask = 0777;

Error Failed(const char* what) {
  return SysError(errno, "microvm.tree_read", std::string("cannot ") + what);
}

bool IsOpaque(int dir) {
  char value = 0;
  return ::fgetxattr(dir, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

class TreeWriter {
 public:
  explicit TreeWriter(int out) : out_(out) {}

  Status Run(int upper) {
    UniqueFd current(::openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!current) return Failed("open the upper layer");
    std::vector<std::vector<std::string>> levels;
    WRIT_TRY(Enter(current.get(), levels));
    for (;;) {
      if (levels.back().empty()) {
        levels.pop_back();
        if (levels.empty()) break;
        WRIT_TRY(Send(TreeTag::kLeave));
        current.reset(::openat(current.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!current) return Failed("leave a directory");
        continue;
      }
      const std::string name = std::move(levels.back().back());
      levels.back().pop_back();
      struct stat st {};
      if (::fstatat(current.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        return Failed("look at a file");
      if (!S_ISDIR(st.st_mode)) {
        WRIT_TRY(Entry(current.get(), name, st));
        continue;
      }
      UniqueFd dir(
          ::openat(current.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!dir) return Failed("enter a directory");
      launch::Writer record = Named(TreeTag::kEnter, name);
      record.Number(st.st_mode & kModeMask);
      record.Number(IsOpaque(dir.get()) ? 1 : 0);
      WRIT_TRY(Put(record.bytes()));
      current = std::move(dir);
      WRIT_TRY(Enter(current.get(), levels));
    }
    launch::Writer end;
    end.Number(static_cast<std::uint64_t>(TreeTag::kComplete));
    end.Number(entries_);
    WRIT_TRY(Put(end.bytes()));
    return Flush();
  }

 private:
  static Status Enter(int dir, std::vector<std::vector<std::string>>& levels) {
    WRIT_ASSIGN(std::vector<std::string> names, NamesIn(dir, "microvm.tree_read"));
    std::reverse(names.begin(), names.end());  // taken from the back
    levels.push_back(std::move(names));
    return {};
  }
  launch::Writer Named(TreeTag tag, const std::string& name) {
    ++entries_;
    launch::Writer record;
    record.Number(static_cast<std::uint64_t>(tag));
    record.Text(name);
    return record;
  }
  Status Send(TreeTag tag) {
    launch::Writer record;
    record.Number(static_cast<std::uint64_t>(tag));
    return Put(record.bytes());
  }
  Status Put(std::string_view record) {
    waiting_ += Frame(record);
    return waiting_.size() < kExtentBytes ? Status() : Flush();
  }
  Status Flush() {
    WRIT_TRY(WriteAll(out_, waiting_));
    waiting_.clear();
    return {};
  }

  Status Entry(int dir, const std::string& name, const struct stat& st) {
    if (S_ISREG(st.st_mode)) return File(dir, name, st);
    if (S_ISLNK(st.st_mode)) {
      std::vector<char> target(PATH_MAX);
      const ssize_t size = ::readlinkat(dir, name.c_str(), target.data(), target.size());
      if (size <= 0) return Failed("read a link");
      launch::Writer record = Named(TreeTag::kSymlink, name);
      record.Text({target.data(), static_cast<std::size_t>(size)});
      return Put(record.bytes());
    }
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
      return Put(Named(TreeTag::kRemoved, name).bytes());
    if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) return {};  // a device stays in the guest
    launch::Writer record = Named(S_ISFIFO(st.st_mode) ? TreeTag::kFifo : TreeTag::kSocket, name);
    record.Number(st.st_mode & kModeMask);
    return Put(record.bytes());
  }

  // A number for a file with more names than this one, as long as there are any; 0: none.
  std::size_t NumberFor(const struct stat& st) {
    if (st.st_nlink < 2) return 0;
    std::size_t number = 1;
    while (number <= TreeReader::kMaxLinked && taken_[number]) ++number;
    if (number > TreeReader::kMaxLinked) return 0;
    taken_[number] = true;
    linked_[{st.st_dev, st.st_ino}] = {number, st.st_nlink - 1};
    return number;
  }

  Status File(int dir, const std::string& name, const struct stat& st) {
    if (const auto known = linked_.find({st.st_dev, st.st_ino}); known != linked_.end()) {
      launch::Writer record = Named(TreeTag::kLink, name);
      record.Number(known->second.number);
      if (--known->second.names_left == 0) {
        taken_[known->second.number] = false;
        linked_.erase(known);
      }
      return Put(record.bytes());
    }
    UniqueFd file(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return Failed("open a file");
    launch::Writer head = Named(TreeTag::kFile, name);
    head.Number(st.st_mode & kModeMask);
    head.Number(static_cast<std::uint64_t>(st.st_size));
    head.Number(NumberFor(st));
    WRIT_TRY(Put(head.bytes()));
    std::string buffer(kExtentBytes, '\0');
    for (off_t at = 0; at < st.st_size;) {
      const off_t data = ::lseek(file.get(), at, SEEK_DATA);
      if (data < 0) break;  // ENXIO: a hole to the end
      const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
      if (hole < 0) return Failed("read a file");
      for (at = data; at < hole && at < st.st_size;) {
        const auto wanted =
            std::min<off_t>(static_cast<off_t>(buffer.size()), std::min(hole, st.st_size) - at);
        const ssize_t count =
            ::pread(file.get(), buffer.data(), static_cast<std::size_t>(wanted), at);
        if (count < 0) return Failed("read a file");
        if (count == 0) {
          at = hole;
          break;
        }
        launch::Writer extent;
        extent.Number(static_cast<std::uint64_t>(TreeTag::kExtent));
        extent.Number(static_cast<std::uint64_t>(at));
        extent.Text(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
        WRIT_TRY(Put(extent.bytes()));
        at += count;
      }
    }
    return Send(TreeTag::kFileEnd);
  }

  struct Linked {
    std::size_t number = 0;
    nlink_t names_left = 0;
  };
  const int out_;
  std::map<std::pair<dev_t, ino_t>, Linked> linked_;
  std::array<bool, TreeReader::kMaxLinked + 1> taken_{};
  std::string waiting_;
  std::uint64_t entries_ = 0;
};

}  // namespace

Status WriteTree(int upper, int out) {
  return TreeWriter(out).Run(upper);
}

}  // namespace writ::backends::microvm
