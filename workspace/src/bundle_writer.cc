#include "bundle_writer.h"

#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "input_state.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/bundle.h"

namespace writ::workspace {
namespace {

// What is remembered of a kept bundle: "<digest> <bytes> <inode> <mtime>".
std::string RecordOf(const protocol::Digest& digest, const struct stat& st) {
  FileStamp stamp = FileStamp::Of(st);
  return digest.ToHex() + " " + std::to_string(stamp.size) + " " + std::to_string(stamp.inode) +
         " " + std::to_string(stamp.mtime_ns) + "\n";
}

std::optional<BundleFile> FindKept(int cache, const std::string& cache_path,
                                   const std::string& name) {
  auto record = ReadFile(cache_path + "/" + name + ".record", 4096);
  struct stat st {};
  if (!record || record->size() < 64 ||
      ::fstatat(cache, (name + ".bundle").c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return std::nullopt;
  auto digest = protocol::Digest::Parse(record->substr(0, 64));
  if (!digest || *record != RecordOf(*digest, st)) return std::nullopt;
  return BundleFile{cache_path + "/" + name + ".bundle", *digest,
                    static_cast<std::uint64_t>(st.st_size), 0, true};
}

// Writes and hashes at once.
struct Sink {
  int fd = -1;
  protocol::Sha256Hasher hasher;
  std::uint64_t bytes = 0;
  std::string buffer;
  std::optional<Error> error;

  void Take(std::string_view piece) {
    buffer.append(piece);
    if (buffer.size() >= 1 << 18) Flush();
  }
  void Flush() {
    hasher.Update(buffer);
    bytes += buffer.size();
    if (Status written = WriteAll(fd, buffer); !written && !error) error = written.error();
    buffer.clear();
  }
};

int OnPiece(void* buf, size_t size, void* payload) {
  auto& sink = *static_cast<Sink*>(payload);
  sink.Take({static_cast<const char*>(buf), size});
  return sink.error ? -1 : 0;
}

int OnProgress(int stage, uint32_t current, uint32_t total, void* payload) {
  const auto& progress = *static_cast<const CaptureProgress*>(payload);
  if (progress)
    progress(stage == GIT_PACKBUILDER_ADDING_OBJECTS ? "collecting objects" : "packing objects",
             current, total);
  return 0;
}

using Repository = GitPtr<git_repository, git_repository_free>;
using PackBuilder = GitPtr<git_packbuilder, git_packbuilder_free>;
using RevWalk = GitPtr<git_revwalk, git_revwalk_free>;

Error PackError(const char* what) {
  return GitError(ErrorKind::kInvalid, "workspace.history_incomplete", what);
}

Status BuildPack(const RepositoryFiles& repository, const OdbSource& objects, Sink& sink,
                 std::size_t& commits, const CaptureProgress& progress) {
  Repository wrapped;
  PackBuilder builder;
  RevWalk walk;
  if (::git_repository_wrap_odb(wrapped.out(), objects.raw()) != 0 ||
      ::git_packbuilder_new(builder.out(), wrapped.get()) != 0 ||
      ::git_revwalk_new(walk.out(), wrapped.get()) != 0)
    return GitError(ErrorKind::kInternal, "workspace.pack_failed", "cannot start a pack");
  ::git_packbuilder_set_threads(builder.get(), 1);
  ::git_packbuilder_set_callbacks(builder.get(), OnProgress,
                                  const_cast<CaptureProgress*>(&progress));
  git_oid head;
  std::memcpy(head.id, repository.head.bytes.data(), 20);
  ::git_revwalk_sorting(walk.get(), GIT_SORT_TOPOLOGICAL | GIT_SORT_TIME);
  if (::git_revwalk_push(walk.get(), &head) != 0) return PackError("HEAD's commit cannot be read");
  git_oid id;
  int rc = 0;
  while ((rc = ::git_revwalk_next(&id, walk.get())) == 0) {
    ++commits;
    if (::git_packbuilder_insert_commit(builder.get(), &id) != 0)
      return PackError("an object of the history cannot be read");
  }
  if (rc != GIT_ITEROVER) return PackError("the history cannot be read to its start");
  if (::git_packbuilder_foreach(builder.get(), OnPiece, &sink) != 0) {
    if (sink.error) return *sink.error;
    return PackError("an object of the history cannot be read");
  }
  sink.Flush();
  if (sink.error) return *sink.error;
  return {};
}

}  // namespace

Result<BundleFile> BundleOfHead(const RepositoryFiles& repository, const OdbSource& objects,
                                int cache, const std::string& cache_path,
                                const CaptureProgress& progress) {
  std::string key = repository.common_dir + "\n" + repository.head.Hex();
  std::string name = protocol::Sha256(key).ToHex().substr(0, 40);
  if (auto kept = FindKept(cache, cache_path, name)) return *kept;
  std::string temp = "." + name + "." + HexEncode(RandomBytes(6)) + ".tmp";
  UniqueFd out(::openat(cache, temp.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return SysError(errno, "workspace.cache_unwritable", "cannot write " + cache_path);
  Sink sink;
  sink.fd = out.get();
  BundleHeader header;
  header.refs.push_back({repository.head, "HEAD"});
  sink.Take(FormatBundleHeader(header));
  BundleFile bundle;
  Status built = BuildPack(repository, objects, sink, bundle.commits, progress);
  struct stat st {};
  if (built && ::fstat(out.get(), &st) != 0)
    built = SysError(errno, "workspace.cache_unwritable", "cannot write " + cache_path);
  bundle.digest = sink.hasher.Finish();
  if (built && ::renameat(cache, temp.c_str(), cache, (name + ".bundle").c_str()) != 0)
    built = SysError(errno, "workspace.cache_unwritable", "cannot write " + cache_path);
  if (!built) {
    (void)::unlinkat(cache, temp.c_str(), 0);
    return std::move(built).error().With("making the bundle");
  }
  WRIT_TRY(WriteFileAtomic(cache, name + ".record", RecordOf(bundle.digest, st), 0600));
  bundle.path = cache_path + "/" + name + ".bundle";
  bundle.bytes = sink.bytes;
  return bundle;
}

}  // namespace writ::workspace
