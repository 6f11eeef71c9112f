#include "blob_parts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "folder.h"
#include "writ/base/fault.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/names.h"

namespace writ::plane {
namespace {

Error Refused(std::string code, std::string message) {
  return Error{.kind = ErrorKind::kInvalid, .code = std::move(code), .message = std::move(message)};
}

// How long a part's file is waited for that somebody else holds: a writer, for as long as one
// piece takes to write. Longer than that it stands still, and nobody stands still with it.
constexpr std::chrono::seconds kHeldFor{10};
constexpr std::chrono::milliseconds kNoPatience{0};
constexpr int kLookAgainMs = 10;

// The part's file, held by nobody else. nullopt where the name has gone, or is another file's
// (create: never), or - with no patience - where somebody holds it. kUnavailable "blob.part_busy".
enum class Absent { kCreate, kLeave };
Result<std::optional<UniqueFd>> Hold(int dir, const std::string& name, Absent absent,
                                     std::chrono::milliseconds patience) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  const int create = absent == Absent::kCreate ? O_CREAT : 0;
  for (;;) {
    UniqueFd fd(
        ::openat(dir, name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | create, 0600));
    if (!fd && errno == ENOENT) return std::optional<UniqueFd>{};
    if (!fd) return SysError(errno, "blob.part", "cannot open a part of a blob");
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return SysError(errno, "blob.part", "cannot lock a part of a blob");
      if (patience.count() == 0) return std::optional<UniqueFd>{};
      if (std::chrono::steady_clock::now() >= give_up)
        return Error{.kind = ErrorKind::kUnavailable,
                     .code = "blob.part_busy",
                     .message = "another piece of this blob is being written and stands still"};
      ::poll(nullptr, 0, kLookAgainMs);
    }
    // While we waited it may have become the blob, or gone.
    struct stat held {
    }, named{};
    if (::fstat(fd.get(), &held) != 0)
      return SysError(errno, "blob.part", "cannot look at a part of a blob");
    if (::fstatat(dir, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        held.st_ino == named.st_ino && held.st_dev == named.st_dev)
      return std::optional<UniqueFd>(std::move(fd));
    if (absent == Absent::kLeave) return std::optional<UniqueFd>{};
  }
}

Status WriteAt(int fd, std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "blob.part", "cannot write a part of a blob");
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<std::string> HashOf(int fd) {
  protocol::Sha256Hasher hasher;
  std::string buffer(256 * 1024, '\0');
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "blob.part", "cannot read a part of a blob");
    if (n == 0) return hasher.Finish().ToHex();
    hasher.Update(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    at += n;
  }
}

std::string NameOf(const std::string& run_id, std::string_view hash) {
  return run_id + "-" + std::string(hash);
}

Status CheckNames(const std::string& run_id, std::string_view hash) {
  if (protocol::RunIdRule::Accepts(run_id) && protocol::Digest::Parse(hash)) return {};
  return Refused("blob.piece", "a blob is named by the hex SHA-256 of its bytes");
}

}  // namespace

Result<BlobParts> BlobParts::Open(int root, std::uint64_t max_bytes) {
  WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(root, "parts", 0700));
  return BlobParts(std::move(dir), max_bytes);
}

Result<std::uint64_t> BlobParts::Offset(const std::string& run_id, std::string_view hash) const {
  WRIT_TRY(CheckNames(run_id, hash));
  struct stat st {};
  if (::fstatat(dir_.get(), NameOf(run_id, hash).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  return S_ISREG(st.st_mode) ? static_cast<std::uint64_t>(st.st_size) : 0;
}

Status BlobParts::MakeRoom(const std::string& run_id, const std::string& name, std::uint64_t bytes,
                           WallTime now) const {
  struct Part {
    std::string name;
    std::uint64_t bytes;
    std::int64_t modified_ms;
  };
  std::vector<Part> idle;
  std::uint64_t all = bytes, own = bytes;
  std::size_t own_parts = 0;
  const std::string prefix = run_id + "-";
  constexpr std::size_t kHashDigits = 64;
  WRIT_TRY(ForEachName(dir_.get(), [&](const std::string& other) -> Status {
    struct stat st {};
    if (::fstatat(dir_.get(), other.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return {};
    const auto size = static_cast<std::uint64_t>(st.st_size);
    all += size;
    if (other.size() == prefix.size() + kHashDigits && other.starts_with(prefix)) {
      own += size;
      own_parts += other == name ? 0 : 1;
    } else if (ModifiedMs(st) + std::chrono::milliseconds(kIdle).count() < now.unix_ms) {
      idle.push_back({other, size, ModifiedMs(st)});
    }
    return {};
  }));
  Error full{.kind = ErrorKind::kOverloaded,
             .code = "blob.parts_full",
             .message = "too much is being uploaded in pieces",
             .hint = "retry after 10 s"};
  if (own_parts >= kPartsPerRun || own > max_bytes_) return full;
  std::sort(idle.begin(), idle.end(),
            [](const Part& a, const Part& b) { return a.modified_ms < b.modified_ms; });
  for (const Part& part : idle) {
    if (all <= max_bytes_ * kLargestBlobs) break;
    WRIT_ASSIGN(auto held, Hold(dir_.get(), part.name, Absent::kLeave, kNoPatience));
    if (!held || ::unlinkat(dir_.get(), part.name.c_str(), 0) != 0) continue;
    all -= part.bytes;
  }
  if (all > max_bytes_ * kLargestBlobs) return full;
  return {};
}

Result<PieceAnswer> BlobParts::Append(const std::string& run_id, const BlobPiece& piece,
                                      const BlobStore& blobs, WallTime now) const {
  WRIT_TRY(CheckNames(run_id, piece.hash));
  if (piece.total > max_bytes_) {
    return Refused("blob.too_large",
                   "the blob is over the limit of " + std::to_string(max_bytes_) + " bytes");
  }
  if (piece.offset > piece.total || piece.bytes.size() > piece.total - piece.offset)
    return Refused("blob.piece", "the piece is not within the blob's total");
  const std::string name = NameOf(run_id, piece.hash);
  WRIT_ASSIGN(bool known, blobs.Keep(piece.hash));
  if (known) {
    ::unlinkat(dir_.get(), name.c_str(), 0);
    return PieceAnswer{PieceFate::kStored, piece.total};
  }
  WRIT_TRY(MakeRoom(run_id, name, piece.bytes.size(), now));
  WRIT_ASSIGN(auto held, Hold(dir_.get(), name, Absent::kCreate, kHeldFor));
  if (!held) return SysError(ENOENT, "blob.part", "cannot make a part of a blob");
  const int fd = held->get();
  struct stat st {};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
    return SysError(errno, "blob.part", "cannot look at a part of a blob");
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (piece.offset != size) {
    if (size == 0) ::unlinkat(dir_.get(), name.c_str(), 0);
    return PieceAnswer{PieceFate::kDoesNotFit, size};
  }
  WRIT_TRY(WriteAt(fd, size, piece.bytes));
  if (::fsync(fd) != 0) return SysError(errno, "blob.part", "cannot flush a part of a blob");
  if (size == 0 && ::fsync(dir_.get()) != 0)
    return SysError(errno, "blob.part", "cannot flush the folder of parts");
  held->reset();
  WRIT_FAULT_TRY("plane.piece.written");
  const std::uint64_t now_there = size + piece.bytes.size();
  if (now_there < piece.total) return PieceAnswer{PieceFate::kTaken, now_there};
  return Complete(name, piece, blobs);
}

// A whole part that nobody has looked at - a plane was killed here - is ended by an empty piece at
// its end. Under the lock on the file: nobody writes to it between the look at its bytes and its
// move, and nobody after that (Hold).
Result<PieceAnswer> BlobParts::Complete(const std::string& name, const BlobPiece& piece,
                                        const BlobStore& blobs) const {
  WRIT_ASSIGN(auto held, Hold(dir_.get(), name, Absent::kLeave, kHeldFor));
  if (!held) {
    // The same piece, sent twice, was faster.
    WRIT_ASSIGN(bool known, blobs.Keep(piece.hash));
    return PieceAnswer{known ? PieceFate::kStored : PieceFate::kDoesNotFit,
                       known ? piece.total : 0};
  }
  struct stat st {};
  if (::fstat(held->get(), &st) != 0)
    return SysError(errno, "blob.part", "cannot look at a part of a blob");
  if (static_cast<std::uint64_t>(st.st_size) != piece.total)
    return PieceAnswer{PieceFate::kDoesNotFit, static_cast<std::uint64_t>(st.st_size)};
  WRIT_ASSIGN(std::string hash, HashOf(held->get()));
  if (hash != piece.hash) {
    ::unlinkat(dir_.get(), name.c_str(), 0);
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "blob.hash_mismatch",
                 .message = "the bytes have the hash " + hash + ", not the one that was announced"};
  }
  WRIT_TRY(blobs.Adopt(dir_.get(), name, hash));
  WRIT_FAULT_TRY("plane.piece.stored");
  return PieceAnswer{PieceFate::kStored, piece.total};
}

std::size_t BlobParts::SweepOlder(WallTime before) const {
  std::size_t removed = 0;
  (void)ForEachName(dir_.get(), [&](const std::string& name) -> Status {
    struct stat st {};
    if (::fstatat(dir_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        ModifiedMs(st) >= before.unix_ms)
      return {};
    auto held = Hold(dir_.get(), name, Absent::kLeave, kNoPatience);
    if (held && *held && ::unlinkat(dir_.get(), name.c_str(), 0) == 0) ++removed;
    return {};
  });
  return removed;
}

}  // namespace writ::plane
