#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace::test {
namespace fs = std::filesystem;

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/wsXXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  // Others must be able to come through, for the tests with a job user of its own.
  if (::chmod(pattern.c_str(), 0755) != 0) std::abort();
  path_ = pattern;
}

TempDir::~TempDir() {
  std::size_t slash = path_.rfind('/');
  auto parent = OpenDirectory(path_.substr(0, slash));
  if (parent) (void)RemoveTreeBeneath(parent->get(), path_.substr(slash + 1));
}

std::string TempDir::Sub(const std::string& name) const {
  std::string path = path_ + "/" + name;
  fs::create_directories(path);
  return path;
}

ToolResult RunTool(const std::vector<std::string>& argv, const std::string& cwd,
                   const std::string& input, const std::vector<std::string>& env) {
  ToolResult result;
  auto in = MakePipe();
  auto out = MakePipe();
  auto err = MakePipe();
  if (!in || !out || !err) return result;
  SpawnOptions options;
  options.path = "/usr/bin/" + argv.front();
  options.argv = argv;
  options.env = {"PATH=/usr/bin:/bin",
                 "HOME=/nonexistent",
                 "LANG=C.UTF-8",
                 "GIT_CONFIG_NOSYSTEM=1",
                 "GIT_AUTHOR_NAME=t",
                 "GIT_AUTHOR_EMAIL=t@example.com",
                 "GIT_COMMITTER_NAME=t",
                 "GIT_COMMITTER_EMAIL=t@example.com",
                 "GIT_CONFIG_COUNT=2",
                 "GIT_CONFIG_KEY_0=init.defaultBranch",
                 "GIT_CONFIG_VALUE_0=main",
                 "GIT_CONFIG_KEY_1=safe.directory",
                 "GIT_CONFIG_VALUE_1=*"};
  options.env.insert(options.env.end(), env.begin(), env.end());
  options.cwd = cwd;
  options.fds = {{in->read_end.get(), 0}, {out->write_end.get(), 1}, {err->write_end.get(), 2}};
  auto child = Child::Spawn(options);
  if (!child) {
    result.err = child.error().ToString();
    return result;
  }
  in->read_end.reset();
  out->write_end.reset();
  err->write_end.reset();
  {
    std::jthread writer([&] {
      (void)WriteAll(in->write_end.get(), input);
      in->write_end.reset();
    });
    std::jthread errors([&] { result.err = ReadAll(err->read_end.get(), 1 << 30).value_or(""); });
    result.out = ReadAll(out->read_end.get(), std::uint64_t{1} << 32).value_or("");
  }
  auto status = child->Wait(std::nullopt);
  if (status && *status) result.code = (*status)->ShellCode();
  return result;
}

std::string Git(const std::string& cwd, const std::vector<std::string>& args,
                const std::string& input) {
  std::vector<std::string> argv{"git"};
  argv.insert(argv.end(), args.begin(), args.end());
  ToolResult result = RunTool(argv, cwd, input);
  EXPECT_EQ(result.code, 0) << "git " << args.front() << ": " << result.err;
  return result.out;
}

void WriteFileAt(const std::string& path, const std::string& bytes, int mode) {
  fs::create_directories(fs::path(path).parent_path());
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  ASSERT_TRUE(fd.valid()) << path;
  ASSERT_TRUE(WriteAll(fd.get(), bytes).has_value());
  ASSERT_EQ(::fchmod(fd.get(), static_cast<mode_t>(mode)), 0);
}

std::string ReadFileAt(const std::string& path) {
  return ReadFile(path, std::uint64_t{1} << 32).value_or("<cannot read " + path + ">");
}

void CommitAll(const std::string& path, const std::string& message) {
  Git(path, {"add", "-A"});
  Git(path, {"commit", "-q", "--allow-empty", "-m", message});
}

void MakeRepository(const std::string& path, const std::map<std::string, std::string>& files) {
  fs::create_directories(path);
  Git(path, {"init", "-q"});
  for (const auto& [name, bytes] : files) WriteFileAt(path + "/" + name, bytes);
  CommitAll(path, "first");
}

std::string BlobFolder::PathOf(const protocol::Digest& digest) const {
  return path_ + "/" + digest.ToHex();
}

protocol::Digest BlobFolder::Put(std::string_view bytes) {
  protocol::Digest digest = protocol::Sha256(bytes);
  WriteFileAt(PathOf(digest), std::string(bytes));
  return digest;
}

void BlobFolder::PutAll(const Captured& captured) {
  for (const CapturedBlob& blob : captured.blobs) {
    std::string bytes = blob.file.empty() ? blob.content : ReadFileAt(blob.file);
    EXPECT_EQ(bytes.size(), blob.bytes);
    EXPECT_EQ(Put(bytes).ToHex(), blob.digest.ToHex());
  }
}

BlobSource BlobFolder::Source() const {
  return [this](const protocol::Digest& digest) -> Result<UniqueFd> {
    UniqueFd fd(::open(PathOf(digest).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
      return Error{.kind = ErrorKind::kNotFound, .code = "blob.missing", .message = "no such blob"};
    return fd;
  };
}

protocol::Manifest ManifestOfHead(const std::string& repository, BlobFolder& blobs) {
  protocol::Manifest manifest;
  std::string head = Git(repository, {"rev-parse", "HEAD"});
  head.pop_back();
  manifest.base_ref = protocol::CommitId::Parse(head).value();
  manifest.bundle_hash = blobs.Put(Git(repository, {"bundle", "create", "-q", "-", "HEAD"}));
  return manifest;
}

RunPlace::RunPlace(const std::string& root, const std::string& cache_path) : tree(root + "/tree") {
  fs::create_directories(tree);
  fs::create_directories(root + "/trusted");
  tree_fd = OpenDirectory(tree).value();
  trusted_fd = OpenDirectory(root + "/trusted").value();
  cache = ObjectCache::Open(cache_path).value();
}

Result<Materialized> RunPlace::Materialize(const protocol::Manifest& manifest,
                                           const BlobFolder& blobs, std::optional<JobOwner> owner) {
  return workspace::Materialize({.manifest = &manifest,
                                 .blobs = blobs.Source(),
                                 .cache = cache.get(),
                                 .target = tree_fd.get(),
                                 .trusted = trusted_fd.get(),
                                 .owner = owner,
                                 .limits = {}});
}

Result<Collected> RunPlace::Collect(const Materialized& materialized, CollectOptions options) {
  options.materialized = &materialized;
  options.tree = tree_fd.get();
  return workspace::Collect(options);
}

std::map<std::string, std::string> Snapshot(const std::string& tree) {
  std::map<std::string, std::string> snapshot;
  std::vector<std::string> folders{""};
  while (!folders.empty()) {
    std::string folder = folders.back();
    folders.pop_back();
    DIR* stream = ::opendir((tree + "/" + folder).c_str());
    if (stream == nullptr) continue;
    while (dirent* entry = ::readdir(stream)) {
      std::string name = entry->d_name;
      if (name == "." || name == ".." || name == ".git") continue;
      std::string path = folder.empty() ? name : folder + "/" + name;
      std::string full = tree + "/" + path;
      struct stat st {};
      if (::lstat(full.c_str(), &st) != 0) continue;
      if (S_ISDIR(st.st_mode)) {
        folders.push_back(path);
      } else if (S_ISLNK(st.st_mode)) {
        char target[4097];
        ssize_t n = ::readlink(full.c_str(), target, sizeof target);
        snapshot[path] = "link " + std::string(target, n > 0 ? static_cast<std::size_t>(n) : 0);
      } else if (S_ISREG(st.st_mode)) {
        snapshot[path] = std::string((st.st_mode & 0100) != 0 ? "exec " : "file ") +
                         ObjectId::OfBlob(ReadFileAt(full)).Hex();
      }
    }
    ::closedir(stream);
  }
  return snapshot;
}

std::string Explain(const Error& error) {
  return error.code + ": " + error.ToString();
}

bool HasFinding(const std::vector<Finding>& findings, const std::string& code,
                const std::string& path) {
  for (const Finding& finding : findings)
    if (finding.code == code && (path.empty() || finding.path == path)) return true;
  return false;
}

}  // namespace writ::workspace::test
