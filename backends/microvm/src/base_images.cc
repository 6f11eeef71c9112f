#include "base_images.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "writ/backends/microvm/guest_layout.h"
#include "writ/base/folder.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/file_digest.h"

namespace writ::backends {
namespace {

constexpr char kPrefix[] = "base-";
constexpr char kSuffix[] = ".erofs";
constexpr char kHalfMade[] = "base.half";
constexpr char kLockName[] = "base.lock";
constexpr mode_t kFolderMode = 0711;

Error Failed(const std::string& what) {
  Error error = SysError(errno, "microvm.base_image", "cannot " + what);
  if (errno == ENOSPC) error.hint = "the file system of the runner's state directory is full";
  return error;
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec &&
         a.st_ctim.tv_sec == b.st_ctim.tv_sec && a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

Result<UniqueFd> OpenFolder(const std::string& path) {
  const bool made = ::mkdir(path.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return Failed("make " + path);
  WRIT_ASSIGN(UniqueFd folder, OpenDirectory(path));
  // A machine's image is mounted into its view as its uid, by its whole path.
  if (made && ::fchmod(folder.get(), kFolderMode) != 0) return Failed("open " + path);
  struct stat st {};
  if (::fstat(folder.get(), &st) != 0 || st.st_uid != ::geteuid() ||
      (st.st_mode & 07777) != kFolderMode)
    return Error{ErrorKind::kIntegrity, "microvm.base_folder",
                 path + " is another's, or has another mode than it was made with"};
  return folder;
}

std::optional<std::string> NameIn(const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) return name;
  return std::nullopt;
}

Result<UniqueFd> Turn(int folder) {
  UniqueFd lock(::openat(folder, kLockName, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) return Failed("lock the images of a base");
  while (::flock(lock.get(), LOCK_EX) != 0)
    if (errno != EINTR) return Failed("lock the images of a base");
  return lock;
}

// Its name, once all of it is on the disk.
Result<std::string> Make(int folder, const WorkspaceMount& mount, microvm::ImageCounts& counts) {
  (void)::unlinkat(folder, kHalfMade, 0);  // of one who was killed
  UniqueFd file(::openat(folder, kHalfMade, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return Failed("make an image of a base");
  auto make = [&]() -> Result<std::string> {
    std::vector<microvm::ImagePart> parts = {{"workspace", mount.lower}};
    for (std::size_t i = 0; i < mount.kept_trees.size(); ++i)
      parts.push_back({std::to_string(i), mount.kept_trees[i]});
    WRIT_ASSIGN(counts, microvm::WriteTreeImage(
                            parts, {microvm::kGuestJobUid, microvm::kGuestJobUid}, file.get()));
    WRIT_ASSIGN(const protocol::Digest digest, protocol::DigestOfFile(file.get()));
    const std::string name = kPrefix + digest.ToHex() + kSuffix;
    if (::fchmod(file.get(), 0444) != 0 || ::fsync(file.get()) != 0 ||
        ::renameat(folder, kHalfMade, folder, name.c_str()) != 0 || ::fsync(folder) != 0)
      return Failed("put an image of a base in its place");
    return name;
  };
  auto made = make();
  if (!made) (void)::unlinkat(folder, kHalfMade, 0);
  return made;
}

}  // namespace

bool BaseImages::IsKnown(const std::string& path, const struct stat& st) {
  std::lock_guard lock(mutex_);
  const auto found = compared_.find(path);
  return found != compared_.end() && SameFile(found->second, st);
}

void BaseImages::Remember(const std::string& path, const struct stat& st) {
  constexpr std::size_t kMany = 10'000;  // far more than a cache has: old names, not worth a list
  std::lock_guard lock(mutex_);
  if (compared_.size() >= kMany) compared_.clear();
  compared_[path] = st;
}

Result<BaseImage> BaseImages::Get(const WorkspaceMount& mount) {
  WRIT_ASSIGN(UniqueFd folder, OpenFolder(mount.kept));
  WRIT_ASSIGN(UniqueFd turn, Turn(folder.get()));
  BaseImage image;
  WRIT_ASSIGN(const std::vector<std::string> names, NamesIn(folder.get(), "microvm.base_image"));
  struct stat st {};
  if (const auto name = NameIn(names)) {
    image.path = mount.kept + "/" + *name;
    UniqueFd file(
        ::openat(folder.get(), name->c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    const bool ours = file && ::fstat(file.get(), &st) == 0 && S_ISREG(st.st_mode) &&
                      st.st_uid == ::geteuid() && (st.st_mode & 07777) == 0444;
    if (ours && IsKnown(image.path, st)) return image;
    auto digest =
        ours ? protocol::DigestOfFile(file.get()) : Result<protocol::Digest>(protocol::kZeroDigest);
    if (digest && *name == kPrefix + digest->ToHex() + kSuffix) {
      Remember(image.path, st);
      return image;
    }
    log::Warn("microvm.base_damaged", "the image of a base is not what it was, and is made again",
              {{"image", image.path}});
    WRIT_TRY(RemoveTreeBeneath(folder.get(), *name));
  }
  WRIT_ASSIGN(const std::string name, Make(folder.get(), mount, image.counts));
  image.path = mount.kept + "/" + name;
  image.made = true;
  if (::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return Failed("look at an image of a base");
  Remember(image.path, st);
  return image;
}

}  // namespace writ::backends
