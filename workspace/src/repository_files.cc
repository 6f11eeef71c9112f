#include "repository_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::workspace {
namespace {

constexpr std::uint64_t kMostPackedRefs = std::uint64_t{256} << 20;

Error Refuse(std::string code, std::string message, std::string hint,
             ErrorKind kind = ErrorKind::kInvalid) {
  return Error{.kind = kind,
               .code = "workspace." + std::move(code),
               .message = std::move(message),
               .hint = std::move(hint)};
}

bool IsDirectory(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

bool IsFile(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

bool LooksLikeGitDir(const std::string& path) {
  return IsFile(path + "/HEAD") &&
         ((IsDirectory(path + "/objects") && IsDirectory(path + "/refs")) ||
          IsFile(path + "/commondir"));
}

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  return text;
}

Result<std::string> RealPath(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr)
    return SysError(errno, "workspace.unreadable", "cannot find the path " + path);
  return std::string(resolved);
}

// Where a ".git" file or a "commondir" file leads.
Result<std::string> FollowPointer(const std::string& file, std::string_view prefix,
                                  const std::string& relative_to) {
  WRIT_ASSIGN(std::string text, ReadFile(file, 64 * 1024));
  text = Trimmed(std::move(text));
  if (!text.starts_with(prefix))
    return Refuse("not_a_repository", "the file " + file + " does not lead to a repository", "");
  text.erase(0, prefix.size());
  return RealPath(text.starts_with('/') ? text : relative_to + "/" + text);
}

// What is there and closed to us is told as that, not as absent.
Status CheckReadable(const std::string& folder) {
  if (::access(folder.c_str(), R_OK | X_OK) == 0 || errno == ENOENT || errno == ENOTDIR) return {};
  return SysError(errno, "workspace.unreadable", "cannot read " + folder);
}

// Looks upwards from `start` for a checkout.
Result<RepositoryFiles> Locate(const std::string& start) {
  RepositoryFiles found;
  std::string headless;
  for (std::string at = start;;) {
    std::string dot_git = at == "/" ? "/.git" : at + "/.git";
    if (LooksLikeGitDir(dot_git)) {
      found.root = at;
      found.git_dir = dot_git;
      return found;
    }
    if (IsFile(dot_git)) {
      found.root = at;
      WRIT_ASSIGN(found.git_dir, FollowPointer(dot_git, "gitdir: ", at));
      return found;
    }
    WRIT_TRY(CheckReadable(dot_git));
    if (headless.empty() && IsDirectory(dot_git + "/objects") && IsDirectory(dot_git + "/refs"))
      headless = dot_git;
    if (LooksLikeGitDir(at))
      return Refuse("bare", at + " is a bare repository", "name a checkout of it");
    if (at == "/" && !headless.empty())
      return Refuse("no_head", headless + " has no HEAD, so git takes it for no repository",
                    "put HEAD back, with the branch that was checked out: echo 'ref: "
                    "refs/heads/BRANCH' > " +
                        headless + "/HEAD");
    if (at == "/")
      return Refuse("not_a_repository", start + " is not in a git repository",
                    "run it in a checkout, or name one with --repo");
    at = at.substr(0, std::max<std::size_t>(at.rfind('/'), 1));
  }
}

// A pack from a partial clone has a ".promisor" file beside it.
bool HasPromisorPack(const std::string& folder) {
  DIR* stream = ::opendir(folder.c_str());
  if (stream == nullptr) return false;
  bool found = false;
  while (dirent* entry = ::readdir(stream))
    found = found || std::string_view(entry->d_name).ends_with(".promisor");
  ::closedir(stream);
  return found;
}

using Config = GitPtr<git_config, git_config_free>;

std::string ConfigText(git_config* config, const char* name) {
  git_buf value = GIT_BUF_INIT;
  std::string text;
  if (::git_config_get_string_buf(&value, config, name) == 0) text = value.ptr;
  ::git_buf_dispose(&value);
  return text;
}

Status CheckConfig(RepositoryFiles& repository, bool is_linked) {
  Config config;
  if (::git_config_open_ondisk(config.out(), (repository.common_dir + "/config").c_str()) != 0)
    return GitError(ErrorKind::kInvalid, "workspace.unreadable",
                    "the repository's configuration cannot be read");
  int flag = 0;
  if (::git_config_get_bool(&flag, config.get(), "core.bare") == 0 && flag != 0 && !is_linked)
    return Refuse("bare", repository.root + " is a bare repository", "name a checkout of it");
  std::string format = ConfigText(config.get(), "extensions.objectformat");
  if (!format.empty() && format != "sha1")
    return Refuse("sha256", "the repository uses " + format + " object ids",
                  "only SHA-1 repositories are supported", ErrorKind::kUnsupported);
  std::string storage = ConfigText(config.get(), "extensions.refstorage");
  if (!storage.empty() && storage != "files")
    return Refuse("reftable", "the repository keeps its refs as " + storage,
                  "only the files format is supported", ErrorKind::kUnsupported);
  if (!ConfigText(config.get(), "extensions.partialclone").empty() ||
      HasPromisorPack(repository.common_dir + "/objects/pack"))
    return Refuse("partial_clone", "the repository is a partial clone, so objects may be missing",
                  "use a complete clone", ErrorKind::kUnsupported);
  if (!is_linked && !ConfigText(config.get(), "core.worktree").empty())
    return Refuse("not_a_repository", "the repository keeps its checkout elsewhere (core.worktree)",
                  "name the checkout itself", ErrorKind::kUnsupported);
  if (::git_config_get_bool(&flag, config.get(), "core.filemode") == 0)
    repository.trust_file_mode = flag != 0;
  return {};
}

bool IsSafeRefName(std::string_view name) {
  return (name == "HEAD" || name.starts_with("refs/")) && IsSafeRelativePath(name) &&
         name.find("..") == std::string_view::npos;
}

// Whether there is a commit to switch to.
bool HasAnyRef(const std::string& common_dir) {
  auto packed = ReadFile(common_dir + "/packed-refs", kMostPackedRefs);
  if (packed && packed->find(" refs/") != std::string::npos) return true;
  std::error_code none;
  std::filesystem::recursive_directory_iterator at(common_dir + "/refs", none), end;
  for (; !none && at != end; at.increment(none)) {
    auto text = at->is_regular_file(none) ? ReadFile(at->path(), 4096) : Result<std::string>("");
    if (text && ObjectId::FromHex(Trimmed(*text))) return true;
  }
  return false;
}

Status ResolveHead(RepositoryFiles& repository) {
  std::string name = "HEAD";
  for (int step = 0; step < 6; ++step) {
    std::string path = (name == "HEAD" ? repository.git_dir : repository.common_dir) + "/" + name;
    auto text = ReadFile(path, 4096);
    if (text && text->starts_with("ref: ")) {
      name = Trimmed(text->substr(5));
      if (!IsSafeRefName(name))
        return Refuse("no_head", "HEAD leads to a ref with a name that is refused",
                      "check a branch out whose name `git check-ref-format` takes");
      repository.branch = name;
      continue;
    }
    std::optional<ObjectId> id;
    if (text) id = ObjectId::FromHex(Trimmed(*text));
    if (!id && name != "HEAD") {
      WRIT_ASSIGN(id, ReadRef(repository, name));
    }
    if (!id && name == "HEAD")
      return Refuse("no_head", "HEAD of the repository is damaged: it names neither ref nor commit",
                    "`git status` tells what is wrong; check a branch out");
    if (!id && HasAnyRef(repository.common_dir))
      return Refuse("no_head",
                    "HEAD names the branch " +
                        (name.starts_with("refs/heads/") ? name.substr(11) : name) +
                        ", which is not there",
                    "switch to one that is: `git branch --all` lists them");
    if (!id)
      return Refuse("no_head", "the repository has no commit yet (HEAD leads to nothing)",
                    "make a first commit");
    repository.head = *id;
    return {};
  }
  return Refuse("no_head", "HEAD leads round in a circle",
                "check a branch out, or a commit with git checkout --detach");
}

// Objects in all packs of a folder: what git bases its abbreviations on.
std::size_t CountPacked(const std::string& objects) {
  std::size_t count = 0;
  DIR* stream = ::opendir((objects + "/pack").c_str());
  if (stream == nullptr) return 0;
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (!name.ends_with(".idx")) continue;
    UniqueFd fd(::openat(::dirfd(stream), entry->d_name, O_RDONLY | O_CLOEXEC));
    unsigned char head[8 + 1024] = {};
    if (!fd || ::pread(fd.get(), head, sizeof head, 0) != static_cast<ssize_t>(sizeof head))
      continue;
    const unsigned char* last = head + (head[0] == 0xff ? 8 : 0) + 1020;
    count += std::size_t{last[0]} << 24 | std::size_t{last[1]} << 16 | std::size_t{last[2]} << 8 |
             last[3];
  }
  ::closedir(stream);
  return count;
}

git_oid ToOid(const ObjectId& id) {
  git_oid oid;
  std::memcpy(oid.id, id.bytes.data(), 20);
  return oid;
}

}  // namespace

Result<RepositoryFiles> FindRepository(const std::string& path) {
  GitLibrary library;
  WRIT_ASSIGN(std::string start, RealPath(path.empty() ? "." : path));
  if (!IsDirectory(start))
    return Refuse("not_a_repository", start + " is not a folder", "name a folder of a checkout");
  WRIT_ASSIGN(RepositoryFiles repository, Locate(start));
  repository.common_dir = repository.git_dir;
  if (IsFile(repository.git_dir + "/commondir")) {
    WRIT_ASSIGN(repository.common_dir,
                FollowPointer(repository.git_dir + "/commondir", "", repository.git_dir));
  }
  bool is_linked = repository.git_dir != repository.root + "/.git";
  WRIT_TRY(CheckConfig(repository, is_linked));
  struct stat st {};
  if (::stat((repository.common_dir + "/shallow").c_str(), &st) == 0 && st.st_size > 0)
    return Refuse("shallow", "the repository is a shallow clone, so its history is not complete",
                  "run `git fetch --unshallow` first");
  WRIT_TRY(ResolveHead(repository));
  return repository;
}

Result<std::optional<ObjectId>> ReadRef(const RepositoryFiles& repository,
                                        const std::string& name) {
  if (!IsSafeRefName(name)) return std::optional<ObjectId>();
  auto loose = ReadFile(repository.common_dir + "/" + name, 4096);
  if (loose)
    if (auto id = ObjectId::FromHex(Trimmed(*loose))) return std::optional(*id);
  auto packed = ReadFile(repository.common_dir + "/packed-refs", kMostPackedRefs);
  if (!packed) return std::optional<ObjectId>();
  std::string_view text = *packed;
  while (!text.empty()) {
    std::size_t end = std::min(text.find('\n'), text.size() - 1);
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.size() > 41 && line[40] == ' ' && line.substr(41) == name)
      return std::optional<ObjectId>(ObjectId::FromHex(line.substr(0, 40)));
  }
  return std::optional<ObjectId>();
}

Result<std::unique_ptr<OdbSource>> OdbSource::Open(const RepositoryFiles& repository) {
  auto source = std::make_unique<OdbSource>();
  std::string objects = repository.common_dir + "/objects";
  WRIT_TRY(CheckReadable(objects));
  if (::git_odb_open(source->odb_.out(), objects.c_str()) != 0)
    return GitError(ErrorKind::kInvalid, "workspace.unreadable",
                    "the repository's objects cannot be read");
  std::size_t count = CountPacked(objects);
  if (auto alternates = ReadFile(objects + "/info/alternates", 1 << 20)) {
    std::string_view text = *alternates;
    while (!text.empty()) {
      std::string line(text.substr(0, text.find('\n')));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      if (!line.empty()) count += CountPacked(line.front() == '/' ? line : objects + "/" + line);
    }
  }
  source->default_abbreviation_ = DefaultAbbreviation(count);
  return source;
}

Result<GitObject> OdbSource::Read(const ObjectId& id) const {
  git_oid oid = ToOid(id);
  GitPtr<git_odb_object, git_odb_object_free> object;
  int rc = ::git_odb_read(object.out(), odb_.get(), &oid);
  if (rc == GIT_ENOTFOUND)
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "workspace.object_missing",
                 .message = "object " + id.Hex() + " is not in the repository"};
  if (rc != 0)
    return GitError(ErrorKind::kIntegrity, "workspace.object_damaged",
                    "object " + id.Hex() + " is damaged");
  GitObject out;
  switch (::git_odb_object_type(object.get())) {
    case GIT_OBJECT_COMMIT:
      out.type = ObjectType::kCommit;
      break;
    case GIT_OBJECT_TREE:
      out.type = ObjectType::kTree;
      break;
    case GIT_OBJECT_TAG:
      out.type = ObjectType::kTag;
      break;
    default:
      out.type = ObjectType::kBlob;
  }
  out.content.assign(static_cast<const char*>(::git_odb_object_data(object.get())),
                     ::git_odb_object_size(object.get()));
  return out;
}

bool OdbSource::Has(const ObjectId& id) const {
  git_oid oid = ToOid(id);
  return ::git_odb_exists(odb_.get(), &oid) == 1;
}

std::size_t OdbSource::AbbreviationOf(const ObjectId& id) const {
  git_oid oid = ToOid(id);
  for (std::size_t length = default_abbreviation_; length < 40; ++length) {
    git_oid found;
    int rc = ::git_odb_exists_prefix(&found, odb_.get(), &oid, length);
    if (rc == GIT_ENOTFOUND || (rc == 0 && std::memcmp(found.id, oid.id, 20) == 0)) return length;
  }
  return 40;
}

Result<ObjectId> OdbSource::Write(ObjectType type, std::string_view content) {
  ObjectId id = ObjectId::OfObject(ObjectTypeName(type), content);
  if (Has(id)) return id;
  git_object_t git_type = type == ObjectType::kCommit ? GIT_OBJECT_COMMIT
                          : type == ObjectType::kTree ? GIT_OBJECT_TREE
                          : type == ObjectType::kTag  ? GIT_OBJECT_TAG
                                                      : GIT_OBJECT_BLOB;
  git_oid out;
  if (::git_odb_write(&out, odb_.get(), content.data(), content.size(), git_type) != 0)
    return GitError(ErrorKind::kUnavailable, "workspace.write_failed",
                    "cannot write an object into the repository");
  return id;
}

}  // namespace writ::workspace
