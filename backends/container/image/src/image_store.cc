#include "writ/backends/image/image_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "image_import.h"
#include "image_record.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

constexpr std::string_view kPrefix = "sha256-";
constexpr char kRecord[] = "image.json";
constexpr char kLock[] = "lock";
constexpr char kNames[] = "names";
constexpr std::size_t kShortestId = 12;
constexpr std::size_t kHexDigits = 64;

Error StoreError(int err, const std::string& what) {
  return SysError(err, "image.store", "cannot " + what);
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::vector<std::string> NamesIn(int dir) {
  std::vector<std::string> out;
  UniqueFd copy(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, int (*)(DIR*)> list(copy ? ::fdopendir(copy.get()) : nullptr, ::closedir);
  if (list == nullptr) return out;
  (void)copy.release();
  while (const dirent* entry = ::readdir(list.get())) out.emplace_back(entry->d_name);
  std::sort(out.begin(), out.end());
  return out;
}

Result<UniqueFd> OpenLock(int dir) {
  UniqueFd lock(::openat(dir, kLock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return StoreError(errno, "open an image's lock");
  return lock;
}

// Under a name of its own first, so that nobody finds half of it; locked, so that nobody sweeps it.
Status MoveAwayAndRemove(int store, const std::string& name) {
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(store, name, O_RDONLY | O_DIRECTORY));
  (void)::flock(dir.get(), LOCK_EX);
  const std::string away = ".old-" + HexEncode(RandomBytes(8));
  if (::renameat(store, name.c_str(), store, away.c_str()) != 0)
    return StoreError(errno, "remove an image");
  return RemoveTreeBeneath(store, away);
}

// What imports and removals that were killed have left.
void Sweep(int store) {
  for (const std::string& name : NamesIn(store)) {
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

Result<ImageRecord> ReadRecord(int store, const std::string& folder) {
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(store, folder, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd file, OpenBeneath(dir.get(), kRecord, O_RDONLY));
  WRIT_ASSIGN(std::string bytes, ReadAll(file.get(), kRecordBytes));
  WRIT_ASSIGN(ImageRecord record, ParseImageRecord(bytes));
  if (std::string(kPrefix) + record.id.ToHex() != folder)
    return Error{ErrorKind::kIntegrity, "image.record", "an image's record names another image"};
  return record;
}

std::vector<std::pair<std::string, std::string>> ReadNames(int store) {
  std::vector<std::pair<std::string, std::string>> out;
  auto names = OpenBeneath(store, kNames, O_RDONLY | O_DIRECTORY);
  if (!names) return out;
  for (const std::string& name : NamesIn(names->get())) {
    if (!IsImageName(name)) continue;
    auto file = OpenBeneath(names->get(), name, O_RDONLY);
    auto bytes = file ? ReadAll(file->get(), 128) : std::move(file).error();
    if (bytes && bytes->size() == kHexDigits + 1)
      out.emplace_back(name, bytes->substr(0, kHexDigits));
  }
  return out;
}

Error Unknown(const std::string& reference) {
  return Error{ErrorKind::kNotFound, "image.unknown", "there is no image " + reference,
               "`writ image import PATH` brings one in, `writ image ls` lists them"};
}

}  // namespace

bool IsImageName(std::string_view name) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > 128 || !plain(name.front())) return false;
  if (name.starts_with("sha256:") || (name.size() >= kShortestId && IsHex(name))) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return plain(c) || c == '.' || c == '_' || c == ':' || c == '-';
  });
}

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
  if (auto there = ReadRecord(store.get(), folder)) {
    (void)RemoveTreeBeneath(store.get(), stage).has_value();
    record = std::move(there);
  } else {
    if (::faccessat(store.get(), folder.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      (void)MoveAwayAndRemove(store.get(), folder).has_value();  // damaged
    const std::string bytes = json::WritePretty(record->ToJson()) + "\n";
    if (Status written = WriteFileAtomic(dir.get(), kRecord, bytes, 0600); !written)
      return give_up(std::move(written).error());
    if (::fchmod(dir.get(), 0711) != 0 || ::syncfs(dir.get()) != 0)
      return give_up(StoreError(errno, "write the image to the disk"));
    if (::renameat(store.get(), stage.c_str(), store.get(), folder.c_str()) != 0 &&
        !ReadRecord(store.get(), folder))
      return give_up(StoreError(errno, "give the image its place"));
    (void)::fsync(store.get());
    (void)RemoveTreeBeneath(store.get(), stage).has_value();  // another import was first
  }
  if (!options.name.empty()) WRIT_TRY(SetName(store.get(), options.name, record->id));
  return Find(ImageDigestText(record->id));
}

Result<std::vector<ImageRecord>> ImageStore::List(std::vector<std::string>* damaged) const {
  std::vector<ImageRecord> out;
  auto store = OpenDirectory(dir_);
  if (!store && store.error().sys_errno == ENOENT) return out;
  if (!store) return std::move(store).error();
  const auto names = ReadNames(store->get());
  for (const std::string& folder : NamesIn(store->get())) {
    if (!folder.starts_with(kPrefix)) continue;
    auto record = ReadRecord(store->get(), folder);
    if (!record) {
      if (damaged != nullptr) damaged->push_back(folder);
      continue;
    }
    for (const auto& [name, hex] : names)
      if (hex == record->id.ToHex()) record->names.push_back(name);
    out.push_back(std::move(*record));
  }
  return out;
}

Result<ImageRecord> ImageStore::Find(const std::string& reference) const {
  WRIT_ASSIGN(std::vector<ImageRecord> all, List());
  std::string_view hex = reference;
  if (hex.starts_with("sha256:")) hex.remove_prefix(7);
  const bool digits = hex.size() >= kShortestId && IsHex(hex);
  std::vector<ImageRecord> found;
  for (ImageRecord& record : all) {
    const bool named =
        std::find(record.names.begin(), record.names.end(), reference) != record.names.end();
    const bool meant = digits && (record.id.ToHex().starts_with(hex) ||
                                  (record.manifest && record.manifest->ToHex().starts_with(hex)));
    if (named || meant) found.push_back(std::move(record));
  }
  if (found.empty()) return Unknown(reference);
  if (found.size() > 1)
    return Error{ErrorKind::kInvalid, "image.ambiguous", "several images begin like this",
                 "give more digits of the one that is meant"};
  return std::move(found.front());
}

Result<HeldImage> ImageStore::Hold(const std::string& reference) const {
  WRIT_ASSIGN(ImageRecord record, Find(reference));
  const std::string folder = std::string(kPrefix) + record.id.ToHex();
  WRIT_ASSIGN(UniqueFd store, OpenDirectory(dir_));
  auto dir = OpenBeneath(store.get(), folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return Unknown(reference);
  WRIT_ASSIGN(UniqueFd lock, OpenLock(dir->get()));
  struct stat held {};
  struct stat named {};
  // Whoever removes it has the lock first, and then takes its name away.
  if (::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 || ::fstat(dir->get(), &held) != 0 ||
      ::fstatat(store.get(), folder.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      held.st_ino != named.st_ino)
    return Unknown(reference);
  return HeldImage{std::move(record), dir_ + "/" + folder + "/root", std::move(lock)};
}

Status ImageStore::Remove(const std::string& reference) const {
  WRIT_ASSIGN(ImageRecord record, Find(reference));
  const std::string folder = std::string(kPrefix) + record.id.ToHex();
  WRIT_ASSIGN(UniqueFd store, OpenDirectory(dir_));
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(store.get(), folder, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd lock, OpenLock(dir.get()));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{ErrorKind::kConflict, "image.in_use", "a job runs in this image",
                 "wait for its end, or cancel it"};
  WRIT_TRY(MoveAwayAndRemove(store.get(), folder));
  auto names = OpenBeneath(store.get(), kNames, O_RDONLY | O_DIRECTORY);
  for (const std::string& name : record.names)
    if (names) (void)::unlinkat(names->get(), name.c_str(), 0);
  return {};
}

}  // namespace writ::backends::image
