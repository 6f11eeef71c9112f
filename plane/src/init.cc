#include "writ/plane/init.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "folder.h"
#include "layout.h"
#include "policy_engine.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/config.h"
#include "writ/protocol/keys.h"

namespace writ::plane {
namespace {

bool Exists(int dir, const std::string& name) {
  return ::faccessat(dir, name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

// Creates `name` unless it is there; says in the report which it was.
Status CreateOnce(int dir, const std::string& name, const std::string& shown,
                  std::string_view bytes, InitReport& report) {
  auto made = CreateFileAtomic(dir, name, bytes, 0600);
  if (made) {
    report.created.push_back(shown);
    return {};
  }
  if (made.error().kind != ErrorKind::kConflict) return made;
  report.kept.push_back(shown);
  return {};
}

Status CreateKeyPair(int keys, const std::string& name, InitReport& report) {
  const std::string secret = name + ".pem";
  const std::string open = name + ".pub.pem";
  const bool have_secret = Exists(keys, secret);
  const bool have_open = Exists(keys, open);
  if (have_open && !have_secret) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "plane.key_incomplete",
                 .message = "keys/" + open + " is there without its private half keys/" + secret,
                 .hint = "restore the private key, or move the public one away to start anew"};
  }
  std::string public_pem;
  if (have_secret) {
    // A crash between the two writes leaves the private half: the public one follows from it.
    WRIT_ASSIGN(UniqueFd fd, OpenBeneath(keys, secret, O_RDONLY));
    WRIT_ASSIGN(std::string pem, ReadAll(fd.get(), 16384));
    Secret held = Secret::Consume(pem);
    WRIT_ASSIGN(auto key, protocol::PrivateKey::FromPem(held.Reveal()));
    public_pem = key.Public().ToPem();
    report.kept.push_back("keys/" + secret);
  } else {
    auto key = protocol::PrivateKey::Generate();
    public_pem = key.Public().ToPem();
    WRIT_TRY(CreateOnce(keys, secret, "keys/" + secret, key.ToPem().Reveal(), report));
  }
  return CreateOnce(keys, open, "keys/" + open, public_pem, report);
}

Status MakeAll(const std::string& dir, InitReport& report) {
  WRIT_ASSIGN(UniqueFd root, MakeDirectories(dir, StateFolderMode()));
  WRIT_ASSIGN(UniqueFd keys, MakeDirectoriesBeneath(root.get(), "keys", 0700));
  WRIT_TRY(CreateKeyPair(keys.get(), "org", report));
  WRIT_TRY(CreateKeyPair(keys.get(), "plane", report));
  for (const char* name : {"secrets.key", "tokens.key"}) {
    std::string bytes = RandomBytes(kSymmetricKeyBytes);
    Secret key = Secret::Consume(bytes);
    WRIT_TRY(CreateOnce(keys.get(), name, std::string("keys/") + name, key.Reveal(), report));
  }
  WRIT_TRY(CreateOnce(root.get(), "policy.json", "policy.json", DefaultPolicy(), report));
  WRIT_TRY(CreateOnce(root.get(), "config.json", "config.json", DefaultConfig(), report));
  for (const char* name : {"plane", "plane/blobs", "plane/logs", "plane/tmp"}) {
    if (Exists(root.get(), name)) continue;
    WRIT_ASSIGN(UniqueFd made, MakeDirectoriesBeneath(root.get(), name, 0700));
    report.created.emplace_back(name);
  }
  return {};
}

}  // namespace

Result<InitReport> Init(const std::string& dir) {
  std::vector<std::string> folders;  // that are not there yet, the innermost first
  for (std::string at = dir + "/keys"; !Exists(AT_FDCWD, at); at.resize(at.rfind('/'))) {
    folders.push_back(at);
    if (at.rfind('/') == 0) break;
  }
  InitReport report;
  Status made = MakeAll(dir, report);
  if (made) return report;
  // Half of it would be taken for a plane's by the next call. (A folder with more in it stays.)
  for (auto it = report.created.rbegin(); it != report.created.rend(); ++it)
    (void)std::remove((dir + "/" + *it).c_str());
  for (const std::string& folder : folders) (void)::rmdir(folder.c_str());
  return std::move(made).error();
}

std::string DefaultPolicy() {
  using json::Array;
  using json::Object;
  using json::Value;
  Object policy{
      {"version", protocol::kPolicyVersion},
      {"runners", Object{{"allowPools", Array{"default"}}}},
      {"agents", Object{{"allow", Array{"claude-code", "codex", "pi", "mock", "command"}}}},
      {"dataClasses", Array{}},
      {"network", Object{{"defaultDeny", true}, {"allowHosts", Array{}}}},
      {"secrets", Object{{"releasable", Array{}}}},
      {"budget", Object{{"maxDurationMin", 60}}},
      {"consent", Array{}},
      {"retention", Object{{"receiptsDays", 365}, {"artifactsDays", 90}}},
  };
  return json::WritePretty(policy) + "\n";
}

PolicyVerdict CheckPolicy(std::string_view bytes) {
  PolicyVerdict verdict;
  auto value = json::Parse(bytes, {.max_depth = 16, .max_bytes = 4u << 20});
  if (!value) {
    verdict.issues.push_back({value.error().code, "", value.error().message});
    return verdict;
  }
  json::Issues issues;
  const auto policy = ReadPolicy(issues, *value);
  verdict.issues = issues.list();
  if (issues.empty()) verdict.policy_hash = policy.Hash().ToHex();
  return verdict;
}

}  // namespace writ::plane
