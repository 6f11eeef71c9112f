#include "snapshot_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr char kRemove[] =
    "`writ snapshot rm` removes it, `writ snapshot build` makes another; look at the disk";

bool IsZero(const char* bytes, std::size_t size) {
  return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0;
}

Result<UniqueFd> OpenSource(int from, const std::string& name) {
  WRIT_ASSIGN(UniqueFd in, OpenBeneath(from, name, O_RDONLY | O_NONBLOCK));
  struct stat st {};
  if (::fstat(in.get(), &st) != 0 || !S_ISREG(st.st_mode))
    return Error{ErrorKind::kInternal, "snapshot.source",
                 "the monitor's file " + name + " is no file"};
  return in;
}

Result<UniqueFd> MakePart(int to, const std::string& name) {
  UniqueFd out(
      ::openat(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out) return SysError(errno, "snapshot.store", "cannot make the snapshot's " + name);
  return out;
}

Status Sync(int fd, const std::string& name) {
  if (::fsync(fd) != 0)
    return SysError(errno, "snapshot.store", "cannot sync the snapshot's " + name);
  return {};
}

Status WriteAt(int fd, std::string_view bytes, std::uint64_t at, const char* what) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return SysError(n < 0 ? errno : ENOSPC, "snapshot.store", what);
    bytes.remove_prefix(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return {};
}

// A short read of a file that is as long as the memory is one that was cut meanwhile.
Status ReadAt(int fd, std::span<char> out, std::uint64_t at) {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return SysError(n < 0 ? errno : EIO, "snapshot.store", "cannot read the machine's memory");
    out = out.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return {};
}

// Pages of zeros are left as the holes that they are in a new file.
Status WritePages(int fd, std::string_view leaf, std::uint64_t at, const char* what) {
  for (std::size_t page = 0; page < leaf.size();) {
    std::size_t end = page;
    while (end < leaf.size() && !IsZero(leaf.data() + end, pages::kPageBytes))
      end += pages::kPageBytes;
    if (end > page) WRIT_TRY(WriteAt(fd, leaf.substr(page, end - page), at + page, what));
    page = end + (end < leaf.size() ? pages::kPageBytes : 0);
  }
  return {};
}

// The first byte at or after `at` that is data; `bytes` where only holes follow.
std::uint64_t NextData(int fd, std::uint64_t at, std::uint64_t bytes) {
  const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
  if (data >= 0) return std::min(bytes, static_cast<std::uint64_t>(data));
  return errno == ENXIO ? bytes : at;  // a file system that cannot tell: all of it is data
}

}  // namespace

Error PartError(const char* code, std::string message) {
  return {ErrorKind::kIntegrity, code, std::move(message), kRemove};
}

Result<SnapshotPart> StorePart(int from, const std::string& name, int to, std::uint64_t most) {
  WRIT_ASSIGN(UniqueFd in, OpenSource(from, name));
  WRIT_ASSIGN(UniqueFd out, MakePart(to, name));
  SnapshotPart part;
  part.name = name;
  protocol::Sha256Hasher hasher;
  std::vector<char> buffer(256 * 1024);
  for (;;) {
    const ssize_t n = ::read(in.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "snapshot.store", "cannot read the monitor's " + name);
    if (n == 0) break;
    part.bytes += static_cast<std::uint64_t>(n);
    if (part.bytes > most)
      return Error{ErrorKind::kInternal, "snapshot.source",
                   "the monitor's " + name + " is longer than it can be"};
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
    hasher.Update(bytes);
    WRIT_TRY(WriteAll(out.get(), bytes));
  }
  part.digest = hasher.Finish();
  WRIT_TRY(Sync(out.get(), name));
  return part;
}

Result<pages::LeafTable> StoreMemory(int from, const std::string& name, int to,
                                     std::uint64_t bytes) {
  WRIT_ASSIGN(UniqueFd in, OpenSource(from, name));
  struct stat st {};
  if (::fstat(in.get(), &st) != 0 || static_cast<std::uint64_t>(st.st_size) != bytes)
    return Error{ErrorKind::kInternal, "snapshot.source",
                 "the machine's memory is not of the machine's size"};
  WRIT_ASSIGN(UniqueFd out, MakePart(to, kSnapshotMemory));
  if (::ftruncate(out.get(), st.st_size) != 0)
    return SysError(errno, "snapshot.store", "cannot make the snapshot's memory");
  pages::LeafTable table;
  table.memory_bytes = bytes;
  std::string leaf(pages::kLeafBytes, '\0');
  std::uint64_t data = NextData(in.get(), 0, bytes);
  for (std::uint64_t at = 0; at < bytes; at += pages::kLeafBytes) {
    const std::uint64_t size = std::min(pages::kLeafBytes, bytes - at);
    if (data < at) data = NextData(in.get(), at, bytes);
    if (data >= at + size) {
      table.leaves.push_back(pages::ZeroLeafDigest(size));
      continue;
    }
    WRIT_TRY(ReadAt(in.get(), std::span(leaf).first(size), at));
    const std::string_view read = std::string_view(leaf).substr(0, size);
    table.leaves.push_back(pages::LeafDigest(read));
    WRIT_TRY(WritePages(out.get(), read, at, "cannot write the snapshot's memory"));
  }
  WRIT_TRY(Sync(out.get(), kSnapshotMemory));
  WRIT_TRY(WriteFileAtomic(to, pages::kLeafTableName, pages::EncodeLeafTable(table), 0600));
  return table;
}

Result<UniqueFd> OpenPart(int folder, const std::string& name, std::uint64_t bytes) {
  auto file = OpenBeneath(folder, name, O_RDONLY | O_NONBLOCK);
  if (!file && file.error().sys_errno == ENOENT)
    return PartError("snapshot.part_missing", "the snapshot's " + name + " is missing");
  if (!file && file.error().sys_errno == ELOOP)
    return PartError("snapshot.part_foreign", "the snapshot's " + name + " is a link");
  if (!file) return std::move(file).error();
  struct stat st {};
  if (::fstat(file->get(), &st) != 0)
    return SysError(errno, "snapshot.store", "cannot look at the snapshot's " + name);
  if (!S_ISREG(st.st_mode))
    return PartError("snapshot.part_foreign", "the snapshot's " + name + " is no file");
  if ((st.st_uid != 0 && st.st_uid != ::geteuid()) || (st.st_mode & 077) != 0 || st.st_nlink != 1)
    return PartError("snapshot.part_open", "others than its owner can open the snapshot's " + name);
  if (static_cast<std::uint64_t>(st.st_size) != bytes)
    return PartError("snapshot.part_damaged",
                     "the snapshot's " + name + " is not as long as its manifest says");
  return file;
}

Result<std::string> ReadPart(int folder, const SnapshotPart& part) {
  WRIT_ASSIGN(UniqueFd file, OpenPart(folder, part.name, part.bytes));
  WRIT_ASSIGN(std::string bytes, ReadAll(file.get(), part.bytes));
  if (protocol::Sha256(bytes) != part.digest)
    return PartError("snapshot.part_damaged",
                     "the snapshot's " + part.name + " is not what its manifest says");
  return bytes;
}

Result<UniqueFd> OpenLeaves(int folder, const SnapshotManifest& manifest) {
  constexpr std::uint64_t kHead = 16;  // memory_digest.h
  const std::uint64_t leaves =
      (manifest.fit.memory_bytes + pages::kLeafBytes - 1) / pages::kLeafBytes;
  return OpenPart(folder, pages::kLeafTableName,
                  kHead + leaves * manifest.memory_root.bytes().size());
}

Result<pages::LeafTable> ReadLeaves(int folder, const SnapshotManifest& manifest) {
  WRIT_ASSIGN(UniqueFd file, OpenLeaves(folder, manifest));
  WRIT_ASSIGN(std::string bytes, ReadAll(file.get(), pages::kMaxLeafTableBytes));
  auto table = pages::DecodeLeafTable(bytes, manifest.memory_root);
  if (!table || table->memory_bytes != manifest.fit.memory_bytes)
    return PartError("snapshot.part_damaged",
                     "the snapshot's leaf table does not give the root of its manifest");
  return table;
}

Status CompareMemory(int folder, const SnapshotManifest& manifest, pages::LeafTable table, int to) {
  const std::uint64_t bytes = manifest.fit.memory_bytes;
  WRIT_ASSIGN(UniqueFd file, OpenPart(folder, kSnapshotMemory, bytes));
  std::vector<pages::LayerFile> layers;
  layers.push_back({std::move(file), UniqueFd()});
  WRIT_ASSIGN(const pages::LayeredMemory memory,
              pages::LayeredMemory::Open(std::move(layers), bytes));
  if (to >= 0 && ::ftruncate(to, static_cast<off_t>(bytes)) != 0)
    return SysError(errno, "snapshot.copy", "cannot make the machine's memory");
  std::string leaf(pages::kLeafBytes, '\0');
  for (std::uint64_t i = 0; i < memory.leaves(); ++i) {
    const std::uint64_t size = memory.LeafSize(i);
    const bool hole = memory.IsHole(i);
    if (!hole) WRIT_TRY(memory.ReadLeaf(i, std::span(leaf).first(size)));
    const std::string_view read = std::string_view(leaf).substr(0, size);
    if ((hole ? pages::ZeroLeafDigest(size) : pages::LeafDigest(read)) != table.leaves[i])
      return PartError("snapshot.part_damaged",
                       "the snapshot's memory is not what its manifest says, from byte " +
                           std::to_string(i * pages::kLeafBytes) + " on");
    if (to >= 0 && !hole)
      WRIT_TRY(WritePages(to, read, i * pages::kLeafBytes, "cannot write the machine's memory"));
  }
  return {};
}

}  // namespace writ::backends::microvm
