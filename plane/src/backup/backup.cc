#include "writ/plane/backup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <set>

#include "backup/contents.h"
#include "backup/tar.h"
#include "key_ring.h"
#include "store/store.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::plane {
namespace {

constexpr const char* kStaging = "backup";  // beneath the plane's state folder
constexpr int kAttempts = 5;

// What one snapshot of the database says.
struct Snapshot {
  int schema = 0;
  std::uint64_t runs = 0;
  std::set<std::string> blobs;
};

// Hashes anywhere in a JSON value: a request that waits for its contract names its blobs only
// there.
void CollectHashes(const json::Value& value, std::set<std::string>& out) {
  if (const std::string* text = value.if_string()) {
    if (protocol::Digest::Parse(*text)) out.insert(*text);
  } else if (const json::Array* items = value.if_array()) {
    for (const json::Value& item : *items) CollectHashes(item, out);
  } else if (const json::Object* object = value.if_object()) {
    for (const json::Member& member : *object) CollectHashes(member.value, out);
  }
}

Result<Snapshot> ReadSnapshot(const std::string& path) {
  WRIT_ASSIGN(auto db, sqlite::Database::Open(path, sqlite::Database::Mode::kReadOnly));
  Snapshot out;
  WRIT_ASSIGN(auto version, db->Number("PRAGMA user_version"));
  out.schema = static_cast<int>(version.value_or(0));
  WRIT_ASSIGN(auto runs, db->Number("SELECT count(*) FROM runs"));
  out.runs = static_cast<std::uint64_t>(runs.value_or(0));
  WRIT_ASSIGN(auto refs, db->Ask("SELECT DISTINCT hash FROM blob_refs"));
  for (;;) {
    WRIT_ASSIGN(bool row, refs.Next());
    if (!row) break;
    out.blobs.insert(refs.Text(0));
  }
  WRIT_ASSIGN(auto waiting,
              db->Ask("SELECT request FROM runs WHERE status IN ('created','awaiting_approval')"));
  for (;;) {
    WRIT_ASSIGN(bool row, waiting.Next());
    if (!row) break;
    if (auto request = json::Parse(waiting.Text(0)))
      if (const json::Value* workspace = request->Find("workspace"))
        CollectHashes(*workspace, out.blobs);
  }
  return out;
}

// The staging folder holds the snapshot and a second name of every blob that it refers to, so that
// no sweep takes one away before it is copied.
class Staging {
 public:
  static Result<Staging> Open(const std::string& dir) {
    Staging out;
    out.path_ = dir + "/plane/" + kStaging;
    WRIT_ASSIGN(out.state_, OpenDirectory(dir + "/plane"));
    Result<UniqueFd> lock = LockFile(out.state_.get(), "backup.lock");
    if (!lock && lock.error().kind == ErrorKind::kConflict)
      return Error{.kind = ErrorKind::kConflict,
                   .code = "backup.under_way",
                   .message = "another backup of this plane is being made",
                   .hint = "wait for it to end"};
    if (!lock) return std::move(lock).error();
    out.lock_ = std::move(*lock);
    WRIT_TRY(out.Clear());  // what a backup that was killed has left
    return out;
  }
  Staging(Staging&&) = default;
  Staging& operator=(Staging&&) = delete;
  ~Staging() {
    if (state_) (void)Clear();
  }

  // The blobs that the snapshot names and the store does not have.
  Result<std::set<std::string>> Take(Snapshot& snapshot) {
    WRIT_TRY(Clear());
    WRIT_ASSIGN(folder_, MakeDirectoriesBeneath(state_.get(), kStaging, 0700));
    {
      WRIT_ASSIGN(auto live, sqlite::Database::Open(path_ + "/../state.db",
                                                    sqlite::Database::Mode::kReadWrite));
      WRIT_TRY(live->Do("VACUUM INTO ?", path_ + "/state.db"));
    }
    WRIT_ASSIGN(snapshot, ReadSnapshot(path_ + "/state.db"));
    std::set<std::string> missing;
    WRIT_ASSIGN(UniqueFd blobs, OpenBeneath(state_.get(), "blobs", O_RDONLY | O_DIRECTORY));
    for (const std::string& hash : snapshot.blobs) {
      const std::string from = hash.substr(0, 2) + "/" + hash;
      if (::linkat(blobs.get(), from.c_str(), folder_.get(), hash.c_str(), 0) == 0) continue;
      if (errno != ENOENT) return SysError(errno, "backup.link", "cannot keep a blob in place");
      missing.insert(hash);
    }
    return missing;
  }

  // Whether the live database still names it.
  Result<bool> StillNamed(const std::string& hash) const {
    WRIT_ASSIGN(auto live,
                sqlite::Database::Open(path_ + "/../state.db", sqlite::Database::Mode::kReadOnly));
    WRIT_ASSIGN(auto found, live->Number("SELECT 1 FROM blob_refs WHERE hash = ? LIMIT 1", hash));
    return found.has_value();
  }

  int folder() const { return folder_.get(); }

 private:
  Staging() = default;
  Status Clear() {
    folder_.reset();
    if (::faccessat(state_.get(), kStaging, F_OK, AT_SYMLINK_NOFOLLOW) != 0) return {};
    return RemoveTreeBeneath(state_.get(), kStaging);
  }
  std::string path_;
  UniqueFd state_, lock_, folder_;
};

// The archive while it is written: nameless to others until it is whole and on disk.
class Archive {
 public:
  static Result<Archive> Create(const std::string& path, WallTime now) {
    Archive out;
    const std::size_t slash = path.rfind('/');
    out.name_ = path.substr(slash + 1);
    out.path_ = path;
    out.seconds_ = now.unix_ms / 1000;
    WRIT_ASSIGN(out.folder_, OpenDirectory(slash == 0 ? "/" : path.substr(0, slash)));
    if (::faccessat(out.folder_.get(), out.name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
      return Exists(path);
    out.temporary_ = "." + out.name_ + "." + HexEncode(RandomBytes(8)) + ".partial";
    out.file_ = UniqueFd(::openat(out.folder_.get(), out.temporary_.c_str(),
                                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!out.file_) return SysError(errno, "backup.create", "cannot create " + path);
    return out;
  }
  Archive(Archive&&) = default;
  Archive& operator=(Archive&&) = delete;
  ~Archive() {
    if (file_) (void)::unlinkat(folder_.get(), temporary_.c_str(), 0);
  }

  Status Add(const std::string& name, int from, Manifest& manifest) {
    struct stat info {};
    if (::fstat(from, &info) != 0 || !S_ISREG(info.st_mode))
      return Error{ErrorKind::kIntegrity, "backup.not_a_file", name + " is no plain file", ""};
    const auto bytes = static_cast<std::uint64_t>(info.st_size);
    WRIT_TRY(WriteAll(file_.get(), TarHeader({name, bytes, seconds_})));
    protocol::Sha256Hasher hasher;
    std::string buffer(1 << 20, '\0');
    std::uint64_t done = 0;
    while (done < bytes) {
      const ssize_t n =
          ::pread(from, buffer.data(), std::min<std::uint64_t>(buffer.size(), bytes - done),
                  static_cast<off_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0)
        return n < 0 ? SysError(errno, "backup.read", "cannot read " + name)
                     : Error{ErrorKind::kUnavailable, "backup.changed",
                             name + " became shorter while it was read", "try again"};
      const std::string_view piece(buffer.data(), static_cast<std::size_t>(n));
      hasher.Update(piece);
      WRIT_TRY(WriteAll(file_.get(), piece));
      done += piece.size();
    }
    WRIT_TRY(WriteAll(file_.get(), TarPadding(bytes)));
    manifest.files[name] = {bytes, hasher.Finish().ToHex()};
    return {};
  }

  Result<std::uint64_t> Finish(const Manifest& manifest) {
    const std::string text = manifest.ToText();
    WRIT_TRY(WriteAll(file_.get(), TarHeader({std::string(kManifestName), text.size(), seconds_})));
    WRIT_TRY(WriteAll(file_.get(), text));
    WRIT_TRY(WriteAll(file_.get(), TarPadding(text.size())));
    WRIT_TRY(WriteAll(file_.get(), TarEnd()));
    if (::fsync(file_.get()) != 0)
      return SysError(errno, "backup.sync", "cannot make the backup durable");
    if (::linkat(folder_.get(), temporary_.c_str(), folder_.get(), name_.c_str(), 0) != 0)
      return errno == EEXIST ? Exists(path_)
                             : SysError(errno, "backup.create", "cannot give the backup its name");
    struct stat info {};
    (void)::fstat(file_.get(), &info);
    if (::fsync(folder_.get()) != 0)
      return SysError(errno, "backup.sync", "cannot make the backup's name durable");
    return static_cast<std::uint64_t>(info.st_size);
  }

 private:
  Archive() = default;
  static Error Exists(const std::string& path) {
    return Error{ErrorKind::kConflict, "backup.exists", path + " is there already",
                 "name another file: a backup replaces nothing"};
  }
  std::string name_, path_, temporary_;
  std::int64_t seconds_ = 0;
  UniqueFd folder_, file_;
};

Status AddFolderOfKeys(Archive& archive, int root, Manifest& manifest) {
  WRIT_ASSIGN(UniqueFd keys, OpenBeneath(root, "keys", O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd copy, keys.Duplicate());
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy.release()), ::closedir);
  if (list == nullptr) return SysError(errno, "backup.read", "cannot read keys/");
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string name = std::string("keys/") + entry->d_name;
    if (IsBackupName(name)) names.insert(entry->d_name);
  }
  for (const std::string& name : names) {
    auto file = OpenBeneath(keys.get(), name, O_RDONLY);
    if (!file && file.error().sys_errno == ENOENT) continue;  // a rotation's, gone again
    if (!file) return std::move(file).error();
    WRIT_TRY(archive.Add("keys/" + name, file->get(), manifest));
  }
  return {};
}

std::string FileFor(const std::string& out, WallTime now) {
  struct stat info {};
  if (::stat(out.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return out;
  std::string stamp;
  for (char c : FormatRfc3339(now))
    if (c != ':' && c != '-') stamp += c;
  return out + "/writ-" + stamp + ".tar";
}

}  // namespace

Result<BackupReport> Backup(const std::string& dir, const std::string& out, const Clock& clock) {
  WRIT_ASSIGN(UniqueFd root, OpenDirectory(dir));
  const WallTime now = clock.Now();
  BackupReport report;
  report.file = FileFor(out, now);
  WRIT_ASSIGN(Archive archive, Archive::Create(report.file, now));
  WRIT_ASSIGN(Staging staging, Staging::Open(dir));
  Snapshot snapshot;
  std::set<std::string> missing;
  for (int attempt = 1;; ++attempt) {
    WRIT_ASSIGN(missing, staging.Take(snapshot));
    // A blob that retention took between snapshot and link is not named any more: a later snapshot
    // does not ask for it. One that is named and not there was lost before.
    bool changed = false;
    for (const std::string& hash : missing) {
      WRIT_ASSIGN(bool named, staging.StillNamed(hash));
      changed |= !named;
    }
    if (!changed || attempt == kAttempts) break;
  }
  WRIT_ASSIGN(KeyRing keys, KeyRing::Load(root.get()));
  Manifest manifest;
  manifest.made_at = FormatRfc3339(now);
  manifest.plane_key_id = keys.plane_key_id;
  manifest.schema = snapshot.schema;
  manifest.missing_blobs = {missing.begin(), missing.end()};
  // After the snapshot: every key that anything in it was signed with is here by now.
  WRIT_TRY(AddFolderOfKeys(archive, root.get(), manifest));
  WRIT_ASSIGN(KeyRing afterwards, KeyRing::Load(root.get()));
  if (afterwards.plane_key_id != keys.plane_key_id)
    return Error{ErrorKind::kUnavailable, "backup.changed",
                 "the plane's key was rotated while it was copied", "make the backup again"};
  for (const char* name : {"config.json", "policy.json", "runner.json"}) {
    auto file = OpenBeneath(root.get(), name, O_RDONLY);
    if (!file && file.error().sys_errno == ENOENT) continue;
    if (!file) return std::move(file).error();
    WRIT_TRY(archive.Add(name, file->get(), manifest));
  }
  WRIT_ASSIGN(UniqueFd database,
              OpenBeneath(staging.folder(), std::string(kSnapshotName), O_RDONLY));
  WRIT_TRY(archive.Add(std::string(kSnapshotName), database.get(), manifest));
  for (const std::string& hash : snapshot.blobs) {
    if (missing.contains(hash)) continue;
    WRIT_ASSIGN(UniqueFd blob, OpenBeneath(staging.folder(), hash, O_RDONLY));
    WRIT_TRY(archive.Add("blobs/" + hash, blob.get(), manifest));
    if (manifest.files["blobs/" + hash].sha256 != hash)
      return Error{ErrorKind::kIntegrity, "backup.blob_damaged",
                   "the blob " + hash + " is not what its name says",
                   "read it once with `writ artifacts` or `writ pull`: it is put aside then"};
    ++report.blobs;
  }
  WRIT_ASSIGN(report.bytes, archive.Finish(manifest));
  report.runs = snapshot.runs;
  report.schema = snapshot.schema;
  report.missing_blobs = manifest.missing_blobs;
  return report;
}

}  // namespace writ::plane
