#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "backup/contents.h"
#include "backup/tar.h"
#include "folder.h"
#include "key_ring.h"
#include "store/store.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/backup.h"
#include "writ/plane/config.h"
#include "writ/plane/init.h"
#include "writ/protocol/digest.h"

namespace writ::plane {
namespace {

Error Damaged(const std::string& what, const std::string& hint = "take another backup") {
  return Error{ErrorKind::kIntegrity, "backup.damaged", "the backup is not whole: " + what, hint};
}

// Reads exactly `bytes`; nullopt at the end of the file.
Result<std::string> ReadBlock(int fd, std::size_t bytes) {
  std::string out(bytes, '\0');
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::read(fd, out.data() + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "backup.read", "cannot read the backup");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return out;
}

// The folder in which a restored plane grows, beside its later name; removed unless it gets it.
class Growing {
 public:
  static Result<Growing> Begin(const std::string& dir) {
    Growing out;
    const std::size_t slash = dir.rfind('/');
    out.name_ = dir.substr(slash + 1);
    WRIT_ASSIGN(out.parent_, MakeDirectories(slash == 0 ? "/" : dir.substr(0, slash), 0755));
    out.temporary_ = "." + out.name_ + "." + HexEncode(RandomBytes(8)) + ".restoring";
    WRIT_ASSIGN(out.root_,
                MakeDirectoriesBeneath(out.parent_.get(), out.temporary_, StateFolderMode()));
    out.path_ = (slash == 0 ? "" : dir.substr(0, slash)) + "/" + out.temporary_;
    return out;
  }
  Growing(Growing&&) = default;
  Growing& operator=(Growing&&) = delete;
  ~Growing() {
    if (root_) (void)RemoveTreeBeneath(parent_.get(), temporary_);
  }
  int root() const { return root_.get(); }
  const std::string& path() const { return path_; }

  Status Name() {
    if (::syncfs(root_.get()) != 0)
      return SysError(errno, "restore.sync", "cannot make the restored plane durable");
    // An empty folder makes room; a full one does not go.
    if (::unlinkat(parent_.get(), name_.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
      return errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
                 ? NotEmpty(name_)
                 : SysError(errno, "restore.name", "cannot replace the empty folder " + name_);
    if (::renameat2(parent_.get(), temporary_.c_str(), parent_.get(), name_.c_str(),
                    RENAME_NOREPLACE) != 0)
      return errno == EEXIST ? NotEmpty(name_)
                             : SysError(errno, "restore.name", "cannot name the restored plane");
    root_.reset();
    if (::fsync(parent_.get()) != 0)
      return SysError(errno, "restore.sync", "cannot make the restored plane's name durable");
    return {};
  }
  static Error NotEmpty(const std::string& name) {
    return Error{ErrorKind::kConflict, "restore.not_empty", name + " is there and not empty",
                 "name a directory that is absent or empty: a restore replaces nothing"};
  }

 private:
  Growing() = default;
  std::string name_, temporary_, path_;
  UniqueFd parent_, root_;
};

// One file of the archive into its place, hashed on the way.
Result<BackedUpFile> Extract(int archive, const TarEntry& entry, int root) {
  const std::string place = PlaceOf(entry.name);
  const std::size_t slash = place.rfind('/');
  UniqueFd folder;
  if (slash == std::string::npos) {
    WRIT_ASSIGN(folder, OpenBeneath(root, ".", O_RDONLY | O_DIRECTORY));
  } else {
    WRIT_ASSIGN(folder, MakeDirectoriesBeneath(root, place.substr(0, slash), 0700));
  }
  const std::string name = slash == std::string::npos ? place : place.substr(slash + 1);
  WRIT_ASSIGN(UniqueFd file, OpenBeneath(folder.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0600));
  protocol::Sha256Hasher hasher;
  for (std::uint64_t left = entry.bytes; left > 0;) {
    WRIT_ASSIGN(std::string piece, ReadBlock(archive, std::min<std::uint64_t>(left, 1 << 20)));
    if (piece.empty()) return Damaged("it ends within " + entry.name);
    hasher.Update(piece);
    WRIT_TRY(WriteAll(file.get(), piece));
    left -= piece.size();
  }
  return BackedUpFile{entry.bytes, hasher.Finish().ToHex()};
}

Status SkipPadding(int archive, std::uint64_t bytes) {
  const std::string_view padding = TarPadding(bytes);
  WRIT_ASSIGN(std::string read, ReadBlock(archive, padding.size()));
  if (read != padding) return Damaged("bytes stand between two files");
  return {};
}

// Everything that the manifest names is there, is what it was, and nothing else is.
Status Compare(const Manifest& manifest, const std::map<std::string, BackedUpFile>& found) {
  for (const auto& [name, file] : manifest.files) {
    const auto at = found.find(name);
    if (at == found.end()) return Damaged(name + " is missing");
    if (at->second.bytes != file.bytes || at->second.sha256 != file.sha256)
      return Damaged(name + " is not what it was");
    if (name.starts_with("blobs/") && name.substr(6) != file.sha256)
      return Damaged(name + " is not what its name says");
  }
  for (const auto& [name, file] : found)
    if (!manifest.files.contains(name))
      return Damaged("it holds " + name + ", which nobody put in");
  for (const char* name : {"state.db", "config.json", "policy.json", "keys/plane.pem"})
    if (!found.contains(name)) return Damaged(std::string(name) + " is missing");
  return {};
}

Status CheckDatabase(const std::string& path, const Manifest& manifest, RestoreReport& report) {
  WRIT_ASSIGN(auto db, sqlite::Database::Open(path, sqlite::Database::Mode::kReadOnly));
  WRIT_ASSIGN(auto version, db->Number("PRAGMA user_version"));
  report.schema = static_cast<int>(version.value_or(0));
  if (report.schema > store::SchemaVersion())
    return Error{ErrorKind::kUnsupported, "store.newer",
                 "the backup has schema version " + std::to_string(report.schema) +
                     ", this build knows up to " + std::to_string(store::SchemaVersion()),
                 "use the newer writ that wrote it"};
  WRIT_ASSIGN(auto sound, db->Value("PRAGMA integrity_check"));
  if (sound != "ok") return Damaged("its database is not sound: " + sound.value_or(""));
  WRIT_ASSIGN(auto runs, db->Number("SELECT count(*) FROM runs"));
  report.runs = static_cast<std::uint64_t>(runs.value_or(0));
  WRIT_ASSIGN(auto refs, db->Ask("SELECT DISTINCT hash FROM blob_refs"));
  for (;;) {
    WRIT_ASSIGN(bool row, refs.Next());
    if (!row) return {};
    const std::string hash = refs.Text(0);
    if (manifest.files.contains("blobs/" + hash)) continue;
    if (std::find(manifest.missing_blobs.begin(), manifest.missing_blobs.end(), hash) ==
        manifest.missing_blobs.end())
      return Damaged("the blob " + hash + " is missing");
  }
}

Status CheckAbsentOrEmpty(const std::string& dir) {
  std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(dir.c_str()), ::closedir);
  if (list == nullptr && errno == ENOENT) return {};
  if (list == nullptr && errno == ENOTDIR) return Growing::NotEmpty(dir);
  if (list == nullptr) return SysError(errno, "restore.dir", "cannot use " + dir);
  while (const dirent* entry = ::readdir(list.get()))
    if (std::string_view(entry->d_name) != "." && std::string_view(entry->d_name) != "..")
      return Growing::NotEmpty(dir);
  return {};
}

}  // namespace

Result<RestoreReport> Restore(const std::string& file, const std::string& dir) {
  UniqueFd archive(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!archive) return SysError(errno, "file.open_failed", "cannot open " + file);
  WRIT_TRY(CheckAbsentOrEmpty(dir));
  WRIT_ASSIGN(Growing growing, Growing::Begin(dir));
  std::map<std::string, BackedUpFile> found;
  std::string manifest_text;
  for (bool first = true;; first = false) {
    WRIT_ASSIGN(std::string block, ReadBlock(archive.get(), 512));
    if (!first && block.size() < 512) return Damaged("it ends too early");
    WRIT_ASSIGN(std::optional<TarEntry> entry, ParseTarHeader(block));
    if (!entry) break;
    if (!manifest_text.empty()) return Damaged("something stands behind its manifest");
    if (entry->name == kManifestName) {
      if (entry->bytes > kMaxManifestBytes) return Damaged("its manifest is too large");
      WRIT_ASSIGN(manifest_text, ReadBlock(archive.get(), entry->bytes));
      if (manifest_text.size() < entry->bytes) return Damaged("it ends within its manifest");
    } else if (!IsBackupName(entry->name) || found.contains(entry->name)) {
      return Error{ErrorKind::kInvalid, "backup.format",
                   "the file is no backup of a plane: it holds a file that none has",
                   "name a file that `writ backup` made"};
    } else {
      WRIT_ASSIGN(found[entry->name], Extract(archive.get(), *entry, growing.root()));
    }
    WRIT_TRY(SkipPadding(archive.get(), entry->bytes));
  }
  if (manifest_text.empty()) return Damaged("its manifest is missing");
  WRIT_ASSIGN(Manifest manifest, Manifest::Parse(manifest_text));
  WRIT_TRY(Compare(manifest, found));
  RestoreReport report;
  WRIT_TRY(CheckDatabase(growing.path() + "/plane/state.db", manifest, report));
  WRIT_ASSIGN(KeyRing keys, KeyRing::Load(growing.root()));
  WRIT_ASSIGN(std::string config, ReadFile(growing.path() + "/config.json", kMaxSmallFileBytes));
  if (auto parsed = ParseConfig(config); !parsed) return std::move(parsed).error();
  for (const char* name : {"plane/blobs", "plane/logs", "plane/tmp"}) {
    WRIT_ASSIGN(UniqueFd made, MakeDirectoriesBeneath(growing.root(), name, 0700));
  }
  WRIT_TRY(growing.Name());
  report.made_at = manifest.made_at;
  report.plane_key_id = keys.plane_key_id;
  report.missing_blobs = manifest.missing_blobs;
  for (const auto& [name, each] : found)
    if (name.starts_with("blobs/")) ++report.blobs;
  return report;
}

}  // namespace writ::plane
