#include "image_source.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "entry_name.h"
#include "layer.h"
#include "root_writer.h"
#include "tar_reader.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

constexpr int kIndexDepth = 3;
constexpr char kMakeAgain[] = "the image is damaged or was tampered with; get it again";

Error Mismatch(const std::string& what) {
  return Error{ErrorKind::kIntegrity, "image.digest_mismatch",
               what + " is not what its digest says", kMakeAgain};
}

Error Absent(const std::string& what, int err) {
  return Error{ErrorKind::kInvalid, "image.incomplete", "the image has no " + what, kMakeAgain,
               err};
}

bool IsThere(int dir, const std::string& name) {
  struct stat st {};
  return ::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

// A regular file; never waits for a FIFO's other end.
Result<UniqueFd> OpenFile(int dir, const std::string& name) {
  auto file = OpenBeneath(dir, name, O_RDONLY | O_NONBLOCK);
  if (!file) return Absent(Shown(name), file.error().sys_errno);
  struct stat st {};
  if (::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) return Absent(Shown(name), 0);
  return file;
}

Result<std::string> ReadDocument(int dir, const std::string& name, const ImportLimits& limits) {
  WRIT_ASSIGN(UniqueFd file, OpenFile(dir, name));
  return ReadAll(file.get(), limits.document_bytes);
}

std::string BlobName(const Descriptor& descriptor) {
  return "blobs/sha256/" + descriptor.digest.ToHex();
}

Result<std::string> ReadBlob(int dir, const Descriptor& descriptor, const ImportLimits& limits) {
  if (descriptor.size > limits.document_bytes)
    return Error{ErrorKind::kInvalid, "image.too_large", "a document of the image is too large"};
  WRIT_ASSIGN(std::string bytes, ReadDocument(dir, BlobName(descriptor), limits));
  if (bytes.size() != descriptor.size || protocol::Sha256(bytes) != descriptor.digest)
    return Mismatch("a document of the image");
  return bytes;
}

bool FitsHost(const Descriptor& descriptor) {
  return (descriptor.os.empty() || descriptor.os == "linux") &&
         (descriptor.architecture.empty() || descriptor.architecture == HostArchitecture());
}

Result<Descriptor> ChooseManifest(int dir, const std::string& tag, const ImportLimits& limits) {
  WRIT_ASSIGN(std::string bytes, ReadDocument(dir, "index.json", limits));
  for (int depth = 0; depth < kIndexDepth; ++depth) {
    auto parsed = ParseIndex(bytes);
    if (!parsed)
      return std::move(parsed).error().With(depth == 0 ? "reading index.json"
                                                       : "reading an index of the layout");
    const Index index = std::move(*parsed);
    std::vector<Descriptor> fitting;
    for (const Descriptor& each : index.manifests) {
      if (depth == 0 && !tag.empty() && each.name != tag) continue;
      if (FitsHost(each)) fitting.push_back(each);
    }
    if (fitting.empty())
      return Error{ErrorKind::kUnsupported, "image.no_platform",
                   "the layout has no image for linux/" + std::string(HostArchitecture()) +
                       (tag.empty() ? "" : " with the tag " + Shown(tag)),
                   "copy the image for this machine into the layout"};
    if (fitting.size() > 1)
      return Error{ErrorKind::kInvalid, "image.several", "the layout has several images",
                   "name one with --tag"};
    if (!fitting.front().IsIndex()) return fitting.front();
    WRIT_ASSIGN(bytes, ReadBlob(dir, fitting.front(), limits));
  }
  return Error{ErrorKind::kInvalid, "image.document", "the layout's indexes lead nowhere"};
}

Status CheckConfig(const ImageConfig& config, std::size_t layers, const ImportLimits& limits) {
  if (layers > limits.layers)
    return Error{ErrorKind::kInvalid, "image.too_large",
                 "the image has more than " + std::to_string(limits.layers) + " layers"};
  if (config.diff_ids.size() != layers)
    return Error{ErrorKind::kIntegrity, "image.digest_mismatch",
                 "the image's configuration has another number of layers than the image",
                 kMakeAgain};
  if ((!config.os.empty() && config.os != "linux") ||
      (!config.architecture.empty() && config.architecture != HostArchitecture()))
    return Error{ErrorKind::kUnsupported, "image.no_platform",
                 "the image is not for linux/" + std::string(HostArchitecture()),
                 "get the image for this machine"};
  return {};
}

// `docker save` writes a layer that it has written already as a link to it.
Result<UniqueFd> OpenDockerLayer(int dir, const std::string& name) {
  auto file = OpenFile(dir, name);
  if (file) return file;
  char text[PATH_MAX];
  const ssize_t size = ::readlinkat(dir, name.c_str(), text, sizeof text);
  if (size <= 0 || !std::string_view(text, static_cast<std::size_t>(size)).starts_with("../"))
    return file;
  return OpenFile(dir, std::string(text + 3, static_cast<std::size_t>(size) - 3));
}

bool Wanted(const std::string& name) {
  return name == "oci-layout" || name == "index.json" || name == "manifest.json" ||
         name.starts_with("blobs/sha256/") || name.ends_with(".json") || name.ends_with(".tar") ||
         name.ends_with(".tar.gz");
}

}  // namespace

bool IsOciLayout(int dir) {
  return IsThere(dir, "oci-layout") && IsThere(dir, "index.json");
}

Result<ImageSource> OpenOciLayout(int dir, const std::string& tag, const ImportLimits& limits) {
  ImageSource out;
  WRIT_ASSIGN(Descriptor chosen, ChooseManifest(dir, tag, limits));
  out.manifest_digest = chosen.digest;
  WRIT_ASSIGN(std::string bytes, ReadBlob(dir, chosen, limits));
  WRIT_ASSIGN(Manifest manifest, ParseManifest(bytes));
  WRIT_ASSIGN(bytes, ReadBlob(dir, manifest.config, limits));
  out.config_digest = manifest.config.digest;
  WRIT_ASSIGN(out.config, ParseImageConfig(bytes));
  WRIT_TRY(CheckConfig(out.config, manifest.layers.size(), limits));
  for (const Descriptor& layer : manifest.layers) {
    WRIT_ASSIGN(UniqueFd file, OpenFile(dir, BlobName(layer)));
    struct stat st {};
    if (::fstat(file.get(), &st) != 0 || static_cast<std::uint64_t>(st.st_size) != layer.size)
      return Mismatch("a layer");
    WRIT_ASSIGN(protocol::Digest digest, FileDigest(file.get()));
    if (digest != layer.digest) return Mismatch("a layer");
    out.layers.push_back(std::move(file));
  }
  if (!chosen.name.empty()) out.tags.push_back(chosen.name);
  return out;
}

Result<ImageSource> OpenDockerFiles(int dir, const std::string& tag, const ImportLimits& limits) {
  ImageSource out;
  out.kind = ImageSource::Kind::kDockerArchive;
  WRIT_ASSIGN(std::string bytes, ReadDocument(dir, "manifest.json", limits));
  WRIT_ASSIGN(std::vector<DockerImage> images, ParseDockerManifest(bytes));
  if (!tag.empty())
    std::erase_if(images, [&](const DockerImage& image) {
      return std::find(image.tags.begin(), image.tags.end(), tag) == image.tags.end();
    });
  if (images.empty()) return Absent(tag.empty() ? "images" : "tag " + Shown(tag), 0);
  if (images.size() > 1)
    return Error{ErrorKind::kInvalid, "image.several", "the archive has several images",
                 "name one with --tag"};
  const DockerImage& image = images.front();
  WRIT_ASSIGN(const std::string config, CleanEntryName(image.config, limits));
  if (config.empty()) return Absent("configuration", 0);
  WRIT_ASSIGN(bytes, ReadDocument(dir, config, limits));
  out.config_digest = protocol::Sha256(bytes);
  WRIT_ASSIGN(out.config, ParseImageConfig(bytes));
  WRIT_TRY(CheckConfig(out.config, image.layers.size(), limits));
  for (const std::string& layer : image.layers) {
    WRIT_ASSIGN(const std::string name, CleanEntryName(layer, limits));
    if (name.empty()) return Absent("layer", 0);
    WRIT_ASSIGN(UniqueFd file, OpenDockerLayer(dir, name));
    out.layers.push_back(std::move(file));
  }
  out.tags = image.tags;
  return out;
}

Status SpoolArchive(int file, int into, const ImportLimits& limits) {
  ImportFindings findings;
  RootWriter writer(into, limits, findings);
  Decompressed in(file);
  std::uint64_t produced = 0;
  return ReadTar(Guarded(in, limits, produced),
                 [&](const TarEntry& entry, const WriteContent& content) -> Status {
                   WRIT_ASSIGN(const std::string name, CleanEntryName(entry.name, limits));
                   const bool data = entry.kind == TarEntry::Kind::kFile ||
                                     entry.kind == TarEntry::Kind::kSymlink;
                   if (!data || !Wanted(name)) return {};
                   if (entry.kind == TarEntry::Kind::kSymlink)
                     return writer.Symlink(name, entry.link);
                   WRIT_TRY(writer.CountBytes(entry.size));
                   return writer.File(name, 0600, entry.mtime, content);
                 });
}

}  // namespace writ::backends::image
