#include "writ/backends/image/oci_documents.h"

#include <utility>

#include "writ/protocol/json.h"

namespace writ::backends::image {
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::uint64_t kMaxBytes = 4u << 20;
constexpr std::size_t kMaxItems = 4096;
constexpr std::string_view kPrefix = "sha256:";

Error Malformed(const std::string& what, const std::string& pointer) {
  return Error{ErrorKind::kInvalid, "image.document",
               what + " at " + (pointer.empty() ? "/" : pointer),
               "the image is damaged or was written wrongly; get it again"};
}

Result<json::Value> ParseObject(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value,
              json::Parse(bytes, {.max_depth = kMaxDepth, .max_bytes = kMaxBytes}));
  if (!value.is_object()) return Malformed("an object is missing", "");
  return value;
}

std::string TextOf(const json::Value& object, std::string_view name) {
  auto text = object.FindString(name);
  return text ? std::string(*text) : std::string();
}

Result<const json::Array*> ArrayOf(const json::Value& object, std::string_view name,
                                   const std::string& pointer) {
  const json::Value* member = object.Find(name);
  const json::Array* items = member != nullptr ? member->if_array() : nullptr;
  if (items == nullptr) return Malformed("an array is missing", json::PointerTo(pointer, name));
  if (items->size() > kMaxItems) return Malformed("too many items", json::PointerTo(pointer, name));
  return items;
}

Result<Descriptor> ReadDescriptor(const json::Value& value, const std::string& pointer) {
  Descriptor out;
  auto digest = value.FindString("digest");
  if (!digest) return Malformed("a digest is missing", pointer);
  auto parsed = ParseImageDigest(*digest);
  if (!parsed)
    return Malformed("a digest is none (" + parsed.error().message + ")",
                     json::PointerTo(pointer, "digest"));
  out.digest = *parsed;
  const json::Value* size = value.Find("size");
  auto bytes = size != nullptr ? size->AsInteger() : std::nullopt;
  if (!bytes || *bytes < 0) return Malformed("a size is missing", pointer);
  out.size = static_cast<std::uint64_t>(*bytes);
  out.media_type = TextOf(value, "mediaType");
  if (const json::Value* platform = value.Find("platform")) {
    out.os = TextOf(*platform, "os");
    out.architecture = TextOf(*platform, "architecture");
  }
  if (const json::Value* notes = value.Find("annotations"))
    out.name = TextOf(*notes, "org.opencontainers.image.ref.name");
  return out;
}

Status CheckVersion(const json::Value& value) {
  const json::Value* version = value.Find("schemaVersion");
  if (version == nullptr || version->AsInteger() != 2)
    return Error{ErrorKind::kUnsupported, "image.schema_version",
                 "the image has no schemaVersion 2",
                 "write it again with a tool of today: skopeo copy, docker save, buildah push"};
  return {};
}

Result<std::vector<std::string>> ReadTexts(const json::Value& object, std::string_view name,
                                           const std::string& pointer) {
  WRIT_ASSIGN(const json::Array* items, ArrayOf(object, name, pointer));
  std::vector<std::string> out;
  for (const json::Value& item : *items) {
    const std::string* text = item.if_string();
    if (text == nullptr) return Malformed("a text is missing", json::PointerTo(pointer, name));
    out.push_back(*text);
  }
  return out;
}

}  // namespace

bool Descriptor::IsIndex() const {
  return media_type == "application/vnd.oci.image.index.v1+json" ||
         media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
}

Result<Index> ParseIndex(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, ParseObject(bytes));
  WRIT_TRY(CheckVersion(value));
  WRIT_ASSIGN(const json::Array* items, ArrayOf(value, "manifests", ""));
  Index out;
  for (std::size_t i = 0; i < items->size(); ++i) {
    WRIT_ASSIGN(Descriptor descriptor,
                ReadDescriptor((*items)[i], json::PointerTo("/manifests", i)));
    out.manifests.push_back(std::move(descriptor));
  }
  return out;
}

Result<Manifest> ParseManifest(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, ParseObject(bytes));
  WRIT_TRY(CheckVersion(value));
  Manifest out;
  const json::Value* config = value.Find("config");
  if (config == nullptr) return Malformed("an object is missing", "/config");
  WRIT_ASSIGN(out.config, ReadDescriptor(*config, "/config"));
  WRIT_ASSIGN(const json::Array* items, ArrayOf(value, "layers", ""));
  for (std::size_t i = 0; i < items->size(); ++i) {
    WRIT_ASSIGN(Descriptor layer, ReadDescriptor((*items)[i], json::PointerTo("/layers", i)));
    if (layer.media_type.find(".layer.") == std::string::npos &&
        layer.media_type.find(".rootfs.") == std::string::npos)
      return Error{ErrorKind::kUnsupported, "image.layer_type",
                   "layer " + std::to_string(i + 1) + " is not a file system layer",
                   "this is another kind of artifact than a container image"};
    out.layers.push_back(std::move(layer));
  }
  return out;
}

Result<ImageConfig> ParseImageConfig(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, ParseObject(bytes));
  ImageConfig out;
  out.os = TextOf(value, "os");
  out.architecture = TextOf(value, "architecture");
  const json::Value* rootfs = value.Find("rootfs");
  if (rootfs == nullptr) return Malformed("an object is missing", "/rootfs");
  WRIT_ASSIGN(std::vector<std::string> ids, ReadTexts(*rootfs, "diff_ids", "/rootfs"));
  for (const std::string& id : ids) {
    WRIT_ASSIGN(protocol::Digest digest, ParseImageDigest(id));
    out.diff_ids.push_back(digest);
  }
  return out;
}

Result<std::vector<DockerImage>> ParseDockerManifest(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value,
              json::Parse(bytes, {.max_depth = kMaxDepth, .max_bytes = kMaxBytes}));
  const json::Array* items = value.if_array();
  if (items == nullptr) return Malformed("an array is missing", "");
  if (items->size() > kMaxItems) return Malformed("too many items", "");
  std::vector<DockerImage> out;
  for (std::size_t i = 0; i < items->size(); ++i) {
    const std::string pointer = json::PointerTo("", i);
    DockerImage image;
    image.config = TextOf((*items)[i], "Config");
    if (image.config.empty()) return Malformed("a text is missing", pointer + "/Config");
    WRIT_ASSIGN(image.layers, ReadTexts((*items)[i], "Layers", pointer));
    const json::Value* tags = (*items)[i].Find("RepoTags");
    if (tags != nullptr && !tags->is_null()) {
      WRIT_ASSIGN(image.tags, ReadTexts((*items)[i], "RepoTags", pointer));
    }
    out.push_back(std::move(image));
  }
  return out;
}

Result<protocol::Digest> ParseImageDigest(std::string_view text) {
  if (!text.starts_with(kPrefix))
    return Error{ErrorKind::kUnsupported, "image.digest_kind",
                 "the image has a digest that is not sha256",
                 "write it again with sha256 digests, which every registry has"};
  return protocol::Digest::Parse(text.substr(kPrefix.size()));
}

std::string ImageDigestText(const protocol::Digest& digest) {
  return std::string(kPrefix) + digest.ToHex();
}

std::string_view HostArchitecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#elif defined(__riscv)
  return "riscv64";
#elif defined(__powerpc64__)
  return "ppc64le";
#elif defined(__s390x__)
  return "s390x";
#else
  return "unknown";
#endif
}

}  // namespace writ::backends::image
