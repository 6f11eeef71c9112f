#include "home.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "settings.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/runner/own_modes.h"

namespace writ::cli {

std::string AbsolutePath(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

namespace {

// A device, a pipe, a socket: it takes the bytes and is never replaced (a root's `--out /dev/null`
// would take the device away).
bool IsNoFile(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

Status WriteInto(const std::string& path, std::string_view bytes) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return SysError(errno, "file.open_failed", "cannot open it for writing");
  return WriteAll(fd.get(), bytes);
}

// A link is written through, as by a shell's `>`.
Status WriteWhole(const std::string& path, std::string_view bytes) {
  std::error_code none;
  const std::string real = std::filesystem::weakly_canonical(path, none).string();
  const std::string& target = none ? path : real;
  const std::size_t slash = target.rfind('/');
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(slash == 0 ? "/" : target.substr(0, slash)));
  return WriteFileAtomic(dir.get(), target.substr(slash + 1), bytes, 0644);
}

}  // namespace

Status WriteOutput(const std::string& absolute, std::string_view bytes) {
  Status done = IsNoFile(absolute) ? WriteInto(absolute, bytes) : WriteWhole(absolute, bytes);
  if (done) return {};
  Error error = std::move(done).error().With("writing " + absolute);
  if (error.sys_errno != ENOSPC && error.sys_errno != EDQUOT) error.kind = ErrorKind::kInvalid;
  return error;
}

std::string RealDir(const std::string& path) {
  const std::string absolute = AbsolutePath(path);
  std::error_code error;
  const std::filesystem::path real = std::filesystem::weakly_canonical(absolute, error);
  return error ? absolute : real.string();  // whoever opens it says what is wrong
}

Result<std::string> DefaultDir() {
  auto env = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  if (std::string dir = env("WRIT_DIR"); !dir.empty()) return RealDir(dir);
  if (::geteuid() == 0) return RealDir("/var/lib/writ");
  if (std::string data = env("XDG_DATA_HOME"); !data.empty() && data.front() == '/')
    return RealDir(data + "/writ");
  std::string home = env("HOME");
  if (home.empty()) {
    if (const passwd* entry = ::getpwuid(::geteuid()); entry != nullptr) home = entry->pw_dir;
  }
  if (home.empty() || home.front() != '/')
    return Error{ErrorKind::kInvalid, "cli.no_home", "there is no home directory to keep state in",
                 "name one with --dir or WRIT_DIR"};
  return RealDir(home + "/.local/share/writ");
}

Result<Programs> FindPrograms() {
  char self[PATH_MAX];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return SysError(errno, "cli.no_self", "cannot tell where this program is");
  std::filesystem::path here =
      std::filesystem::path(std::string(self, static_cast<std::size_t>(n))).parent_path();
  for (const std::filesystem::path& folder : {here, here.parent_path() / "libexec" / "writ"}) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder / "writ-launch", ignored)) continue;
    return Programs{(folder / "writ-launch").string(),      (folder / "writ-egress-proxy").string(),
                    (folder / "writ-mock-agent").string(),  (folder / "writ-vm").string(),
                    (folder / "writ-guest-agent").string(), (folder / "writ-pages").string(),
                    (folder / "libwrit-uffd.so").string()};
  }
  return Error{ErrorKind::kNotFound, "cli.program_missing",
               "writ-launch is neither beside this program nor in ../libexec/writ",
               "build all targets, or install with cmake --install"};
}

Error ExplainDirError(Error error, const std::string& dir) {
  if (error.sys_errno == EACCES || error.sys_errno == EPERM || error.sys_errno == EROFS) {
    const bool read_only = error.sys_errno == EROFS;
    error.kind = ErrorKind::kDenied;
    error.code = read_only ? "cli.dir_read_only" : "cli.dir_unreadable";
    error.message = "the state directory " + dir +
                    (read_only ? " cannot be written" : " is not yours to read and write");
    error.hint = read_only ? "name another directory with --dir"
                           : "use the account that it belongs to, or name a directory of your own "
                             "with --dir";
  } else if (error.sys_errno == ENOTDIR || error.sys_errno == ELOOP ||
             error.sys_errno == ENAMETOOLONG) {
    error.kind = ErrorKind::kInvalid;
    error.code = "cli.dir_impossible";
    error.message = "the state directory " + dir + " cannot be one: a part of its path is none";
    error.hint = "name another directory with --dir";
  } else if (error.code == "plane.not_initialized") {
    error.message = "there is no plane in " + dir;
    error.sys_errno = 0;
    error.hint = "make one with `writ init`, or name another directory with --dir";
  } else if (error.code == "store.full") {
    error.message = "the disk of the state directory " + dir + " is full";
    error.hint = "make room on it; reading the plane's state needs a little of it too";
  } else if (error.sys_errno == ENOSPC || error.sys_errno == EDQUOT) {
    error.code = "cli.dir_full";
    error.message = "there is no room for the state directory " + dir;
    error.hint = "make room on its disk, or name another directory with --dir";
  }
  return error;
}

std::string ShellWord(std::string_view word) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=@%+,";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(word);
  std::string out = "'";
  for (char c : word) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

Result<PlaneSettings> ReadPlaneSettings(const std::string& dir, std::vector<FlagSetting> flags) {
  Sources sources;
  sources.environment = CurrentEnvironment();
  sources.flags = std::move(flags);
  // Without a file there is no plane, which Plane::Open says.
  if (auto text = ReadFile(dir + "/config.json", 1 << 20)) {
    sources.file = dir + "/config.json";
    sources.text = std::move(*text);
  } else if (text.error().kind != ErrorKind::kNotFound) {
    return ExplainDirError(std::move(text).error(), dir);
  }
  return ParsePlaneSettings(sources);
}

Result<std::unique_ptr<plane::Plane>> OpenPlane(const std::string& dir, const Clock& clock) {
  if (::geteuid() != 0) {
    for (const std::string& path : runner::MendOwnModes(dir))
      log::Warn("cli.mode_mended", "a mode that was taken away from us was set back",
                {{"path", path}});
  }
  auto settings = ReadPlaneSettings(dir, {});
  if (!settings) return std::move(settings).error();
  auto opened = plane::Plane::Open(plane::PlaneOptions{dir, settings->config}, clock);
  if (!opened) return ExplainDirError(std::move(opened).error(), dir);
  return opened;
}

std::string LocalUser() {
  std::string name = "uid-" + std::to_string(::geteuid());
  if (const passwd* entry = ::getpwuid(::geteuid()); entry != nullptr) name = entry->pw_name;
  char host[HOST_NAME_MAX + 1] = {};
  if (::gethostname(host, sizeof host - 1) == 0 && host[0] != '\0') name += std::string("@") + host;
  return name;
}

}  // namespace writ::cli
