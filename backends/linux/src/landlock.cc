#include "writ/backends/linux/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "writ/backends/linux/kernel_constants.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kMake = LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                LANDLOCK_ACCESS_FS_MAKE_SYM;
constexpr std::uint64_t kRemove = LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE;
constexpr std::uint64_t kFirstAbi = kRead | kMake | kRemove | LANDLOCK_ACCESS_FS_EXECUTE |
                                    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                    LANDLOCK_ACCESS_FS_MAKE_BLOCK;
// The rights that make sense for a file that is not a directory; the kernel refuses others
// (EINVAL).
constexpr std::uint64_t kFileRights = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                      LANDLOCK_ACCESS_FS_READ_FILE | kernel::kFsTruncate |
                                      kernel::kFsIoctlDev;

std::uint64_t HandledFs(int abi) {
  std::uint64_t handled = kFirstAbi;
  if (abi >= 2) handled |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) handled |= kernel::kFsTruncate;
  if (abi >= 5) handled |= kernel::kFsIoctlDev;
  return handled;
}

std::uint64_t RightsOf(PathAccess access) {
  switch (access) {
    case PathAccess::kRead:
      return kRead;
    case PathAccess::kReadExecute:
      return kRead | LANDLOCK_ACCESS_FS_EXECUTE;
    case PathAccess::kReadWrite:
      return kRead | kMake | kRemove | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
             LANDLOCK_ACCESS_FS_REFER | kernel::kFsTruncate;
    case PathAccess::kDevice:
      return LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kernel::kFsTruncate |
             kernel::kFsIoctlDev;
  }
  return 0;
}

Status AddPath(int ruleset, const LandlockPath& rule, std::uint64_t handled) {
  UniqueFd path(::open(rule.path.c_str(), O_PATH | O_CLOEXEC));
  if (!path) {
    if (errno == ENOENT && rule.if_missing == IfMissing::kSkip) return {};
    return SysError(errno, "landlock.path", "cannot open " + rule.path + " for a file rule");
  }
  struct stat st {};
  if (::fstat(path.get(), &st) != 0)
    return SysError(errno, "landlock.path", "cannot stat " + rule.path);
  landlock_path_beneath_attr attr{};
  attr.parent_fd = path.get();
  attr.allowed_access = RightsOf(rule.access) & handled;
  if (!S_ISDIR(st.st_mode)) attr.allowed_access &= kFileRights;
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) != 0)
    return SysError(errno, "landlock.rule", "cannot add a file rule for " + rule.path);
  return {};
}

}  // namespace

int LandlockAbi() {
  long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

Result<UniqueFd> MakeLandlockRuleset(const LandlockRules& rules) {
  kernel::LandlockRulesetAttr attr{};
  attr.handled_access_fs = HandledFs(rules.abi);
  std::size_t size = sizeof attr.handled_access_fs;
  const bool governs_tcp = rules.tcp == TcpRules::kOnlyConnectPort;
  if (rules.abi >= 4) {
    if (governs_tcp) attr.handled_access_net = kernel::kNetBindTcp | kernel::kNetConnectTcp;
    size += sizeof attr.handled_access_net;
  }
  if (rules.abi >= 6) {
    attr.scoped = kernel::kScopeAbstractUnixSocket | kernel::kScopeSignal;
    size += sizeof attr.scoped;
  }
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, size, 0)));
  if (!ruleset) return SysError(errno, "landlock.ruleset", "cannot make a Landlock ruleset");
  for (const LandlockPath& rule : rules.paths)
    WRIT_TRY(AddPath(ruleset.get(), rule, attr.handled_access_fs));
  if (rules.abi >= 4 && governs_tcp && rules.connect_port) {
    kernel::LandlockNetPortAttr port{kernel::kNetConnectTcp, *rules.connect_port};
    if (::syscall(SYS_landlock_add_rule, ruleset.get(), kernel::kRuleNetPort, &port, 0) != 0)
      return SysError(errno, "landlock.rule", "cannot add the rule for the proxy's port");
  }
  return ruleset;
}

int LandlockRestrictSelf(int ruleset) {
  return ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0 ? 0 : errno;
}

}  // namespace writ::backends
