#include "writ/backends/job/private_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

// A git identity and trust in the workspace, which may belong to another uid (base environment).
constexpr std::string_view kGitConfig =
    "[user]\n\tname = Writ Job\n\temail = job@writ.invalid\n[safe]\n\tdirectory = "
    "*\n[init]\n\tdefaultBranch = main\n";

bool May(const struct stat& st, const Identity& identity, mode_t bit) {
  if (st.st_uid == identity.uid) return (st.st_mode & (bit << 6)) != 0;
  if (st.st_gid == identity.gid) return (st.st_mode & (bit << 3)) != 0;
  return (st.st_mode & bit) != 0;
}

Status Give(int fd, const Identity& identity) {
  if (::geteuid() != 0) return {};
  if (::fchown(fd, identity.uid, identity.gid) != 0)
    return SysError(errno, "job.chown", "cannot give a private directory to the job");
  return {};
}

Status MakeOwnDirectory(int parent, const std::string& name, const Identity& identity) {
  if (::mkdirat(parent, name.c_str(), 0700) != 0) {
    Error error = SysError(errno, "job.private_dir", "cannot make the private directory " + name);
    if (error.sys_errno == EEXIST) error.kind = ErrorKind::kConflict;
    return error;
  }
  WRIT_ASSIGN(UniqueFd fd, OpenBeneath(parent, name, O_RDONLY | O_DIRECTORY));
  return Give(fd.get(), identity);
}

// Every directory on the way to a relative path, made where missing and given to the job.
Status MakeHomeDirectory(int home, const std::string& path, const Identity& identity) {
  for (std::size_t at = path.find('/');; at = path.find('/', at + 1)) {
    std::string prefix = path.substr(0, at);
    auto parent_end = prefix.rfind('/');
    UniqueFd parent;
    if (parent_end != std::string::npos) {
      WRIT_ASSIGN(parent, OpenBeneath(home, prefix.substr(0, parent_end), O_RDONLY | O_DIRECTORY));
    }
    std::string name = parent_end == std::string::npos ? prefix : prefix.substr(parent_end + 1);
    Status made = MakeOwnDirectory(parent ? parent.get() : home, name, identity);
    if (!made && made.error().kind != ErrorKind::kConflict) return made;
    if (at == std::string::npos) return {};
  }
}

Status WriteHomeFile(int home, const HomeFile& file, const Identity& identity) {
  if (auto slash = file.path.rfind('/'); slash != std::string::npos)
    WRIT_TRY(MakeHomeDirectory(home, file.path.substr(0, slash), identity));
  WRIT_ASSIGN(UniqueFd fd,
              OpenBeneath(home, file.path, O_WRONLY | O_CREAT | O_EXCL, file.mode & 0777));
  WRIT_TRY(WriteAll(fd.get(), file.bytes));
  return Give(fd.get(), identity);
}

}  // namespace

Status CheckReachable(const std::string& path, const Identity& identity) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at);
    std::string prefix = path.substr(0, at);
    if (at != std::string::npos) ++at;
    struct stat st {};
    if (::lstat(prefix.c_str(), &st) != 0)
      return SysError(errno, "job.path_missing", "cannot look at " + prefix);
    if (S_ISLNK(st.st_mode))
      return Error{ErrorKind::kInvalid, "job.path_is_link",
                   "the path " + path + " of the plan leads through the symbolic link " + prefix,
                   "name the place that it leads to"};
    if (S_ISDIR(st.st_mode) && !May(st, identity, 01))
      return Error{
          ErrorKind::kUnsupported, "job.path_unreachable",
          "the job's uid " + std::to_string(identity.uid) + " may not enter " + prefix,
          "keep the runner's state where every directory above it can be searched (mode 0711), as "
          "/var/lib/writ is"};
  }
  return {};
}

Status CheckWritableDirectory(const std::string& path, const Identity& identity) {
  WRIT_TRY(CheckReachable(path, identity));
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0)
    return SysError(errno, "job.path_missing", "cannot look at " + path);
  if (!S_ISDIR(st.st_mode) || !May(st, identity, 02))
    return Error{ErrorKind::kInvalid, "job.workspace_not_writable",
                 path + " is not a directory that the job's uid may write"};
  return {};
}

Status GiveDirectory(const std::string& path, const Identity& identity) {
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(path));
  WRIT_TRY(Give(dir.get(), identity));
  return CheckWritableDirectory(path, identity);
}

std::vector<HomeFile> HomeFilesOf(const Plan& plan) {
  std::vector<HomeFile> files = plan.home_files;
  if (std::none_of(files.begin(), files.end(),
                   [](const HomeFile& f) { return f.path == ".gitconfig"; }))
    files.push_back(HomeFile{".gitconfig", std::string(kGitConfig), 0644});
  return files;
}

Status MakePrivateDirs(int session_dir, const Plan& plan, HomePlace place) {
  WRIT_TRY(MakeOwnDirectory(session_dir, kTmpName, plan.identity));
  if (place == HomePlace::kInTheView) return {};
  WRIT_TRY(MakeOwnDirectory(session_dir, kHomeName, plan.identity));
  WRIT_ASSIGN(UniqueFd home, OpenBeneath(session_dir, kHomeName, O_RDONLY | O_DIRECTORY));
  for (const std::string& dir : plan.home_directories)
    WRIT_TRY(MakeHomeDirectory(home.get(), dir, plan.identity));
  for (const HomeFile& file : HomeFilesOf(plan))
    WRIT_TRY(WriteHomeFile(home.get(), file, plan.identity));
  return {};
}

std::vector<std::string> RemovePrivateDirs(int session_dir) {
  std::vector<std::string> errors;
  for (const char* name : {kHomeName, kTmpName}) {
    Status removed = RemoveTreeBeneath(session_dir, name);
    struct stat st {};
    const int looked = ::fstatat(session_dir, name, &st, AT_SYMLINK_NOFOLLOW);
    if (looked != 0 && errno == ENOENT) continue;  // gone, whatever removing it said
    errors.push_back(std::string(name) + ": " +
                     (removed ? "is still there" : removed.error().ToString()));
  }
  return errors;
}

}  // namespace writ::backends
