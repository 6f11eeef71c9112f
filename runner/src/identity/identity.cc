#include "writ/runner/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/reader.h"

namespace writ::runner {
namespace {

constexpr char kKeyFile[] = "runner.key.pem";
constexpr char kPublicKeyFile[] = "runner.pub.pem";  // for people to copy; never read back
constexpr char kTokenFile[] = "runner.token";
constexpr char kNextKeyFile[] = "next.key.pem";
constexpr char kNextTokenFile[] = "next.token";  // there: the change of key counts
constexpr char kIdentityFile[] = "runner.json";

// nullopt: not there. Refuses files that others can read.
Result<std::optional<std::string>> ReadPrivate(int dir, const char* name) {
  Result<UniqueFd> fd = OpenBeneath(dir, name, O_RDONLY);
  if (!fd) {
    if (fd.error().sys_errno == ENOENT) return std::optional<std::string>();
    return std::move(fd).error();
  }
  struct stat info {};
  if (fstat(fd->get(), &info) != 0)
    return SysError(errno, "runner.identity.read", "could not read the runner's identity");
  if ((info.st_mode & 077) != 0)
    return Error{
        .kind = ErrorKind::kDenied,
        .code = "runner.identity.mode",
        .message = std::string("the runner's identity file ") + name + " can be read by others",
        .hint = "chmod 600 it; if it was exposed, enrol anew with a new state directory"};
  WRIT_ASSIGN(std::string bytes, ReadAll(fd->get(), 64 * 1024));
  return std::optional<std::string>(std::move(bytes));
}

// The public half in a file of its own, so that nobody has to open the private one to hand it out.
Status KeepPublicKey(int dir, const protocol::PublicKey& key) {
  const std::string pem = key.ToPem();
  if (Result<UniqueFd> fd = OpenBeneath(dir, kPublicKeyFile, O_RDONLY)) {
    if (Result<std::string> there = ReadAll(fd->get(), 4096); there && *there == pem) return {};
  }
  return WriteFileAtomic(dir, kPublicKeyFile, pem, 0644);
}

Error Damaged(const char* name) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "runner.identity.damaged",
               .message = std::string("the runner's identity file ") + name + " is damaged",
               .hint = "restore it from a backup, or enrol anew with a new state directory"};
}

Result<protocol::PrivateKey> KeyIn(int dir, const char* name) {
  WRIT_ASSIGN(std::optional<std::string> text, ReadPrivate(dir, name));
  if (!text) return Damaged(name);
  Secret pem = Secret::Consume(*text);
  Result<protocol::PrivateKey> key = protocol::PrivateKey::FromPem(pem.Reveal());
  if (!key) return Damaged(name);
  return key;
}

Result<protocol::PrivateKey> LoadOrCreate(int dir, const char* name) {
  WRIT_ASSIGN(std::optional<std::string> text, ReadPrivate(dir, name));
  if (!text) {
    protocol::PrivateKey key = protocol::PrivateKey::Generate();
    Status made = CreateFileAtomic(dir, name, key.ToPem().Reveal(), 0600);
    if (made) return key;
    // Another process was faster: its key counts.
    if (made.error().kind != ErrorKind::kConflict) return std::move(made).error();
  } else {
    (void)Secret::Consume(*text);
  }
  return KeyIn(dir, name);
}

Status Rename(int dir, const char* from, const char* to) {
  if (renameat(dir, from, dir, to) != 0 && errno != ENOENT)
    return SysError(errno, "runner.identity.write", "could not replace the runner's identity");
  if (fsync(dir) != 0)
    return SysError(errno, "runner.identity.write", "could not replace the runner's identity");
  return {};
}

// Each step may have been done already: by the process that was killed after it.
Status FinishRotation(int dir) {
  WRIT_ASSIGN(std::optional<std::string> token, ReadPrivate(dir, kNextTokenFile));
  if (!token) return {};
  (void)Secret::Consume(*token);
  WRIT_TRY(Rename(dir, kNextKeyFile, kKeyFile));
  WRIT_ASSIGN(protocol::PrivateKey key, KeyIn(dir, kKeyFile));
  WRIT_ASSIGN(std::optional<std::string> text, ReadPrivate(dir, kIdentityFile));
  if (!text) return Damaged(kIdentityFile);
  Result<json::Value> value = json::Parse(*text);
  if (!value || !value->is_object()) return Damaged(kIdentityFile);
  value->object().Set("keyId", key.Public().Id());
  WRIT_TRY(WriteFileAtomic(dir, kIdentityFile, json::WritePretty(*value) + "\n", 0600));
  return Rename(dir, kNextTokenFile, kTokenFile);
}

}  // namespace

Result<IdentityStore> IdentityStore::Open(const std::string& state_dir) {
  // The state directory may hold the work directory too, which jobs must be able to enter.
  WRIT_ASSIGN(UniqueFd state, MakeDirectories(state_dir, 0711));
  WRIT_ASSIGN(UniqueFd dir, MakeDirectories(state_dir + "/identity", 0700));
  struct stat info {};
  if (fstat(dir.get(), &info) != 0)
    return SysError(errno, "runner.identity.read", "could not look at the identity directory");
  if ((info.st_mode & 077) != 0)
    return Error{.kind = ErrorKind::kDenied,
                 .code = "runner.identity.mode",
                 .message = "the runner's identity directory can be entered by others",
                 .hint = "chmod 700 it"};
  WRIT_TRY(FinishRotation(dir.get()));
  return IdentityStore(std::move(dir));
}

Result<protocol::PrivateKey> IdentityStore::LoadOrCreateKey() {
  return LoadOrCreate(dir_.get(), kKeyFile);
}

Result<protocol::PrivateKey> IdentityStore::LoadOrCreateNextKey() {
  return LoadOrCreate(dir_.get(), kNextKeyFile);
}

bool IdentityStore::HasNextKey() const {
  return faccessat(dir_.get(), kNextKeyFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Status IdentityStore::CommitNextKey(const Secret& token) {
  WRIT_ASSIGN([[maybe_unused]] protocol::PrivateKey key, KeyIn(dir_.get(), kNextKeyFile));
  WRIT_TRY(WriteFileAtomic(dir_.get(), kNextTokenFile, token.Reveal(), 0600));
  return FinishRotation(dir_.get());
}

Result<std::optional<Identity>> IdentityStore::Load() {
  WRIT_ASSIGN(std::optional<std::string> text, ReadPrivate(dir_.get(), kIdentityFile));
  if (!text) return std::optional<Identity>();
  Result<json::Value> value = json::Parse(*text);
  if (!value) return Damaged(kIdentityFile);
  json::Issues issues;
  json::ObjectReader reader(issues, *value);
  auto runner_id = reader.As<protocol::RunnerId>("runnerId");
  auto pool = reader.As<protocol::PoolName>("pool");
  auto key_id = reader.As<protocol::KeyId>("keyId");
  reader.RefuseUnknown();
  if (!issues.empty()) return Damaged(kIdentityFile);
  WRIT_ASSIGN(std::optional<std::string> token, ReadPrivate(dir_.get(), kTokenFile));
  if (!token || token->empty()) return Damaged(kTokenFile);
  Secret secret = Secret::Consume(*token);
  WRIT_ASSIGN(protocol::PrivateKey key, LoadOrCreateKey());
  if (key.Public().Id() != key_id) return Damaged(kKeyFile);
  // A runner that cannot write it now is a whole runner all the same.
  (void)KeepPublicKey(dir_.get(), key.Public());
  return std::optional<Identity>(
      Identity{std::move(key), std::move(runner_id), pool.text(), std::move(secret)});
}

Status IdentityStore::SaveEnrolment(const protocol::RunnerId& runner_id, const std::string& pool,
                                    const Secret& token) {
  WRIT_ASSIGN(protocol::PrivateKey key, LoadOrCreateKey());
  WRIT_TRY(KeepPublicKey(dir_.get(), key.Public()));
  // The token first: an identity without its token would look enrolled.
  WRIT_TRY(WriteFileAtomic(dir_.get(), kTokenFile, token.Reveal(), 0600));
  json::Object members{{"runnerId", runner_id}, {"pool", pool}, {"keyId", key.Public().Id()}};
  return WriteFileAtomic(dir_.get(), kIdentityFile, json::WritePretty(std::move(members)) + "\n",
                         0600);
}

}  // namespace writ::runner
