#include "writ/backends/microvm/snapshots/snapshot_key.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm {
namespace {

constexpr char kKeyFile[] = "key.pem";
constexpr char kAlgorithm[] = "Ed25519";
constexpr std::uint64_t kMaxPem = 4096;

// What is signed: no signature over another thing of this project has this form.
std::string Signed(const protocol::Digest& id) {
  return "writ snapshot 1\n" + id.ToHex() + "\n";
}

Error BadSignature() {
  return {ErrorKind::kIntegrity, "snapshot.bad_signature",
          "the snapshot's manifest is not what was signed",
          "remove it with `writ snapshot rm`, and make it anew with `writ snapshot build`"};
}

}  // namespace

Result<protocol::PrivateKey> ReadSnapshotKey(int dir) {
  Result<UniqueFd> file = OpenBeneath(dir, kKeyFile, O_RDONLY);
  if (!file && file.error().sys_errno == ENOENT)
    return Error{ErrorKind::kNotFound, "snapshot.no_key", "there is no snapshot key here",
                 "`writ snapshot build` makes one with the first snapshot"};
  if (!file) return std::move(file).error();
  struct stat st {};
  if (::fstat(file->get(), &st) != 0)
    return SysError(errno, "snapshot.key", "cannot look at the snapshot key");
  if ((st.st_mode & 077) != 0)
    return Error{ErrorKind::kDenied, "snapshot.key_mode", "the snapshot key can be read by others",
                 "remove it and the snapshots that it has signed, and build them anew"};
  WRIT_ASSIGN(std::string bytes, ReadAll(file->get(), kMaxPem));
  Secret pem = Secret::Consume(bytes);
  auto key = protocol::PrivateKey::FromPem(pem.Reveal());
  if (!key)
    return Error{ErrorKind::kIntegrity, "snapshot.key", "the snapshot key is damaged",
                 "remove it and the snapshots that it has signed, and build them anew"};
  return key;
}

Result<protocol::PrivateKey> OpenSnapshotKey(int dir) {
  auto there = ReadSnapshotKey(dir);
  if (there || there.error().kind != ErrorKind::kNotFound) return there;
  protocol::PrivateKey key = protocol::PrivateKey::Generate();
  Status made = CreateFileAtomic(dir, kKeyFile, key.ToPem().Reveal(), 0600);
  if (made) return key;
  if (made.error().kind != ErrorKind::kConflict) return std::move(made).error();
  return ReadSnapshotKey(dir);  // another process was faster: its key counts
}

json::Value SignSnapshot(const protocol::PrivateKey& key, const protocol::Digest& id) {
  return json::Object{{"alg", kAlgorithm},
                      {"keyId", key.Public().Id()},
                      {"sig", Base64Encode(protocol::Sign(key, Signed(id)))}};
}

Status CheckSnapshotSignature(const protocol::PublicKey& key, const protocol::Digest& id,
                              const json::Value& signature) {
  json::Issues issues;
  json::ObjectReader reader(issues, signature, "/signature");
  reader.Literal("alg", kAlgorithm);
  const std::string key_id = reader.String("keyId");
  const auto sig = Base64Decode(reader.String("sig"));
  reader.RefuseUnknown();
  if (!issues.empty() || !sig) return BadSignature();
  if (key_id != key.Id().text())
    return Error{ErrorKind::kIntegrity, "snapshot.foreign_key",
                 "the snapshot was signed by another directory's key",
                 "snapshots are not carried from one directory or host to another: "
                 "`writ snapshot build` makes one here"};
  return protocol::Verify(key, Signed(id), *sig) ? Status() : Status(BadSignature());
}

}  // namespace writ::backends::microvm
