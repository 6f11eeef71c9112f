#include "blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "folder.h"
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

// A description of its own for each holder: flock is between descriptions, so it holds between
// threads as well as between processes.
Result<UniqueFd> Lock(int blobs, int how) {
  UniqueFd fd(::openat(blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return SysError(errno, "blob.lock", "cannot open the blob folder");
  while (::flock(fd.get(), how) != 0) {
    if (errno != EINTR) return SysError(errno, "blob.lock", "cannot lock the blob folder");
  }
  return fd;
}

// Over a blob that is there already: the same bytes, with a fresh time.
Status PutInPlace(int blobs, int dir, const std::string& name, const std::string& hash) {
  WRIT_ASSIGN(UniqueFd folder, MakeDirectoriesBeneath(blobs, hash.substr(0, 2), 0700));
  {
    WRIT_ASSIGN(UniqueFd lock, Lock(blobs, LOCK_SH));
    ::utimensat(dir, name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
    if (::renameat(dir, name.c_str(), folder.get(), hash.c_str()) != 0)
      return SysError(errno, "blob.write", "cannot put a blob in its place");
  }
  if (::fsync(folder.get()) != 0) return SysError(errno, "blob.write", "cannot flush a folder");
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
    WRIT_TRY(PutInPlace(blobs_, tmp_, name_, hash));
    name_.clear();
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

// Locked as long as it is written: what is not has been left by a process that died.
Result<std::unique_ptr<Plane::BlobWriter>> BlobStore::NewBlob() const {
  constexpr int kTries = 16;  // whoever sweeps may meet it before it is locked
  for (int i = 0; i < kTries; ++i) {
    std::string name = "upload-" + HexEncode(RandomBytes(12));
    UniqueFd file(::openat(tmp_.get(), name.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat st {};
    if (!file) break;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(file.get(), &st) != 0 ||
        st.st_nlink == 0)
      continue;
    return std::unique_ptr<Plane::BlobWriter>(std::make_unique<BlobUpload>(
        blobs_.get(), tmp_.get(), max_bytes_, std::move(file), std::move(name)));
  }
  return SysError(errno, "blob.write", "cannot make a temporary file for a blob");
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

Result<bool> BlobStore::Keep(std::string_view hash) const {
  if (!IsHash(hash)) return false;
  WRIT_ASSIGN(UniqueFd lock, Lock(blobs_.get(), LOCK_SH));
  if (::utimensat(blobs_.get(), NameOf(hash).c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0)
    return true;
  if (errno == ENOENT) return false;
  return SysError(errno, "blob.keep", "cannot mark a blob as used");
}

Status BlobStore::Adopt(int dir, const std::string& name, std::string_view hash) const {
  return PutInPlace(blobs_.get(), dir, name, std::string(hash));
}

void BlobStore::Quarantine(std::string_view hash) const {
  if (!IsHash(hash)) return;
  std::string name = "damaged-" + std::string(hash);
  if (::renameat(blobs_.get(), NameOf(hash).c_str(), tmp_.get(), name.c_str()) == 0) {
    log::Error("plane.blob_damaged", "a blob's bytes are not what its name says; it was set aside",
               {{"hash", hash}, {"file", "plane/tmp/" + name}});
  }
}

Result<BlobStore::Collecting> BlobStore::Collect() const {
  WRIT_ASSIGN(UniqueFd lock, Lock(blobs_.get(), LOCK_EX));
  return Collecting(blobs_.get(), std::move(lock));
}

bool BlobStore::Collecting::IsOlder(std::string_view hash, WallTime before) const {
  struct stat st {};
  return IsHash(hash) && ::fstatat(blobs_, NameOf(hash).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         ModifiedMs(st) < before.unix_ms;
}

Status BlobStore::Collecting::Remove(std::string_view hash) {
  if (!IsHash(hash)) return {};
  if (::unlinkat(blobs_, NameOf(hash).c_str(), 0) != 0 && errno != ENOENT) {
    return SysError(errno, "blob.remove", "cannot remove a blob");
  }
  std::string folder(hash.substr(0, 2));
  if (std::find(folders_.begin(), folders_.end(), folder) == folders_.end())
    folders_.push_back(std::move(folder));
  return {};
}

Status BlobStore::Collecting::Flush() {
  for (const std::string& name : folders_) {
    WRIT_ASSIGN(UniqueFd folder, OpenBeneath(blobs_, name, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) != 0) return SysError(errno, "blob.remove", "cannot flush a folder");
  }
  folders_.clear();
  return {};
}

Result<BlobStore::Blobs> BlobStore::Survey(
    WallTime before, const std::function<void(const std::string&, std::uint64_t)>& visit) const {
  Blobs out;
  WRIT_TRY(ForEachName(blobs_.get(), [&](const std::string& folder) -> Status {
    if (folder.size() != 2) return {};
    WRIT_ASSIGN(UniqueFd dir, OpenBeneath(blobs_.get(), folder, O_RDONLY | O_DIRECTORY));
    return ForEachName(dir.get(), [&](const std::string& name) -> Status {
      struct stat st {};
      if (!IsHash(name) || ::fstatat(dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        return {};
      const auto bytes = static_cast<std::uint64_t>(st.st_size);
      ++out.count;
      out.bytes += bytes;
      if (ModifiedMs(st) < before.unix_ms) visit(name, bytes);
      return {};
    });
  }));
  return out;
}

void BlobStore::SweepTemporary() const {
  (void)ForEachName(tmp_.get(), [&](const std::string& name) -> Status {
    if (!name.starts_with("upload-")) return {};
    auto file = OpenBeneath(tmp_.get(), name, O_RDONLY | O_NONBLOCK);
    if (file && ::flock(file->get(), LOCK_EX | LOCK_NB) == 0)
      ::unlinkat(tmp_.get(), name.c_str(), 0);
    return {};
  });
}

}  // namespace writ::plane
