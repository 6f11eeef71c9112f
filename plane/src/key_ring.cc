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

Result<KeyRing> KeyRing::Load(int dir) {
  WRIT_ASSIGN(Secret plane_pem, ReadSecretFile(dir, "keys/plane.pem"));
  WRIT_ASSIGN(auto plane, protocol::PrivateKey::FromPem(plane_pem.Reveal()));
  WRIT_ASSIGN(std::string plane_public_pem, ReadKeyFile(dir, "keys/plane.pub.pem"));
  WRIT_ASSIGN(auto plane_public, protocol::PublicKey::FromPem(plane_public_pem));
  if (!(plane.Public() == plane_public)) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_mismatch",
                 .message = "keys/plane.pub.pem is not the public half of keys/plane.pem"};
  }
  WRIT_ASSIGN(std::string org_pem, ReadKeyFile(dir, "keys/org.pub.pem"));
  WRIT_ASSIGN(auto org, protocol::PublicKey::FromPem(org_pem));
  WRIT_ASSIGN(Secret seal, ReadSymmetric(dir, "keys/secrets.key"));
  WRIT_ASSIGN(Secret tokens, ReadSymmetric(dir, "keys/tokens.key"));
  std::string key_id = plane_public.Id().text();
  return KeyRing{.plane = std::move(plane),
                 .plane_public = plane_public,
                 .plane_public_pem = plane_public.ToPem(),
                 .plane_key_id = std::move(key_id),
                 .org_public = org,
                 .org_public_pem = org.ToPem(),
                 .seal = std::move(seal),
                 .tokens = std::move(tokens)};
}

}  // namespace writ::plane
