#include "blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"

namespace writ::plane {
namespace {

bool IsHash(std::string_view text) {
  return protocol::Digest::Parse(text).has_value();
}

std::string NameOf(std::string_view hash) {
  return std::string(hash.substr(0, 2)) + "/" + std::string(hash);
}

std::int64_t ModifiedMs(const struct stat& st) {
  return static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1000 + st.st_mtim.tv_nsec / 1'000'000;
}

// Calls `visit` with each name in a directory but "." and "..".
Status ForEachName(int dir, const std::function<Status(const std::string&)>& visit) {
  int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return SysError(errno, "blob.folder", "cannot read the blob folder");
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy), ::closedir);
  if (list == nullptr) {
    ::close(copy);
    return SysError(errno, "blob.folder", "cannot read the blob folder");
  }
  while (dirent* entry = ::readdir(list.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") WRIT_TRY(visit(name));
  }
  return {};
}

}  // namespace

class BlobUpload final : public Plane::BlobWriter {
 public:
  BlobUpload(int blobs, int tmp, std::uint64_t limit, UniqueFd file, std::string name)
      : blobs_(blobs), tmp_(tmp), limit_(limit), file_(std::move(file)), name_(std::move(name)) {}
  ~BlobUpload() override {
    if (!name_.empty()) ::unlinkat(tmp_, name_.c_str(), 0);
  }

  Status Append(std::string_view bytes) override {
    size_ += bytes.size();
    if (size_ > limit_) {
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "blob.too_large",
                   .message = "the blob is over the limit of " + std::to_string(limit_) + " bytes"};
    }
    hasher_.Update(bytes);
    return WriteAll(file_.get(), bytes);
  }

  Result<std::string> Finish(std::string_view expected) override {
    const std::string hash = hasher_.Finish().ToHex();
    if (!expected.empty() && expected != hash) {
      return Error{
          .kind = ErrorKind::kIntegrity,
          .code = "blob.hash_mismatch",
          .message = "the bytes have the hash " + hash + ", not the one that was announced"};
    }
    if (::fsync(file_.get()) != 0) return SysError(errno, "blob.write", "cannot flush a blob");
    WRIT_ASSIGN(UniqueFd folder, MakeDirectoriesBeneath(blobs_, hash.substr(0, 2), 0700));
    // Over a blob that is there already: the same bytes, with a fresh time.
    if (::renameat(tmp_, name_.c_str(), folder.get(), hash.c_str()) != 0) {
      return SysError(errno, "blob.write", "cannot put a blob in its place");
    }
    name_.clear();
    if (::fsync(folder.get()) != 0) return SysError(errno, "blob.write", "cannot flush a folder");
    WRIT_FAULT_TRY("plane.blob.stored");
    return hash;
  }

 private:
  int blobs_;
  int tmp_;
  std::uint64_t limit_;
  UniqueFd file_;
  std::string name_;  // empty once it is in its place
  std::uint64_t size_ = 0;
  protocol::Sha256Hasher hasher_;
};

Result<BlobStore> BlobStore::Open(int root, std::uint64_t max_bytes) {
  WRIT_ASSIGN(UniqueFd blobs, MakeDirectoriesBeneath(root, "blobs", 0700));
  WRIT_ASSIGN(UniqueFd tmp, MakeDirectoriesBeneath(root, "tmp", 0700));
  // The 256 folders exist from the start, so that no upload has to make its parent durable.
  constexpr char kHex[] = "0123456789abcdef";
  if (::faccessat(blobs.get(), "ff", F_OK, 0) != 0) {
    for (char a : std::string_view(kHex, 16)) {
      for (char b : std::string_view(kHex, 16)) {
        char name[3] = {a, b, '\0'};
        if (::mkdirat(blobs.get(), name, 0700) != 0 && errno != EEXIST) {
          return SysError(errno, "blob.folder", "cannot make the blob folders");
        }
      }
    }
    if (::fsync(blobs.get()) != 0) return SysError(errno, "blob.folder", "cannot flush a folder");
  }
  return BlobStore(std::move(blobs), std::move(tmp), max_bytes);
}

Result<std::unique_ptr<Plane::BlobWriter>> BlobStore::NewBlob() const {
  std::string name = "upload-" + HexEncode(RandomBytes(12));
  UniqueFd file(::openat(tmp_.get(), name.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return SysError(errno, "blob.write", "cannot make a temporary file for a blob");
  return std::unique_ptr<Plane::BlobWriter>(std::make_unique<BlobUpload>(
      blobs_.get(), tmp_.get(), max_bytes_, std::move(file), std::move(name)));
}

Result<Plane::Blob> BlobStore::OpenBlob(std::string_view hash) const {
  Error absent{.kind = ErrorKind::kNotFound, .code = "blob.not_found", .message = "blob not found"};
  if (!IsHash(hash)) return absent;
  auto fd = OpenBeneath(blobs_.get(), NameOf(hash), O_RDONLY);
  if (!fd && fd.error().sys_errno == ENOENT) return absent;
  if (!fd) return std::move(fd).error().With("opening a blob");
  struct stat st {};
  if (::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return absent;
  return Plane::Blob{std::move(*fd), static_cast<std::uint64_t>(st.st_size)};
}

bool BlobStore::Contains(std::string_view hash) const {
  return IsHash(hash) &&
         ::faccessat(blobs_.get(), NameOf(hash).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void BlobStore::Touch(std::string_view hash) const {
  if (!IsHash(hash)) return;
  ::utimensat(blobs_.get(), NameOf(hash).c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

void BlobStore::Quarantine(std::string_view hash) const {
  if (!IsHash(hash)) return;
  std::string name = "damaged-" + std::string(hash);
  if (::renameat(blobs_.get(), NameOf(hash).c_str(), tmp_.get(), name.c_str()) == 0) {
    log::Error("plane.blob_damaged", "a blob's bytes are not what its name says; it was set aside",
               {{"hash", hash}, {"file", "plane/tmp/" + name}});
  }
}

Result<bool> BlobStore::RemoveIfOlder(std::string_view hash, WallTime before) const {
  struct stat st {};
  std::string name = NameOf(hash);
  if (!IsHash(hash) || ::fstatat(blobs_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return false;
  if (ModifiedMs(st) >= before.unix_ms) return false;
  if (::unlinkat(blobs_.get(), name.c_str(), 0) != 0) {
    return SysError(errno, "blob.remove", "cannot remove a blob");
  }
  return true;
}

Status BlobStore::ForEachOlder(WallTime before,
                               const std::function<Status(const std::string&)>& visit) const {
  return ForEachName(blobs_.get(), [&](const std::string& folder) -> Status {
    if (folder.size() != 2) return {};
    WRIT_ASSIGN(UniqueFd dir, OpenBeneath(blobs_.get(), folder, O_RDONLY | O_DIRECTORY));
    return ForEachName(dir.get(), [&](const std::string& name) -> Status {
      struct stat st {};
      if (!IsHash(name) || ::fstatat(dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        return {};
      return ModifiedMs(st) < before.unix_ms ? visit(name) : Status{};
    });
  });
}

void BlobStore::SweepTemporary(WallTime now) const {
  (void)ForEachName(tmp_.get(), [&](const std::string& name) -> Status {
    struct stat st {};
    if (name.starts_with("upload-") &&
        ::fstatat(tmp_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        ModifiedMs(st) + 86'400'000 < now.unix_ms) {
      ::unlinkat(tmp_.get(), name.c_str(), 0);
    }
    return {};
  });
}

}  // namespace writ::plane
