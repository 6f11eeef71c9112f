#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "image_check.h"
#include "image_import.h"
#include "store_folder.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

// What imports and removals that were killed have left.
void Sweep(int store) {
  for (const std::string& name : NamesIn(store).value_or({})) {
    if (!name.starts_with(".new-") && !name.starts_with(".old-")) continue;
    auto dir = OpenBeneath(store, name, O_RDONLY | O_DIRECTORY);
    if (!dir || ::flock(dir->get(), LOCK_EX | LOCK_NB) != 0) continue;  // at work
    (void)RemoveTreeBeneath(store, name).has_value();
  }
}

// A directory for an import at work: locked as long as it is open. Nobody sweeps meanwhile.
Result<UniqueFd> MakeStage(int store, const std::string& name) {
  if (::flock(store, LOCK_EX) != 0) return StoreError(errno, "lock the image store");
  Sweep(store);
  const bool made = ::mkdirat(store, name.c_str(), 0700) == 0;
  const int err = errno;
  auto dir = made ? OpenBeneath(store, name, O_RDONLY | O_DIRECTORY)
                  : StoreError(err, "make a directory in the image store");
  if (dir) (void)::flock(dir->get(), LOCK_EX);
  (void)::flock(store, LOCK_UN);
  return dir;
}

Result<UniqueFd> OpenStore(const std::string& path) {
  WRIT_ASSIGN(UniqueFd dir, MakeDirectories(path, 0711));
  // Whatever the umask is: jobs pass through it.
  struct stat st {};
  if (::fstat(dir.get(), &st) == 0 && st.st_uid == ::geteuid() && (st.st_mode & 0777) != 0711)
    (void)::fchmod(dir.get(), 0711);
  return dir;
}

Status SetName(int store, const std::string& name, const protocol::Digest& id) {
  WRIT_ASSIGN(UniqueFd names, MakeDirectoriesBeneath(store, kNames, 0700));
  return WriteFileAtomic(names.get(), name, id.ToHex() + "\n", 0600);
}

// Whether that image is in its place and as it was just imported anew.
bool IsThere(int store, const std::string& folder, const ImageRecord& record) {
  auto dir = OpenBeneath(store, folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return false;
  auto there = ReadRecord(store, folder);
  return there && there->tree == record.tree && CheckTree(dir->get(), *there);
}

// What is in the place of an image and is not it. No job may run in that meanwhile.
Status TakeDamagedAway(int store, const std::string& folder) {
  auto dir = OpenBeneath(store, folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return {};  // nothing is there
  WRIT_ASSIGN(UniqueFd lock, OpenLock(dir->get()));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{ErrorKind::kConflict, "image.in_use",
                 "the image is damaged, and a job runs in what is left of it",
                 "wait for its end, or cancel it, and import the image again"};
  return MoveAwayAndRemove(store, folder);
}

}  // namespace

Result<ImageRecord> ImageStore::Import(const std::string& path,
                                       const ImportOptions& options) const {
  if (!options.name.empty() && !IsImageName(options.name))
    return Error{ErrorKind::kInvalid, "image.bad_name", "this cannot be the name of an image",
                 "letters, digits, '.', '_', ':' and '-', at most 128, and not a digest"};
  WRIT_ASSIGN(UniqueFd store, OpenStore(dir_));
  const std::string stage = ".new-" + HexEncode(RandomBytes(8));
  WRIT_ASSIGN(UniqueFd dir, MakeStage(store.get(), stage));
  auto give_up = [&](Error error) {
    (void)RemoveTreeBeneath(store.get(), stage).has_value();
    return error;
  };
  auto record = ImportInto(dir.get(), path, options);
  if (!record) return give_up(std::move(record).error());
  const std::string folder = std::string(kPrefix) + record->id.ToHex();
  // One after the other from here on; until the end, where the store is closed.
  if (::flock(store.get(), LOCK_EX) != 0) return give_up(StoreError(errno, "lock the image store"));
  if (IsThere(store.get(), folder, *record)) {
    (void)RemoveTreeBeneath(store.get(), stage).has_value();
  } else {
    if (Status away = TakeDamagedAway(store.get(), folder); !away)
      return give_up(std::move(away).error());
    const std::string bytes = json::WritePretty(record->ToJson()) + "\n";
    if (Status written = WriteFileAtomic(dir.get(), kRecord, bytes, 0600); !written)
      return give_up(std::move(written).error());
    NoteLookedAt(dir.get());
    if (::fchmod(dir.get(), 0711) != 0 || ::syncfs(dir.get()) != 0)
      return give_up(StoreError(errno, "write the image to the disk"));
    if (::renameat(store.get(), stage.c_str(), store.get(), folder.c_str()) != 0)
      return give_up(StoreError(errno, "give the image its place"));
    (void)::fsync(store.get());
  }
  if (!options.name.empty()) WRIT_TRY(SetName(store.get(), options.name, record->id));
  return Find(ImageDigestText(record->id));
}

}  // namespace writ::backends::image
