#include "writ/backends/image/image_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "image_check.h"
#include "image_record.h"
#include "store_folder.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::image {

Error StoreError(int err, const std::string& what) {
  return SysError(err, "image.store", "cannot " + what);
}

Result<UniqueFd> OpenLock(int dir) {
  UniqueFd lock(::openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return StoreError(errno, "open an image's lock");
  return lock;
}

Status MoveAwayAndRemove(int store, const std::string& name) {
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(store, name, O_RDONLY | O_DIRECTORY));
  (void)::flock(dir.get(), LOCK_EX);
  const std::string away = ".old-" + HexEncode(RandomBytes(8));
  if (::renameat(store, name.c_str(), store, away.c_str()) != 0)
    return StoreError(errno, "remove an image");
  return RemoveTreeBeneath(store, away);
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

namespace {

constexpr std::size_t kShortestId = 12;
constexpr std::size_t kHexDigits = 64;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::vector<std::pair<std::string, std::string>> ReadNames(int store) {
  std::vector<std::pair<std::string, std::string>> out;
  auto names = OpenBeneath(store, kNames, O_RDONLY | O_DIRECTORY);
  if (!names) return out;
  for (const std::string& name : NamesIn(names->get()).value_or({})) {
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

Result<std::vector<ImageRecord>> ImageStore::List(std::vector<std::string>* damaged) const {
  std::vector<ImageRecord> out;
  auto store = OpenDirectory(dir_);
  if (!store && store.error().sys_errno == ENOENT) return out;
  if (!store) return std::move(store).error();
  const auto names = ReadNames(store->get());
  WRIT_ASSIGN(const std::vector<std::string> folders, NamesIn(store->get(), "image.store"));
  for (const std::string& folder : folders) {
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
  WRIT_TRY(CheckOnceABoot(dir->get(), record));
  return HeldImage{std::move(record), dir_ + "/" + folder + "/root", std::move(lock)};
}

Result<ImageRecord> ImageStore::Verify(const std::string& reference) const {
  WRIT_ASSIGN(ImageRecord record, Find(reference));
  WRIT_ASSIGN(UniqueFd store, OpenDirectory(dir_));
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(store.get(), std::string(kPrefix) + record.id.ToHex(),
                                        O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd lock, OpenLock(dir.get()));
  if (::flock(lock.get(), LOCK_SH | LOCK_NB) != 0) return Unknown(reference);  // being removed
  WRIT_TRY(CheckTree(dir.get(), record));
  return record;
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
