#include "layer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "entry_name.h"

namespace writ::backends::image {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kReserved = ".wh..wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";

Status ApplyWhiteout(const SplitName& name, RootWriter& root) {
  if (name.last == kOpaque) return root.OpaqueDirectory(name.parent);
  if (name.last.starts_with(kReserved)) return {};  // of aufs itself
  const std::string hidden = name.last.substr(kWhiteout.size());
  if (hidden.empty() || hidden == "." || hidden == "..")
    return Error{ErrorKind::kInvalid, "image.hostile_name",
                 "the image has a whiteout that names no file: " + Shown(name.last),
                 "do not use this image"};
  return root.Whiteout(name.parent.empty() ? hidden : name.parent + "/" + hidden);
}

}  // namespace

Pull Guarded(Decompressed& in, const ImportLimits& limits, std::uint64_t& produced) {
  return [&in, &limits, &produced]() -> Result<std::string_view> {
    auto bytes = in.Next();
    if (!bytes) return bytes;
    produced += bytes->size();
    const bool swollen = produced > limits.ratio_free_bytes &&
                         produced / limits.ratio > std::max<std::uint64_t>(1, in.consumed());
    if (swollen || produced > limits.bytes)
      return Error{ErrorKind::kInvalid, "image.too_large",
                   swollen ? "a layer grows more than " + std::to_string(limits.ratio) +
                                 " times when it is decompressed"
                           : "a layer has more than " + std::to_string(limits.bytes) + " bytes",
                   "do not use this image, or give --max-bytes where it is to be trusted"};
    return bytes;
  };
}

Status ApplyEntry(const TarEntry& entry, const WriteContent& content, const ImportLimits& limits,
                  RootWriter& root) {
  WRIT_ASSIGN(const std::string name, CleanEntryName(entry.name, limits));
  if (name.empty()) return {};  // the root itself
  const SplitName split = Split(name);
  if (split.last.starts_with(kWhiteout)) return ApplyWhiteout(split, root);
  switch (entry.kind) {
    case TarEntry::Kind::kDirectory:
      return root.Directory(name, entry.mode);
    case TarEntry::Kind::kFile:
      WRIT_TRY(root.CountBytes(entry.size));
      return root.File(name, entry.mode, entry.mtime, content);
    case TarEntry::Kind::kSymlink:
      return root.Symlink(name, entry.link);
    case TarEntry::Kind::kHardLink: {
      WRIT_ASSIGN(const std::string target, CleanEntryName(entry.link, limits));
      return root.HardLink(name, target);
    }
    case TarEntry::Kind::kSpecial:
      root.SkipSpecial();
      return {};
  }
  return {};
}

Status ApplyLayer(int fd, const protocol::Digest& digest, const ImportLimits& limits,
                  RootWriter& root) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return SysError(errno, "image.read", "cannot read a layer");
  root.BeginLayer();
  Decompressed in(fd);
  std::uint64_t produced = 0;
  protocol::Sha256Hasher hasher;
  const Pull guarded = Guarded(in, limits, produced);
  const Pull hashed = [&]() -> Result<std::string_view> {
    auto bytes = guarded();
    if (bytes) hasher.Update(*bytes);
    return bytes;
  };
  WRIT_TRY(ReadTar(hashed, [&](const TarEntry& entry, const WriteContent& content) {
    return ApplyEntry(entry, content, limits, root);
  }));
  for (;;) {  // what stands behind the archive's end belongs to the digest
    WRIT_ASSIGN(std::string_view rest, hashed());
    if (rest.empty()) break;
  }
  if (hasher.Finish() != digest)
    return Error{ErrorKind::kIntegrity, "image.digest_mismatch",
                 "a layer is not what the image's configuration says",
                 "the image is damaged or was tampered with; get it again"};
  return {};
}

Result<protocol::Digest> FileDigest(int fd) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return SysError(errno, "image.read", "cannot read the image");
  protocol::Sha256Hasher hasher;
  std::string buffer(256 * 1024, '\0');
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SysError(errno, "image.read", "cannot read the image");
    if (count == 0) return hasher.Finish();
    hasher.Update(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
  }
}

}  // namespace writ::backends::image
