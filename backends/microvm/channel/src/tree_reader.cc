// Carries a tree stream out. The tree is nobody else's while this works: ".." leads back.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "tree_record.h"
#include "writ/backends/launch/wire.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kModeMask = 0777;  // no job leaves set-id or sticky bits
constexpr std::uint64_t kMaxFileSize = 1ull << 62;
constexpr std::size_t kMaxName = 255;

Error Foreign(const std::string& what) {
  return Error{ErrorKind::kInvalid, "microvm.tree", "the guest's change stream is wrong: " + what};
}
Error TooLarge(const std::string& what) {
  return Error{ErrorKind::kInvalid, "microvm.tree_too_large",
               "the job changed more than may be carried out of the guest: " + what};
}
Error Failed(const std::string& what) {
  return SysError(errno, "microvm.tree_write", "cannot " + what + " in the workspace");
}

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

Status TreeReader::Add(std::string_view bytes) {
  return frames_.Add(bytes, [this](std::string_view record) { return OnRecord(record); });
}

Status TreeReader::OnRecord(std::string_view record) {
  if (complete_) return Foreign("something follows its end");
  launch::Reader in(record);
  const auto tag = static_cast<TreeTag>(in.NumberAtMost(kLastTreeTag));
  if (file_ && tag != TreeTag::kExtent && tag != TreeTag::kFileEnd)
    return Foreign("a file has no end");
  std::string name;
  const bool named = tag != TreeTag::kLeave && tag != TreeTag::kExtent &&
                     tag != TreeTag::kFileEnd && tag != TreeTag::kComplete;
  if (in.ok() && named) {
    name = in.Text();
    if (!in.ok() || !IsName(name)) return Foreign("a name that is none");
    if (++entries_ > limits_.entries && limits_.entries != 0)
      return TooLarge("over " + std::to_string(limits_.entries) + " entries");
  }
  switch (tag) {
    case TreeTag::kEnter: {
      const auto mode = static_cast<mode_t>(in.NumberAtMost(kModeMask));
      const bool opaque = in.NumberAtMost(1) == 1;
      return in.AtEnd() ? Enter(name, mode, opaque) : Foreign("a record of a directory");
    }
    case TreeTag::kLeave:
      return in.AtEnd() ? Leave() : Foreign("a record");
    case TreeTag::kFile: {
      const auto mode = static_cast<mode_t>(in.NumberAtMost(kModeMask));
      const std::uint64_t size = in.NumberAtMost(kMaxFileSize);
      const std::size_t number = in.NumberAtMost(kMaxLinked);
      return in.AtEnd() ? StartFile(name, mode, size, number) : Foreign("a record of a file");
    }
    case TreeTag::kExtent: {
      const std::uint64_t offset = in.Number();
      const std::string bytes = in.Text();
      return in.AtEnd() ? OnExtent(offset, bytes) : Foreign("a record of bytes");
    }
    case TreeTag::kFileEnd:
      return in.AtEnd() ? EndFile() : Foreign("a record");
    case TreeTag::kSymlink: {
      const std::string target = in.Text();
      if (!in.AtEnd() || target.empty() || target.find('\0') != std::string::npos)
        return Foreign("a record of a link");
      WRIT_TRY(Remove(name));
      if (::symlinkat(target.c_str(), current_.get(), name.c_str()) != 0)
        return Failed("make a link");
      return {};
    }
    case TreeTag::kFifo:
    case TreeTag::kSocket: {
      const auto mode = static_cast<mode_t>(in.NumberAtMost(kModeMask));
      if (!in.AtEnd()) return Foreign("a record of a node");
      WRIT_TRY(Remove(name));
      const mode_t kind = tag == TreeTag::kFifo ? S_IFIFO : S_IFSOCK;
      if (::mknodat(current_.get(), name.c_str(), kind | mode, 0) != 0)
        return Failed("make a FIFO or a socket");
      return {};
    }
    case TreeTag::kLink: {
      const std::size_t number = in.NumberAtMost(kMaxLinked);
      return in.AtEnd() ? Link(name, number) : Foreign("a record of another name");
    }
    case TreeTag::kRemoved:
      return in.AtEnd() ? Remove(name) : Foreign("a record of what is gone");
    case TreeTag::kComplete:
      if (in.Number() != entries_ || !in.AtEnd() || !entered_.empty())
        return Foreign("its end does not fit");
      complete_ = true;
      return {};
  }
  return Foreign("a record of no kind");
}

Status TreeReader::Remove(const std::string& name) {
  if (::unlinkat(current_.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return Failed("remove a file");
  return RemoveTreeBeneath(current_.get(), name);
}

Status TreeReader::Enter(const std::string& name, mode_t mode, bool opaque) {
  if (entered_.size() >= kMaxDepth) return TooLarge("directories nested too deep");
  struct stat st {};
  const bool there = ::fstatat(current_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && (opaque || !S_ISDIR(st.st_mode))) WRIT_TRY(Remove(name));
  if ((!there || opaque || !S_ISDIR(st.st_mode)) &&
      ::mkdirat(current_.get(), name.c_str(), 0700) != 0)
    return Failed("make a directory");
  // One of the base that the requester closed: opened for as long as we are in it.
  if (there && S_ISDIR(st.st_mode) && !opaque && (st.st_mode & 0700) != 0700 &&
      ::fchmodat(current_.get(), name.c_str(), 0700, 0) != 0)
    return Failed("open a directory");
  UniqueFd dir(
      ::openat(current_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) return Failed("enter a directory");
  entered_.push_back(mode);
  current_ = std::move(dir);
  return {};
}

Status TreeReader::Leave() {
  if (entered_.empty()) return Foreign("it leaves the workspace");
  UniqueFd parent(::openat(current_.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return Failed("leave a directory");
  if (::fchmod(current_.get(), entered_.back()) != 0) return Failed("give a directory its mode");
  entered_.pop_back();
  current_ = std::move(parent);
  return {};
}

Status TreeReader::StartFile(const std::string& name, mode_t mode, std::uint64_t size,
                             std::size_t number) {
  // A new file in any case: one that has another name too keeps its content there.
  WRIT_TRY(Remove(name));
  file_.reset(::openat(current_.get(), name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) return Failed("make a file");
  file_mode_ = mode;
  file_size_ = size;
  file_number_ = number;
  if (size != 0 && ::ftruncate(file_.get(), static_cast<off_t>(size)) != 0)
    return Failed("give a file its size");
  return {};
}

Status TreeReader::OnExtent(std::uint64_t offset, std::string_view bytes) {
  if (!file_) return Foreign("bytes of no file");
  if (offset > file_size_ || bytes.size() > file_size_ - offset)
    return Foreign("bytes past a file's end");
  bytes_ += bytes.size();
  if (limits_.bytes != 0 && bytes_ > limits_.bytes)
    return TooLarge("over " + std::to_string(limits_.bytes) + " bytes");
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Failed("write a file");
    bytes.remove_prefix(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status TreeReader::EndFile() {
  if (!file_) return Foreign("the end of no file");
  if (::fchmod(file_.get(), file_mode_) != 0) return Failed("give a file its mode");
  if (file_number_ != 0) linked_[file_number_ - 1] = std::move(file_);
  file_.reset();
  return {};
}

// Of a file that this stream has made, whatever stands now at the name that it was made with.
Status TreeReader::Link(const std::string& name, std::size_t number) {
  if (number == 0 || !linked_[number - 1]) return Foreign("another name of no file");
  WRIT_TRY(Remove(name));
  const std::string made = "/proc/self/fd/" + std::to_string(linked_[number - 1].get());
  if (::linkat(AT_FDCWD, made.c_str(), current_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0)
    return {};
  // The stream itself has removed it meanwhile.
  return errno == ENOENT ? Foreign("another name of a file that is gone")
                         : Failed("give a file another name");
}

}  // namespace writ::backends::microvm
