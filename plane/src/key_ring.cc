#include "key_ring.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "layout.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::plane {
namespace {

constexpr std::uint64_t kKeyFileLimit = 16384;

Result<std::string> ReadKeyFile(int dir, const std::string& name) {
  auto fd = OpenBeneath(dir, name, O_RDONLY);
  if (!fd && fd.error().sys_errno == ENOENT) {
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "plane.not_initialized",
                 .message = name + " is not there",
                 .hint = "run writ init"};
  }
  if (!fd) return std::move(fd).error().With("opening " + name);
  return ReadAll(fd->get(), kKeyFileLimit);
}

Result<Secret> ReadSecretFile(int dir, const std::string& name) {
  auto fd = OpenBeneath(dir, name, O_RDONLY);
  if (!fd && fd.error().sys_errno == ENOENT) {
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "plane.not_initialized",
                 .message = name + " is not there",
                 .hint = "run writ init"};
  }
  if (!fd) return std::move(fd).error().With("opening " + name);
  struct stat st {};
  if (::fstat(fd->get(), &st) != 0)
    return SysError(errno, "plane.key_unreadable", "cannot stat " + name);
  if ((st.st_mode & 077) != 0) {
    return Error{.kind = ErrorKind::kDenied,
                 .code = "plane.key_mode",
                 .message = name + " can be read by others than its owner",
                 .hint = "chmod 600, and replace the key if it may have been read"};
  }
  WRIT_ASSIGN(std::string bytes, ReadAll(fd->get(), kKeyFileLimit));
  return Secret::Consume(bytes);
}

Result<Secret> ReadSymmetric(int dir, const std::string& name) {
  WRIT_ASSIGN(Secret key, ReadSecretFile(dir, name));
  if (key.size() != kSymmetricKeyBytes) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_malformed",
                 .message = name + " is not a key of 32 bytes"};
  }
  return key;
}

}  // namespace

std::string RetiredKeyFile(const protocol::KeyId& id) {
  const std::string& text = id.text();
  return "plane-" + text.substr(text.find(':') + 1) + ".pem";
}

Result<std::optional<protocol::KeyManifest>> ReadKeyManifest(int keys,
                                                             const protocol::PublicKey& org) {
  constexpr std::uint64_t kLargest = 1u << 20;
  auto fd = OpenBeneath(keys, kKeyManifestFile, O_RDONLY);
  if (!fd && fd.error().sys_errno == ENOENT) return std::optional<protocol::KeyManifest>{};
  if (!fd) return std::move(fd).error().With("opening keys/manifest.json");
  WRIT_ASSIGN(std::string text, ReadAll(fd->get(), kLargest));
  auto refused = [](const Error& why) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_manifest",
                 .message = "keys/manifest.json: " + why.message};
  };
  auto value = json::Parse(text, {.max_depth = 8, .max_bytes = kLargest});
  if (!value) return refused(value.error());
  auto manifest = protocol::KeyManifest::Parse(*value);
  if (!manifest) return refused(manifest.error());
  if (auto good = protocol::CheckKeyManifest(*manifest, org); !good) return refused(good.error());
  return std::optional(std::move(*manifest));
}

Result<KeyRing> KeyRing::Load(int dir) {
  WRIT_ASSIGN(Secret plane_pem, ReadSecretFile(dir, "keys/plane.pem"));
  WRIT_ASSIGN(auto plane, protocol::PrivateKey::FromPem(plane_pem.Reveal()));
  WRIT_ASSIGN(std::string plane_public_pem, ReadKeyFile(dir, "keys/plane.pub.pem"));
  WRIT_ASSIGN(auto named_public, protocol::PublicKey::FromPem(plane_public_pem));
  WRIT_ASSIGN(std::string org_pem, ReadKeyFile(dir, "keys/org.pub.pem"));
  WRIT_ASSIGN(auto org, protocol::PublicKey::FromPem(org_pem));
  WRIT_ASSIGN(UniqueFd keys, OpenBeneath(dir, "keys", O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(auto manifest, ReadKeyManifest(keys.get(), org));
  const auto plane_public = plane.Public();
  const std::string key_id = plane_public.Id().text();
  const bool listed = manifest && manifest->Find(plane_public.Id()) != nullptr;
  // A rotation that was interrupted between its two files leaves the public half of before.
  const bool interrupted = listed && manifest->Find(named_public.Id()) != nullptr;
  if (!(plane_public == named_public) && !interrupted) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_mismatch",
                 .message = "keys/plane.pub.pem is not the public half of keys/plane.pem"};
  }
  if (manifest && !listed) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_manifest",
                 .message = "keys/manifest.json does not list the plane's own key " + key_id,
                 .hint = "a plane's key is changed with writ plane rotate-key"};
  }
  std::vector<protocol::PrivateKey> retired;
  if (manifest) {
    for (const auto& entry : manifest->plane_keys) {
      if (entry.key == plane_public) continue;
      auto pem = ReadSecretFile(dir, "keys/" + RetiredKeyFile(entry.key.Id()));
      if (!pem && pem.error().kind == ErrorKind::kNotFound) continue;  // its owner removed it
      if (!pem) return std::move(pem).error();
      WRIT_ASSIGN(auto key, protocol::PrivateKey::FromPem(pem->Reveal()));
      if (key.Public() == entry.key) retired.push_back(std::move(key));
    }
  }
  WRIT_ASSIGN(Secret seal, ReadSymmetric(dir, "keys/secrets.key"));
  WRIT_ASSIGN(Secret tokens, ReadSymmetric(dir, "keys/tokens.key"));
  return KeyRing{.plane = std::move(plane),
                 .plane_public = plane_public,
                 .plane_public_pem = plane_public.ToPem(),
                 .plane_key_id = key_id,
                 .org_public = org,
                 .org_public_pem = org.ToPem(),
                 .seal = std::move(seal),
                 .tokens = std::move(tokens),
                 .manifest = std::move(manifest),
                 .retired = std::move(retired)};
}

const protocol::PrivateKey* KeyRing::PrivateOf(const protocol::KeyId& id) const {
  if (id == plane_public.Id()) return &plane;
  for (const auto& key : retired)
    if (key.Public().Id() == id) return &key;
  return nullptr;
}

Result<protocol::PublicKey> KeyRing::PublicOf(const protocol::KeyId& id) const {
  if (id == plane_public.Id()) return plane_public;
  if (const auto* entry = manifest ? manifest->Find(id) : nullptr) return entry->key;
  return Error{.kind = ErrorKind::kNotFound,
               .code = "plane.key_unknown",
               .message = "the plane key " + id.text() + " is not in keys/manifest.json"};
}

}  // namespace writ::plane
