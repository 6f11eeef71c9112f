#include "root_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "entry_name.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

Error Hostile(const std::string& name, const std::string& why, int err = 0) {
  return Error{ErrorKind::kInvalid, "image.hostile_path",
               "the image has an entry that " + why + ": " + Shown(name),
               "do not use this image; a tool that builds images does not write such entries", err};
}

Error Failed(int err, const std::string& what, const std::string& name) {
  return SysError(err, "image.unpack", "cannot " + what + " " + Shown(name));
}

std::string Below(const std::string& parent, const std::string& last) {
  return parent.empty() ? last : parent + "/" + last;
}

}  // namespace

mode_t RootWriter::HarmlessMode(mode_t mode) {
  if ((mode & (S_ISUID | S_ISGID)) != 0) ++findings_.cleared_set_id;
  return mode & 0755;
}

Status RootWriter::CountEntry(const std::string& name) {
  if (++findings_.entries > limits_.entries)
    return Error{ErrorKind::kInvalid, "image.too_large",
                 "the image has more than " + std::to_string(limits_.entries) + " entries"};
  for (std::size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1))
    made_.insert(name.substr(0, at));
  made_.insert(name);
  return {};
}

Status RootWriter::CountBytes(std::uint64_t bytes) {
  if (bytes > limits_.bytes || findings_.bytes > limits_.bytes - bytes)
    return Error{ErrorKind::kInvalid, "image.too_large",
                 "the image's files have more than " + std::to_string(limits_.bytes) + " bytes",
                 "give --max-bytes where the image is to be trusted"};
  findings_.bytes += bytes;
  return {};
}

// A directory of the image that is a link or a file in the way is the sign of an attack: what a
// layer puts below it would land elsewhere.
Result<UniqueFd> RootWriter::Parent(const std::string& name) {
  const std::string parent = Split(name).parent;
  auto opened = parent.empty() ? OpenBeneath(root_, ".", O_RDONLY | O_DIRECTORY)
                               : MakeDirectoriesBeneath(root_, parent, 0755);
  if (opened) return opened;
  const int err = opened.error().sys_errno;
  if (err == ELOOP || err == ENOTDIR || err == EXDEV || err == EEXIST)
    return Hostile(name, "lies below a symbolic link or a file", err);
  return std::move(opened).error();
}

Status RootWriter::RemoveExisting(int parent, const std::string& last) {
  struct stat st {};
  if (::fstatat(parent, last.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return Failed(errno, "look at", last);
  }
  if (S_ISDIR(st.st_mode)) return RemoveTreeBeneath(parent, last);
  if (::unlinkat(parent, last.c_str(), 0) != 0) return Failed(errno, "replace", last);
  return {};
}

Status RootWriter::Directory(const std::string& name, mode_t mode) {
  WRIT_TRY(CountEntry(name));
  WRIT_ASSIGN(UniqueFd parent, Parent(name));
  const std::string last = Split(name).last;
  struct stat st {};
  if (::fstatat(parent.get(), last.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
    WRIT_TRY(RemoveExisting(parent.get(), last));
  if (::mkdirat(parent.get(), last.c_str(), 0700) != 0 && errno != EEXIST)
    return Failed(errno, "make the directory", name);
  WRIT_ASSIGN(UniqueFd made, OpenBeneath(parent.get(), last, O_RDONLY | O_DIRECTORY));
  if (::fchmod(made.get(), HarmlessMode(mode) | 0700) != 0)
    return Failed(errno, "set the mode of", name);
  return {};
}

Status RootWriter::File(const std::string& name, mode_t mode, std::int64_t mtime,
                        const std::function<Status(int)>& fill) {
  WRIT_TRY(CountEntry(name));
  WRIT_ASSIGN(UniqueFd parent, Parent(name));
  const std::string last = Split(name).last;
  WRIT_TRY(RemoveExisting(parent.get(), last));
  WRIT_ASSIGN(UniqueFd file, OpenBeneath(parent.get(), last, O_WRONLY | O_CREAT | O_EXCL, 0600));
  if (Status filled = fill(file.get()); !filled) {
    (void)::unlinkat(parent.get(), last.c_str(), 0);
    return filled;
  }
  const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(mtime), 0}};
  (void)::futimens(file.get(), times);  // a time that the file system does not know stays as it is
  if (::fchmod(file.get(), HarmlessMode(mode) | 0400) != 0)
    return Failed(errno, "set the mode of", name);
  return {};
}

Status RootWriter::Symlink(const std::string& name, const std::string& target) {
  WRIT_TRY(CountEntry(name));
  WRIT_ASSIGN(UniqueFd parent, Parent(name));
  const std::string last = Split(name).last;
  WRIT_TRY(RemoveExisting(parent.get(), last));
  if (target.empty() || target.size() > limits_.name_bytes)
    return Hostile(name, "is a symbolic link without a usable target");
  if (::symlinkat(target.c_str(), parent.get(), last.c_str()) != 0)
    return Failed(errno, "make the symbolic link", name);
  return {};
}

Status RootWriter::HardLink(const std::string& name, const std::string& target) {
  WRIT_TRY(CountEntry(name));
  if (name == target) return Hostile(name, "is a hard link to itself");
  auto source = target.empty() ? Result<UniqueFd>(Hostile(name, "is a hard link to nothing"))
                               : OpenBeneath(root_, target, O_PATH);
  if (!source)
    return Hostile(name, "is a hard link to what the image does not have",
                   source.error().sys_errno);
  struct stat st {};
  if (::fstat(source->get(), &st) != 0) return Failed(errno, "look at", target);
  if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
    return Hostile(name, "is a hard link to something that is not a file");
  WRIT_ASSIGN(UniqueFd parent, Parent(name));
  const std::string last = Split(name).last;
  WRIT_TRY(RemoveExisting(parent.get(), last));
  const std::string through = "/proc/self/fd/" + std::to_string(source->get());
  if (::linkat(AT_FDCWD, through.c_str(), parent.get(), last.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return Failed(errno, "make the hard link", name);
  return {};
}

// Children of `dir` that this layer did not bring.
Status RootWriter::HideLower(int dir, const std::string& path) {
  WRIT_ASSIGN(std::vector<std::string> names, NamesIn(dir, "image.unpack"));
  for (const std::string& name : names) {
    const std::string child = Below(path, name);
    if (!made_.contains(child)) {
      WRIT_TRY(RemoveTreeBeneath(dir, name));
      continue;
    }
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
      continue;
    WRIT_ASSIGN(UniqueFd below, OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY));
    WRIT_TRY(HideLower(below.get(), child));
  }
  return {};
}

Status RootWriter::Whiteout(const std::string& name) {
  WRIT_ASSIGN(UniqueFd parent, Parent(name));
  const std::string last = Split(name).last;
  if (!made_.contains(name)) return RemoveExisting(parent.get(), last);
  auto dir = OpenBeneath(parent.get(), last, O_RDONLY | O_DIRECTORY);
  return dir ? HideLower(dir->get(), name) : Status();
}

Status RootWriter::OpaqueDirectory(const std::string& name) {
  auto dir = OpenBeneath(root_, name.empty() ? "." : name, O_RDONLY | O_DIRECTORY);
  if (!dir && dir.error().sys_errno == ENOENT) return {};
  if (!dir) return Hostile(name, "makes something opaque that is not a directory");
  return HideLower(dir->get(), name);
}

Status RootWriter::MakePlaces() {
  constexpr std::array<const char*, 6> kFiles = {"etc/passwd",      "etc/group",
                                                 "etc/hostname",    "etc/hosts",
                                                 "etc/resolv.conf", "etc/nsswitch.conf"};
  for (const char* name : kFiles) {
    WRIT_ASSIGN(UniqueFd parent, Parent(name));
    const std::string last = Split(name).last;
    struct stat st {};
    if (::fstatat(parent.get(), last.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
      continue;
    WRIT_TRY(RemoveExisting(parent.get(), last));
    WRIT_ASSIGN(UniqueFd file, OpenBeneath(parent.get(), last, O_WRONLY | O_CREAT | O_EXCL, 0644));
  }
  return {};
}

}  // namespace writ::backends::image
