#include "bundle_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "history_pack.h"
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

  Status Take(std::string_view piece) {
    buffer.append(piece);
    return buffer.size() >= 1 << 18 ? Flush() : Status();
  }
  Status Flush() {
    hasher.Update(buffer);
    bytes += buffer.size();
    Status written = WriteAll(fd, buffer);
    buffer.clear();
    return written;
  }
};

Status WriteBundle(const RepositoryFiles& repository, const OdbSource& objects, Sink& sink,
                   std::size_t& commits, const CaptureProgress& progress) {
  BundleHeader header;
  header.refs.push_back({repository.head, "HEAD"});
  WRIT_TRY(sink.Take(FormatBundleHeader(header)));
  WRIT_ASSIGN(commits, WriteHistoryPack(
                           repository, objects,
                           [&sink](std::string_view piece) { return sink.Take(piece); }, progress));
  return sink.Flush();
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
  BundleFile bundle;
  Status built = WriteBundle(repository, objects, sink, bundle.commits, progress);
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
