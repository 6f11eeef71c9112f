#include "writ/plane/plane_keys.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "key_ring.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"

namespace writ::plane {
namespace {

constexpr std::uint64_t kKeyFileLimit = 16384;
constexpr const char* kNextKeyFile = "plane-next.pem";

struct Folder {
  UniqueFd root, keys;
};

Result<Folder> Open(const std::string& dir) {
  Folder out;
  WRIT_ASSIGN(out.root, OpenDirectory(dir));
  WRIT_ASSIGN(out.keys, OpenBeneath(out.root.get(), "keys", O_RDONLY | O_DIRECTORY));
  return out;
}

Result<protocol::PrivateKey> ReadPrivate(int keys, const std::string& name) {
  WRIT_ASSIGN(UniqueFd fd, OpenBeneath(keys, name, O_RDONLY));
  WRIT_ASSIGN(std::string pem, ReadAll(fd.get(), kKeyFileLimit));
  const Secret held = Secret::Consume(pem);
  return protocol::PrivateKey::FromPem(held.Reveal());
}

// The organisation's key, which must be the one whose public half the directory has.
Result<protocol::PrivateKey> ReadOrgKey(const Folder& folder, const std::string& file,
                                        const protocol::PublicKey& expected) {
  const auto read = [&]() -> Result<protocol::PrivateKey> {
    if (file.empty()) return ReadPrivate(folder.keys.get(), "org.pem");
    WRIT_ASSIGN(std::string pem, ReadFile(file, kKeyFileLimit));
    const Secret held = Secret::Consume(pem);
    return protocol::PrivateKey::FromPem(held.Reveal());
  };
  auto key = read();
  if (!key) {
    return Error{.kind = key.error().kind,
                 .code = "plane.org_key",
                 .message = "the organisation's private key cannot be read: " + key.error().message,
                 .hint = "name it with --org-key FILE"};
  }
  if (key->Public() == expected) return key;
  return Error{.kind = ErrorKind::kDenied,
               .code = "plane.org_key",
               .message = "this is not the private half of keys/org.pub.pem"};
}

Status WriteManifest(int keys, protocol::KeyManifest manifest, const protocol::PrivateKey& org) {
  WRIT_ASSIGN(auto sealed, protocol::SealKeyManifest(std::move(manifest), org));
  return WriteFileAtomic(keys, kKeyManifestFile, json::WritePretty(sealed.raw) + "\n", 0600);
}

// The first key has been the plane's since whenever there was a plane.
protocol::KeyManifest FirstManifest(const protocol::PublicKey& plane, WallTime now) {
  protocol::KeyManifest out;
  out.issued_at = now;
  out.plane_keys = {{plane, WallTime{}, std::nullopt}};
  return out;
}

Status Remove(int keys, const char* name) {
  if (::unlinkat(keys, name, 0) == 0 || errno == ENOENT) return {};
  return SysError(errno, "plane.key_file", std::string("cannot remove keys/") + name);
}

}  // namespace

Result<RotatedPlaneKey> RotatePlaneKey(const std::string& dir, const PlaneKeyRotation& rotation,
                                       const Clock& clock) {
  WRIT_ASSIGN(Folder folder, Open(dir));
  const int keys = folder.keys.get();
  WRIT_ASSIGN(UniqueFd lock, LockFile(keys, "rotate.lock"));
  WRIT_ASSIGN(KeyRing ring, KeyRing::Load(folder.root.get()));
  WRIT_ASSIGN(auto org, ReadOrgKey(folder, rotation.org_key_file, ring.org_public));
  const WallTime now = clock.Now();
  // Each step can be repeated: the files say how far an interrupted rotation came.
  auto next = ReadPrivate(keys, kNextKeyFile);
  if (!next && next.error().sys_errno != ENOENT) return std::move(next).error();
  if (!next) {
    next = protocol::PrivateKey::Generate();
    WRIT_TRY(CreateFileAtomic(keys, kNextKeyFile, next->ToPem().Reveal(), 0600));
    WRIT_FAULT_TRY("plane.key.next");
  }
  const protocol::PublicKey fresh = next->Public();
  auto manifest = ring.manifest ? *ring.manifest : FirstManifest(ring.plane_public, now);
  if (manifest.Find(fresh.Id()) == nullptr) {
    auto kept = CreateFileAtomic(keys, RetiredKeyFile(ring.plane_public.Id()),
                                 ring.plane.ToPem().Reveal(), 0600);
    if (!kept && kept.error().kind != ErrorKind::kConflict) return std::move(kept).error();
    for (auto& entry : manifest.plane_keys) {
      if (!entry.not_after) entry.not_after = now + rotation.overlap;
    }
    manifest.plane_keys.push_back({fresh, now, std::nullopt});
    manifest.issued_at = std::max(now, manifest.issued_at + std::chrono::milliseconds(1));
    WRIT_TRY(WriteManifest(keys, manifest, org));
    WRIT_FAULT_TRY("plane.key.manifest");
  }
  WRIT_TRY(WriteFileAtomic(keys, "plane.pem", next->ToPem().Reveal(), 0600));
  WRIT_FAULT_TRY("plane.key.private");
  WRIT_TRY(WriteFileAtomic(keys, "plane.pub.pem", fresh.ToPem(), 0600));
  WRIT_FAULT_TRY("plane.key.public");
  WRIT_TRY(Remove(keys, kNextKeyFile));
  RotatedPlaneKey out{.old_key_id = {}, .new_key_id = fresh.Id().text(), .old_ends = now};
  for (const auto& entry : manifest.plane_keys) {
    if (entry.key == fresh) break;
    out.old_key_id = entry.key.Id().text();
    out.old_ends = entry.not_after.value_or(now);
  }
  log::Info("plane.key_rotated", "the plane has another signing key",
            {{"old", out.old_key_id}, {"new", out.new_key_id}});
  return out;
}

Status EnsureKeyManifest(const std::string& dir, const Clock& clock) {
  WRIT_ASSIGN(Folder folder, Open(dir));
  const int keys = folder.keys.get();
  if (::faccessat(keys, kKeyManifestFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return {};
  if (::faccessat(keys, "org.pem", F_OK, AT_SYMLINK_NOFOLLOW) != 0) return {};
  WRIT_ASSIGN(KeyRing ring, KeyRing::Load(folder.root.get()));
  WRIT_ASSIGN(auto org, ReadOrgKey(folder, "", ring.org_public));
  WRIT_ASSIGN(auto sealed,
              protocol::SealKeyManifest(FirstManifest(ring.plane_public, clock.Now()), org));
  auto made = CreateFileAtomic(keys, kKeyManifestFile, json::WritePretty(sealed.raw) + "\n", 0600);
  if (!made && made.error().kind != ErrorKind::kConflict) return made;
  return {};
}

Result<std::string> KeyManifestText(const std::string& dir) {
  WRIT_ASSIGN(Folder folder, Open(dir));
  WRIT_ASSIGN(UniqueFd org_file, OpenBeneath(folder.keys.get(), "org.pub.pem", O_RDONLY));
  WRIT_ASSIGN(std::string org_pem, ReadAll(org_file.get(), kKeyFileLimit));
  WRIT_ASSIGN(auto org, protocol::PublicKey::FromPem(org_pem));
  WRIT_ASSIGN(auto manifest, ReadKeyManifest(folder.keys.get(), org));
  if (manifest) return json::Write(manifest->raw);
  return Error{.kind = ErrorKind::kNotFound,
               .code = "plane.no_key_manifest",
               .message = "this plane has no key manifest",
               .hint = "writ plane rotate-key --org-key FILE makes one"};
}

}  // namespace writ::plane
