#include "repository_owner.h"

#include <git2.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <vector>

#include "git_library.h"

namespace writ::workspace {
namespace {

std::string UserName(uid_t uid) {
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  const std::string number = "uid " + std::to_string(uid);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return number;
  return std::string(found->pw_name) + " (" + number + ")";
}

struct SafeSearch {
  const std::string& root;
  bool named = false;
};

// As git reads it: the last that matters wins, an empty one forgets those before it.
int LookAtSafeDirectory(const git_config_entry* entry, void* payload) {
  auto& search = *static_cast<SafeSearch*>(payload);
  std::string value = entry->value != nullptr ? entry->value : "";
  if (value.empty()) {
    search.named = false;
    return 0;
  }
  if (value.starts_with("~/"))
    if (const char* home = std::getenv("HOME"); home != nullptr) value = home + value.substr(1);
  char resolved[PATH_MAX];
  if (value != "*" && ::realpath(value.c_str(), resolved) != nullptr) value = resolved;
  search.named = search.named || value == "*" || value == search.root;
  return 0;
}

using Config = GitPtr<git_config, git_config_free>;

void SearchIn(git_config* config, SafeSearch& search) {
  (void)::git_config_get_multivar_foreach(config, "safe.directory", nullptr, LookAtSafeDirectory,
                                          &search);
}

// By the reader's own and the system's configuration, never by the repository's. libgit2 does not
// know the variable that has git read another file as the reader's own.
bool IsNamedSafe(const std::string& root) {
  GitLibrary library;
  SafeSearch search{root};
  Config usual;
  if (::git_config_open_default(usual.out()) != 0) return false;
  const char* other = std::getenv("GIT_CONFIG_GLOBAL");
  if (other == nullptr) {
    SearchIn(usual.get(), search);
    return search.named;
  }
  Config system, own;
  if (::git_config_open_level(system.out(), usual.get(), GIT_CONFIG_LEVEL_SYSTEM) == 0)
    SearchIn(system.get(), search);
  if (*other != '\0' && ::git_config_open_ondisk(own.out(), other) == 0)
    SearchIn(own.get(), search);
  return search.named;
}

}  // namespace

Result<std::optional<Finding>> CheckOwner(const RepositoryFiles& repository) {
  const uid_t reader = ::geteuid();
  for (const std::string& path :
       {repository.root, repository.root + "/.git", repository.git_dir, repository.common_dir}) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0)
      return SysError(errno, "workspace.unreadable", "cannot look at " + path);
    if (st.st_uid == reader || IsNamedSafe(repository.root)) continue;
    const std::string sentence = "the repository " + repository.root + " belongs to " +
                                 UserName(st.st_uid) + ", and you are " + UserName(reader);
    if (reader == 0) return std::optional(Finding{"workspace.other_owner", "", sentence});
    return Error{.kind = ErrorKind::kDenied,
                 .code = "workspace.other_owner",
                 .message = sentence,
                 .hint =
                     "clone it, or where you trust its owner: git config --global --add "
                     "safe.directory '" +
                     repository.root + "'"};
  }
  return std::optional<Finding>();
}

}  // namespace writ::workspace
