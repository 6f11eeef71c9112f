#include "writ/runner/identity.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/reader.h"

namespace writ::runner {
namespace {

constexpr char kKeyFile[] = "runner.key.pem";
constexpr char kTokenFile[] = "runner.token";
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

Error Damaged(const char* name) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "runner.identity.damaged",
               .message = std::string("the runner's identity file ") + name + " is damaged",
               .hint = "restore it from a backup, or enrol anew with a new state directory"};
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
  return IdentityStore(std::move(dir));
}

Result<protocol::PrivateKey> IdentityStore::LoadOrCreateKey() {
  WRIT_ASSIGN(std::optional<std::string> text, ReadPrivate(dir_.get(), kKeyFile));
  if (!text) {
    protocol::PrivateKey key = protocol::PrivateKey::Generate();
    Status made = CreateFileAtomic(dir_.get(), kKeyFile, key.ToPem().Reveal(), 0600);
    if (made) return key;
    if (made.error().kind != ErrorKind::kConflict) return std::move(made).error();
    WRIT_ASSIGN(text,
                ReadPrivate(dir_.get(), kKeyFile));  // another process was faster: its key counts
    if (!text) return Damaged(kKeyFile);
  }
  Secret pem = Secret::Consume(*text);
  Result<protocol::PrivateKey> key = protocol::PrivateKey::FromPem(pem.Reveal());
  if (!key) return Damaged(kKeyFile);
  return key;
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
  return std::optional<Identity>(
      Identity{std::move(key), std::move(runner_id), pool.text(), std::move(secret)});
}

Status IdentityStore::SaveEnrolment(const protocol::RunnerId& runner_id, const std::string& pool,
                                    const Secret& token) {
  WRIT_ASSIGN(protocol::PrivateKey key, LoadOrCreateKey());
  // The token first: an identity without its token would look enrolled.
  WRIT_TRY(WriteFileAtomic(dir_.get(), kTokenFile, token.Reveal(), 0600));
  json::Object members{{"runnerId", runner_id}, {"pool", pool}, {"keyId", key.Public().Id()}};
  return WriteFileAtomic(dir_.get(), kIdentityFile, json::WritePretty(std::move(members)) + "\n",
                         0600);
}

}  // namespace writ::runner
