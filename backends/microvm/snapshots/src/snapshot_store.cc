#include "writ/backends/microvm/snapshots/snapshot_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "folder_names.h"
#include "snapshot_files.h"
#include "writ/backends/microvm/pages/working_set.h"
#include "writ/backends/microvm/snapshots/snapshot_key.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"
#include "writ/protocol/canonical.h"

namespace writ::backends::microvm {
namespace {

constexpr char kManifestName[] = "manifest.json";
constexpr char kLockName[] = "lock";
constexpr char kDamagedName[] = "damaged";
constexpr char kSignature[] = "signature";
constexpr std::uint64_t kMaxManifest = 1u << 20;
constexpr std::uint64_t kMaxMark = 4096;
constexpr std::uint64_t kMaxState = 256u << 20;  // of a monitor's own format
constexpr std::size_t kShortestId = 12;
constexpr std::size_t kHexDigits = 64;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string FolderOf(const protocol::Digest& id) {
  return kFolderPrefix + id.ToHex();
}

Error Unknown(const std::string& reference) {
  return {ErrorKind::kNotFound, "snapshot.unknown", "there is no snapshot " + reference,
          "`writ snapshot ls` lists them, `writ snapshot build` makes one"};
}

Error NotAManifest(std::string message) {
  return PartError("snapshot.manifest", std::move(message));
}

Result<UniqueFd> OpenLock(int folder) {
  UniqueFd lock(::openat(folder, kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return SysError(errno, "snapshot.store", "cannot open the snapshot's lock");
  return lock;
}

// A folder that is ours alone.
Result<UniqueFd> OpenFolder(int store, const std::string& name) {
  WRIT_ASSIGN(UniqueFd folder, OpenBeneath(store, name, O_RDONLY | O_DIRECTORY));
  struct stat st {};
  if (::fstat(folder.get(), &st) != 0)
    return SysError(errno, "snapshot.store", "cannot look at the snapshot's folder");
  if ((st.st_uid != 0 && st.st_uid != ::geteuid()) || (st.st_mode & 077) != 0)
    return PartError("snapshot.part_open", "others than its owner can enter the snapshot's folder");
  return folder;
}

std::uint64_t DiskBytes(int folder) {
  constexpr std::uint64_t kBlock = 512;
  std::uint64_t out = 0;
  struct stat st {};
  for (const std::string& name : NamesIn(folder).value_or({}))
    if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
      out += static_cast<std::uint64_t>(st.st_blocks) * kBlock;
  return out;
}

// The manifest, signed by our key, in the folder that has its name.
Result<SnapshotRecord> ReadRecord(const protocol::PublicKey& key, int folder,
                                  const std::string& name) {
  auto file = OpenBeneath(folder, kManifestName, O_RDONLY | O_NONBLOCK);
  if (!file && file.error().sys_errno == ENOENT)
    return PartError("snapshot.part_missing", "the snapshot's manifest is missing");
  if (!file) return std::move(file).error();
  WRIT_ASSIGN(std::string bytes, ReadAll(file->get(), kMaxManifest));
  auto value = json::Parse(bytes, {.max_depth = 8, .max_bytes = kMaxManifest});
  if (!value || !value->is_object() || json::CanonicalBytes(*value) != bytes)
    return NotAManifest("the snapshot's manifest is not canonical JSON");
  const json::Value* signature = value->Find(kSignature);
  if (signature == nullptr) return NotAManifest("the snapshot's manifest is not signed");
  const json::Value signed_by = *signature;
  const protocol::Digest id = protocol::HashWithout(*value, kSignature);
  WRIT_TRY(CheckSnapshotSignature(key, id, signed_by));
  value->object().Erase(kSignature);
  auto manifest = ReadSnapshotManifest(*value);
  if (!manifest) return NotAManifest(manifest.error().message);
  if (FolderOf(id) != name)
    return PartError("snapshot.part_foreign", "the manifest is of another snapshot");
  return SnapshotRecord{id, std::move(manifest).value(), DiskBytes(folder)};
}

// Nothing but the parts, and what belongs beside them.
Status CheckNames(int folder, const SnapshotManifest& manifest) {
  std::vector<std::string> known = {kManifestName,      kLockName,       kDamagedName,
                                    kSnapshotMemory,    kSnapshotTokens, pages::kLeafTableName,
                                    kSnapshotWorkingSet};
  for (const SnapshotPart& part : manifest.state) known.push_back(part.name);
  WRIT_ASSIGN(const std::vector<std::string> names, NamesIn(folder, "snapshot.part_open"));
  for (const std::string& name : names) {
    if (name.front() == '.') continue;  // of a replacement that was cut short
    if (std::find(known.begin(), known.end(), name) == known.end())
      return PartError("snapshot.part_foreign",
                       "a file lies in the snapshot's folder that is no part of it");
  }
  return {};
}

SnapshotPart TokensPart(const SnapshotManifest& manifest, std::uint64_t bytes) {
  return {kSnapshotTokens, bytes, manifest.tokens};
}

Result<Secret> ReadTokens(int folder, const SnapshotManifest& manifest) {
  struct stat st {};
  if (::fstatat(folder, kSnapshotTokens, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return PartError("snapshot.part_missing", "the snapshot's tokens are missing");
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (size > kMaxTokensBytes)
    return PartError("snapshot.part_damaged",
                     "the snapshot's tokens are not what its manifest says");
  WRIT_ASSIGN(std::string bytes, ReadPart(folder, TokensPart(manifest, size)));
  return Secret::Consume(bytes);
}

// Everything but the memory's content. `mark`: whether one that was marked is refused for that.
enum class Mark { kRefuses, kIgnored };
Result<SnapshotRecord> Check(const protocol::PublicKey& key, int folder, const std::string& name,
                             Mark mark) {
  WRIT_ASSIGN(SnapshotRecord record, ReadRecord(key, folder, name));
  if (auto marked = OpenBeneath(folder, kDamagedName, O_RDONLY); marked && mark == Mark::kRefuses) {
    auto why = ReadAll(marked->get(), kMaxMark);
    return PartError("snapshot.damaged",
                     "the snapshot was found damaged before: " + (why ? *why : std::string("?")));
  }
  WRIT_TRY(CheckNames(folder, record.manifest));
  WRIT_ASSIGN(UniqueFd memory, OpenPart(folder, kSnapshotMemory, record.manifest.fit.memory_bytes));
  for (const SnapshotPart& part : record.manifest.state) WRIT_TRY(ReadPart(folder, part));
  WRIT_TRY(ReadTokens(folder, record.manifest));
  WRIT_TRY(ReadLeaves(folder, record.manifest));
  return record;
}

// All of the memory, which no other check reads: where it is damaged the snapshot is not offered
// again until somebody has looked.
Status CompareOrMark(int folder, const SnapshotManifest& manifest, int to) {
  WRIT_ASSIGN(pages::LeafTable table, ReadLeaves(folder, manifest));
  Status same = CompareMemory(folder, manifest, std::move(table), to);
  if (!same && same.error().kind == ErrorKind::kIntegrity)
    (void)WriteFileAtomic(folder, kDamagedName, same.error().message, 0600).has_value();
  return same;
}

struct Opened {
  UniqueFd store;
  protocol::PublicKey key;
};
Result<Opened> OpenStore(const std::string& dir) {
  WRIT_ASSIGN(UniqueFd store, OpenDirectory(dir));
  WRIT_ASSIGN(protocol::PrivateKey key, ReadSnapshotKey(store.get()));
  return Opened{std::move(store), key.Public()};
}

// Open, and not on its way out: whoever removes it has the lock first.
Result<UniqueFd> LockShared(int store, const std::string& name, int folder) {
  WRIT_ASSIGN(UniqueFd lock, OpenLock(folder));
  struct stat held {};
  struct stat named {};
  if (::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 || ::fstat(folder, &held) != 0 ||
      ::fstatat(store, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      held.st_ino != named.st_ino)
    return Unknown(name);
  return lock;
}

Status RemoveFolder(int store, const std::string& name) {
  WRIT_ASSIGN(UniqueFd folder, OpenBeneath(store, name, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd lock, OpenLock(folder.get()));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{ErrorKind::kConflict, "snapshot.in_use",
                 "a machine is being started from it, or has its memory from it",
                 "try again when the runs that use it have ended"};
  (void)::flock(folder.get(), LOCK_EX);
  const std::string away = kOldPrefix + HexEncode(RandomBytes(8));
  if (::renameat(store, name.c_str(), store, away.c_str()) != 0)
    return SysError(errno, "snapshot.store", "cannot remove the snapshot");
  return RemoveTreeBeneath(store, away);
}

// The folder that a reference means; refused ones have a name too.
Result<std::string> FolderFor(int store, const std::string& reference) {
  std::string_view hex = reference;
  if (hex.starts_with("sha256:")) hex.remove_prefix(7);
  std::vector<std::string> found;
  if (hex.size() >= kShortestId && hex.size() <= kHexDigits && IsHex(hex))
    for (const std::string& name : NamesIn(store).value_or({}))
      if (name.starts_with(kFolderPrefix + std::string(hex))) found.push_back(name);
  if (found.empty()) return Unknown(reference);
  if (found.size() > 1)
    return Error{ErrorKind::kInvalid, "snapshot.ambiguous", "several snapshots begin like this",
                 "give more digits of the one that is meant"};
  return found.front();
}

}  // namespace

SnapshotStore SnapshotStoreOf(const std::string& dir) {
  return SnapshotStore(dir + "/snapshots");
}

Result<SnapshotRecord> SnapshotStore::Add(
    const SnapshotSource& source, SnapshotManifest manifest,
    const std::function<void(const std::string&)>& told) const {
  auto tell = [&told](const std::string& what) {
    if (told) told(what);
  };
  WRIT_ASSIGN(UniqueFd store, MakeDirectories(dir_, 0700));
  struct stat st {};
  if (::fstat(store.get(), &st) != 0 || (st.st_mode & 077) != 0)
    return Error{ErrorKind::kDenied, "snapshot.store_mode",
                 "others than its owner can enter the folder of snapshots", "chmod 700 " + dir_};
  WRIT_ASSIGN(protocol::PrivateKey key, OpenSnapshotKey(store.get()));
  (void)SweepHalfMade(store.get(), GarbageMode::kCollect);
  WRIT_ASSIGN(HalfMade made, MakeHalfMade(store.get(), 0700));
  // What is not finished is gone with us; after kill -9 with the next sweep.
  struct Undo {
    int store;
    std::string name;
    ~Undo() {
      if (!name.empty()) (void)RemoveTreeBeneath(store, name).has_value();
    }
  } undo{store.get(), made.name};
  const int folder = made.folder.get();

  tell("copying the machine's memory, with a digest of each 64 KiB");
  WRIT_ASSIGN(const pages::LeafTable table,
              StoreMemory(source.directory, source.memory, folder, manifest.fit.memory_bytes));
  manifest.memory_root = pages::MemoryRoot(table.memory_bytes, table.leaves);
  tell("storing the device state");
  manifest.state.clear();
  for (const std::string& name : source.state) {
    WRIT_ASSIGN(SnapshotPart part, StorePart(source.directory, name, folder, kMaxState));
    manifest.state.push_back(std::move(part));
  }
  manifest.tokens = protocol::Sha256(source.tokens.Reveal());
  WRIT_TRY(WriteFileAtomic(folder, kSnapshotTokens, source.tokens.Reveal(), 0600));
  WRIT_TRY(OpenLock(folder));
  manifest.created_at = SystemClock().Now();

  tell("signing");
  const protocol::Digest id = manifest.Id();
  json::Value value = manifest.ToJson();
  value.object().Set(kSignature, SignSnapshot(key, id));
  WRIT_TRY(WriteFileAtomic(folder, kManifestName, json::CanonicalBytes(value), 0600));
  // What was written is what will be read, before it has a name.
  WRIT_TRY(Check(key.Public(), folder, FolderOf(id), Mark::kRefuses));
  tell("putting it in its place");
  if (::fsync(folder) != 0 ||
      ::renameat(store.get(), made.name.c_str(), store.get(), FolderOf(id).c_str()) != 0)
    return SysError(errno, "snapshot.store", "cannot put the snapshot in its place");
  undo.name.clear();
  if (::fsync(store.get()) != 0)
    return SysError(errno, "snapshot.store", "cannot sync the folder of snapshots");
  return SnapshotRecord{id, std::move(manifest), DiskBytes(folder)};
}

Result<SnapshotList> SnapshotStore::List() const {
  SnapshotList out;
  auto store = OpenDirectory(dir_);
  if (!store && store.error().sys_errno == ENOENT) return out;
  if (!store) return std::move(store).error();
  auto key = ReadSnapshotKey(store->get());
  for (const std::string& name : NamesIn(store->get()).value_or({})) {
    if (!name.starts_with(kFolderPrefix)) continue;
    auto folder = OpenFolder(store->get(), name);
    auto record = !key      ? Result<SnapshotRecord>(key.error())
                  : !folder ? Result<SnapshotRecord>(folder.error())
                            : Check(key->Public(), folder->get(), name, Mark::kRefuses);
    if (record) {
      out.good.push_back(std::move(record).value());
      continue;
    }
    RefusedSnapshot refused{name, std::move(record).error(), {}};
    if (auto known = key && folder ? ReadRecord(key->Public(), folder->get(), name)
                                   : Result<SnapshotRecord>(Error{}))
      refused.manifest = std::move(known->manifest);
    out.refused.push_back(std::move(refused));
  }
  std::stable_sort(out.good.begin(), out.good.end(),
                   [](const SnapshotRecord& a, const SnapshotRecord& b) {
                     return a.manifest.created_at > b.manifest.created_at;
                   });
  return out;
}

Result<SnapshotRecord> SnapshotStore::Find(const std::string& reference) const {
  auto opened = OpenStore(dir_);
  if (!opened && opened.error().sys_errno == ENOENT) return Unknown(reference);
  if (!opened) return std::move(opened).error();
  WRIT_ASSIGN(const std::string name, FolderFor(opened->store.get(), reference));
  WRIT_ASSIGN(UniqueFd folder, OpenFolder(opened->store.get(), name));
  return Check(opened->key, folder.get(), name, Mark::kRefuses);
}

Result<HeldSnapshot> SnapshotStore::Hold(const protocol::Digest& id) const {
  auto opened = OpenStore(dir_);
  if (!opened && opened.error().sys_errno == ENOENT) return Unknown("sha256:" + id.ToHex());
  if (!opened) return std::move(opened).error();
  WRIT_ASSIGN(const std::string name, FolderFor(opened->store.get(), id.ToHex()));
  WRIT_ASSIGN(UniqueFd folder, OpenFolder(opened->store.get(), name));
  WRIT_ASSIGN(UniqueFd lock, LockShared(opened->store.get(), name, folder.get()));
  WRIT_ASSIGN(SnapshotRecord record, Check(opened->key, folder.get(), name, Mark::kRefuses));
  return HeldSnapshot{std::move(record), std::move(folder), std::move(lock)};
}

Status SnapshotStore::CopyOut(const HeldSnapshot& held, int directory, uid_t uid, gid_t gid,
                              MemoryCopy wanted) const {
  const SnapshotManifest& manifest = held.record.manifest;
  const int folder = held.folder.get();
  std::vector<std::string> copied;
  auto make = [&](const std::string& name) -> Result<UniqueFd> {
    UniqueFd file(::openat(directory, name.c_str(),
                           O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return SysError(errno, "snapshot.copy", "cannot make the machine's " + name);
    copied.push_back(name);
    if (::geteuid() == 0 && ::fchown(file.get(), uid, gid) != 0)
      return SysError(errno, "snapshot.copy", "cannot give the machine its " + name);
    return file;
  };
  auto copy = [&]() -> Status {
    for (const SnapshotPart& part : manifest.state) {
      WRIT_ASSIGN(std::string bytes, ReadPart(folder, part));
      WRIT_ASSIGN(UniqueFd file, make(part.name));
      WRIT_TRY(WriteAll(file.get(), bytes));
    }
    WRIT_ASSIGN(Secret tokens, ReadTokens(folder, manifest));
    WRIT_ASSIGN(UniqueFd file, make(kSnapshotTokens));
    WRIT_TRY(WriteAll(file.get(), tokens.Reveal()));
    if (wanted == MemoryCopy::kNone) return {};
    WRIT_ASSIGN(UniqueFd memory, make(kSnapshotMemory));
    return CompareOrMark(folder, manifest, memory.get());
  };
  Status done = copy();
  if (done) return done;
  for (const std::string& name : copied) (void)::unlinkat(directory, name.c_str(), 0);
  return done;
}

Result<ServedFiles> SnapshotStore::OpenServed(const HeldSnapshot& held, uid_t uid,
                                              gid_t gid) const {
  const SnapshotManifest& manifest = held.record.manifest;
  const int folder = held.folder.get();
  ServedFiles out;
  WRIT_ASSIGN(out.memory, OpenPart(folder, kSnapshotMemory, manifest.fit.memory_bytes));
  WRIT_ASSIGN(out.leaf_table, OpenLeaves(folder, manifest));
  if (::mkdirat(folder, kSnapshotWorkingSet, 0700) != 0 && errno != EEXIST)
    return SysError(errno, "snapshot.store", "cannot make a folder for the working set");
  WRIT_ASSIGN(out.working_set, OpenBeneath(folder, kSnapshotWorkingSet, O_RDONLY | O_DIRECTORY));
  if (::geteuid() != 0) return out;
  if (::fchown(out.working_set.get(), uid, gid) != 0)
    return SysError(errno, "snapshot.store", "cannot give the page server its folder");
  // An earlier server had another uid; what it has left unreadable is recorded anew.
  struct stat st {};
  auto recorded = OpenBeneath(out.working_set.get(), pages::kWorkingSetName, O_RDONLY | O_NONBLOCK);
  if (recorded && ::fstat(recorded->get(), &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
    (void)!::fchown(recorded->get(), uid, gid);
  return out;
}

std::optional<pages::WorkingSet> SnapshotStore::ReadWorkingSet(const SnapshotRecord& record) const {
  auto store = OpenDirectory(dir_);
  const std::string name =
      FolderOf(record.id) + "/" + kSnapshotWorkingSet + "/" + pages::kWorkingSetName;
  auto file = store ? OpenBeneath(store->get(), name, O_RDONLY | O_NONBLOCK)
                    : Result<UniqueFd>(store.error());
  auto bytes = file ? ReadAll(file->get(), pages::kMaxWorkingSetBytes) : std::move(file).error();
  auto set = bytes ? pages::WorkingSet::Decode(*bytes, record.manifest.memory_root,
                                               record.manifest.fit.memory_bytes)
                   : std::move(bytes).error();
  return set ? std::optional(std::move(set).value()) : std::nullopt;
}

Result<SnapshotRecord> SnapshotStore::Verify(const std::string& reference) const {
  auto opened = OpenStore(dir_);
  if (!opened && opened.error().sys_errno == ENOENT) return Unknown(reference);
  if (!opened) return std::move(opened).error();
  WRIT_ASSIGN(const std::string name, FolderFor(opened->store.get(), reference));
  WRIT_ASSIGN(UniqueFd folder, OpenFolder(opened->store.get(), name));
  WRIT_ASSIGN(UniqueFd lock, LockShared(opened->store.get(), name, folder.get()));
  auto compare = [&]() -> Result<SnapshotRecord> {
    WRIT_ASSIGN(SnapshotRecord record, Check(opened->key, folder.get(), name, Mark::kIgnored));
    WRIT_TRY(CompareOrMark(folder.get(), record.manifest, -1));
    return record;
  };
  auto record = compare();
  if (record) (void)::unlinkat(folder.get(), kDamagedName, 0);
  return record;
}

Result<std::string> SnapshotStore::Remove(const std::string& reference) const {
  auto store = OpenDirectory(dir_);
  if (!store && store.error().sys_errno == ENOENT) return Unknown(reference);
  if (!store) return std::move(store).error();
  WRIT_ASSIGN(const std::string name, FolderFor(store->get(), reference));
  WRIT_TRY(RemoveFolder(store->get(), name));
  return "sha256:" + name.substr(sizeof kFolderPrefix - 1);
}

Result<SnapshotGarbage> SnapshotStore::CollectGarbage(
    GarbageMode mode, const std::function<std::string(const SnapshotRecord&)>& unwanted) const {
  SnapshotGarbage out;
  auto store = OpenDirectory(dir_);
  if (!store && store.error().sys_errno == ENOENT) return out;
  if (!store) return std::move(store).error();
  for (std::string& name : SweepHalfMade(store->get(), mode))
    out.removed.push_back({std::move(name), "its making or removal was cut short"});
  WRIT_ASSIGN(SnapshotList list, List());
  std::vector<std::pair<std::string, std::string>> going;
  // What could not be looked at may be good.
  for (const RefusedSnapshot& one : list.refused) {
    if (one.why.kind != ErrorKind::kIntegrity && one.why.kind != ErrorKind::kNotFound)
      return Error(one.why).With("looking at the snapshots");
    going.emplace_back(one.folder, one.why.message);
  }
  for (const SnapshotRecord& record : list.good)
    if (std::string why = unwanted(record); !why.empty())
      going.emplace_back(FolderOf(record.id), std::move(why));
  for (auto& [folder, why] : going) {
    const std::string text = "sha256:" + folder.substr(sizeof kFolderPrefix - 1);
    Status gone = mode == GarbageMode::kDryRun ? Status() : RemoveFolder(store->get(), folder);
    if (gone) {
      out.removed.push_back({text, std::move(why)});
    } else if (gone.error().kind == ErrorKind::kConflict) {
      out.in_use.push_back(text);
    } else {
      return std::move(gone).error();
    }
  }
  return out;
}

}  // namespace writ::backends::microvm
