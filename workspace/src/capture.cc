#include "writ/workspace/capture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "bundle_writer.h"
#include "checkout_scan.h"
#include "repository_files.h"
#include "repository_owner.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::uint64_t kKeepInMemory = std::uint64_t{8} << 20;

CapturedBlob InMemory(CapturedBlob::Kind kind, std::string content) {
  CapturedBlob blob{.kind = kind};
  blob.digest = protocol::Sha256(content);
  blob.bytes = content.size();
  blob.content = std::move(content);
  return blob;
}

// A large file goes into the cache by its hash, in pieces.
Result<CapturedBlob> CopyLarge(int from, int cache, const std::string& cache_path) {
  std::string temp = ".untracked." + HexEncode(RandomBytes(8)) + ".tmp";
  UniqueFd out(::openat(cache, temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return SysError(errno, "workspace.cache_unwritable", "cannot write " + cache_path);
  protocol::Sha256Hasher hasher;
  CapturedBlob blob{.kind = CapturedBlob::Kind::kUntracked};
  std::vector<char> buffer(1 << 20);
  Status status;
  for (;;) {
    ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) status = SysError(errno, "workspace.unreadable", "cannot read an untracked file");
    if (n <= 0) break;
    std::string_view piece(buffer.data(), static_cast<std::size_t>(n));
    hasher.Update(piece);
    blob.bytes += piece.size();
    status = WriteAll(out.get(), piece);
    if (!status) break;
  }
  blob.digest = hasher.Finish();
  std::string name = blob.digest.ToHex() + ".untracked";
  if (status && ::renameat(cache, temp.c_str(), cache, name.c_str()) != 0)
    status = SysError(errno, "workspace.cache_unwritable", "cannot write " + cache_path);
  if (!status) {
    (void)::unlinkat(cache, temp.c_str(), 0);
    return std::move(status).error();
  }
  blob.file = cache_path + "/" + name;
  return blob;
}

Result<CapturedBlob> CaptureUntracked(int root, const std::string& path, int cache,
                                      const std::string& cache_path) {
  auto fd = OpenBeneath(root, path, O_RDONLY | O_NONBLOCK);
  struct stat before {};
  if (!fd || ::fstat(fd->get(), &before) != 0 || !S_ISREG(before.st_mode))
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "workspace.unreadable",
                 .message = "cannot read '" + QuotePath(path) + "'",
                 .hint = "give yourself permission to read it"};
  if (static_cast<std::uint64_t>(before.st_size) <= kKeepInMemory) {
    WRIT_ASSIGN(std::string content, ReadCheckoutFile(root, path, kKeepInMemory));
    return InMemory(CapturedBlob::Kind::kUntracked, std::move(content));
  }
  auto blob = CopyLarge(fd->get(), cache, cache_path);
  struct stat after {};
  if (blob && (::fstat(fd->get(), &after) != 0 || after.st_size != before.st_size ||
               after.st_mtim.tv_nsec != before.st_mtim.tv_nsec ||
               after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
               blob->bytes != static_cast<std::uint64_t>(before.st_size)))
    return Error{.kind = ErrorKind::kConflict,
                 .code = "workspace.changed_while_captured",
                 .message = "'" + QuotePath(path) + "' changed while it was read",
                 .hint = "try again when nothing else works in it"};
  return blob;
}

}  // namespace

std::vector<std::string> DefaultDeniedPatterns() {
  return {".env", ".env.*", "*.pem", "*.key", "id_rsa*", "id_ed25519*"};
}

Result<Captured> Capture(const CaptureOptions& options, const CaptureProgress& progress) {
  WRIT_ASSIGN(RepositoryFiles repository, FindRepository(options.repository));
  WRIT_ASSIGN(const std::optional<Finding> other_owner, CheckOwner(repository));
  WRIT_ASSIGN(std::unique_ptr<OdbSource> objects, OdbSource::Open(repository));
  WRIT_ASSIGN(UniqueFd cache, MakeDirectories(options.cache_directory, 0700));
  WRIT_ASSIGN(UniqueFd root, OpenDirectory(repository.root));

  if (progress) progress("reading the checkout", 0, 0);
  WRIT_ASSIGN(CheckoutState state, ScanCheckout(repository, *objects,
                                                {.denied_patterns = options.denied_patterns,
                                                 .allow_untracked = options.allow_untracked,
                                                 .max_diff_bytes = options.max_diff_bytes}));
  WRIT_ASSIGN(BundleFile bundle,
              BundleOfHead(repository, *objects, cache.get(), options.cache_directory, progress));
  Captured captured;
  captured.findings = std::move(state.findings);
  if (other_owner) captured.findings.insert(captured.findings.begin(), *other_owner);
  captured.summary = {.repository_root = repository.root,
                      .head = repository.head.Hex(),
                      .branch = repository.branch,
                      .changed_files = state.changed_files,
                      .untracked_files = state.untracked.size(),
                      .commits = bundle.commits,
                      .bundle_was_cached = bundle.was_cached};
  protocol::Manifest& manifest = captured.manifest;
  WRIT_ASSIGN(manifest.base_ref, protocol::CommitId::Parse(repository.head.Hex()));
  manifest.bundle_hash = bundle.digest;
  manifest.denied_patterns = options.denied_patterns;
  for (const std::string& path : state.denied_paths)
    manifest.denied_paths.push_back(PathForRecord(path));
  captured.blobs.push_back({.kind = CapturedBlob::Kind::kBundle,
                            .digest = bundle.digest,
                            .bytes = bundle.bytes,
                            .file = bundle.path,
                            .content = {}});
  if (!state.diff.empty()) {
    captured.blobs.push_back(InMemory(CapturedBlob::Kind::kDirtyDiff, std::move(state.diff)));
    manifest.dirty_diff_hash = captured.blobs.back().digest;
  }
  std::uint64_t untracked_bytes = 0;
  for (const std::string& path : state.untracked) {
    WRIT_ASSIGN(CapturedBlob blob,
                CaptureUntracked(root.get(), path, cache.get(), options.cache_directory));
    untracked_bytes += blob.bytes;
    if (untracked_bytes > options.max_untracked_bytes)
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.input_limit",
                   .message = "the untracked files are over the limit of " +
                              std::to_string(options.max_untracked_bytes) + " bytes",
                   .hint = "allow fewer with --allow-untracked"};
    WRIT_ASSIGN(auto name, protocol::WorkspacePath::Parse(path));
    manifest.untracked_files.push_back(
        {std::move(name), blob.digest, static_cast<std::int64_t>(blob.bytes)});
    captured.blobs.push_back(std::move(blob));
  }
  return captured;
}

}  // namespace writ::workspace
