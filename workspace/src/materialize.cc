#include "writ/workspace/materialize.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <map>

#include "history.h"
#include "input_state.h"
#include "job_repository.h"
#include "pack_store.h"
#include "patch_tree.h"
#include "tree_listing.h"
#include "tree_writer.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/workspace/patch.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

Error Bad(std::string code, std::string message) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace." + std::move(code),
               .message = std::move(message)};
}

std::int64_t CoarseNow() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

// A blob of the manifest, read whole and verified (L15).
Result<std::string> FetchBlob(const BlobSource& blobs, const protocol::Digest& digest,
                              std::uint64_t limit, std::string_view what) {
  auto fd = blobs(digest);
  if (!fd) {
    Error error = std::move(fd).error();
    if (!error.code.starts_with("transfer.")) error.code = "transfer." + error.code;
    return std::move(error).With("fetching " + std::string(what));
  }
  auto bytes = ReadAll(fd->get(), limit);
  if (!bytes) {
    Error error = std::move(bytes).error();
    if (error.code == "file.too_large") error.code = "workspace.input_limit";
    return std::move(error).With("fetching " + std::string(what));
  }
  if (protocol::Sha256(*bytes) != digest)
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "transfer.blob_hash",
                 .message = std::string(what) + " that arrived is not the one of its hash"};
  return bytes;
}

Result<std::vector<std::string>> NamesIn(int dir) {
  UniqueFd copy(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* stream = copy ? ::fdopendir(copy.get()) : nullptr;
  if (stream == nullptr) return SysError(errno, "workspace.target", "cannot open the target");
  (void)copy.release();
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(stream);
  return names;
}

// One run's way from a manifest to a tree. Used once.
class Materializer {
 public:
  explicit Materializer(const MaterializeOptions& options)
      : options_(options), manifest_(*options.manifest), state_(std::make_shared<InputState>()) {}

  Result<Materialized> Run() {
    WRIT_TRY(OpenTarget());
    WRIT_TRY(OpenBase());
    WRIT_TRY(ApplyDirtyDiff());
    WRIT_TRY(AddUntracked());
    WRIT_TRY(SettleInput());
    WRIT_TRY(Write());
    return Materialized(state_);
  }

 private:
  Status OpenTarget() {
    WRIT_ASSIGN(std::vector<std::string> names, NamesIn(options_.target));
    if (!names.empty()) return Bad("target_not_empty", "the directory for the tree is not empty");
    if (options_.owner && ::fchown(options_.target, options_.owner->uid, options_.owner->gid) != 0)
      return SysError(errno, "workspace.owner_refused",
                      "the directory for the tree cannot be given to the job's user");
    state_->trusted.reset(::openat(options_.trusted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!state_->trusted)
      return SysError(errno, "workspace.trusted", "cannot open the trusted directory");
    return {};
  }

  Status OpenBase() {
    auto base = ObjectId::FromHex(manifest_.base_ref.text());
    if (!base)
      return Error{.kind = ErrorKind::kUnsupported,
                   .code = "workspace.sha256",
                   .message = "the manifest's base is not a SHA-1 commit id"};
    state_->base_commit = *base;
    state_->base_ref = manifest_.base_ref.text();
    WRIT_ASSIGN(ObjectCache::Found found,
                options_.cache->Get(manifest_.bundle_hash, options_.blobs));
    state_->entry = std::move(found.entry);
    state_->cache_hit = found.was_cached;
    const PackStore& store = state_->entry->store();
    const auto& refs = state_->entry->header().refs;
    bool is_ref = std::any_of(refs.begin(), refs.end(),
                              [&](const BundleRef& ref) { return ref.id == *base; });
    if (!is_ref) WRIT_TRY(CheckHistory(store, *base));  // refs were checked with the entry
    WRIT_ASSIGN(std::string commit, ReadTyped(store, *base, ObjectType::kCommit));
    WRIT_ASSIGN(CommitInfo info, ParseCommit(commit));
    WRIT_ASSIGN(state_->base, ListTree(store, info.tree, {.max_files = options_.limits.max_files}));
    for (const TreeItem& item : state_->base) {
      if (item.mode == kModeGitlink) {
        state_->findings.push_back({"workspace.submodule_not_carried", item.path,
                                    "a submodule's content is not carried; its folder is empty"});
      } else if (!store.Has(item.id)) {
        return Bad("bundle_incomplete",
                   "the bundle lacks the content of '" + QuotePath(item.path) + "'");
      }
    }
    return {};
  }

  // Content that is not in the pack is kept by its id: in the trusted directory for Collect, and in
  // memory until the tree is written.
  Status Keep(const ObjectId& id, std::string content) {
    UniqueFd fd(::openat(state_->trusted.get(), id.Hex().c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return SysError(errno, "workspace.write_failed", "cannot keep a part of the input");
    WRIT_TRY(WriteAll(fd.get(), content));
    kept_[id] = std::move(content);
    return {};
  }

  Status ApplyDirtyDiff() {
    if (!manifest_.dirty_diff_hash) return {};
    WRIT_ASSIGN(std::string diff, FetchBlob(options_.blobs, *manifest_.dirty_diff_hash,
                                            options_.limits.max_diff_bytes, "the dirty diff"));
    PatchLimits limits{.max_patch_bytes = options_.limits.max_diff_bytes,
                       .max_file_bytes = options_.limits.max_file_bytes,
                       .max_files = options_.limits.max_files};
    WRIT_ASSIGN(std::vector<PatchFile> files, ParsePatch(diff, limits));
    WRIT_ASSIGN(TreeChanges changes,
                ApplyPatchToTree(state_->base, files, limits, [this](const TreeItem& item) {
                  return state_->Content(item, InputFile::Where::kPack);
                }));
    for (auto& [path, change] : changes) {
      if (change && change->item.mode != kModeGitlink)
        WRIT_TRY(Keep(change->item.id, std::move(change->content)));
      changes_[path] = change ? std::optional(std::move(change->item)) : std::nullopt;
    }
    return {};
  }

  Status AddUntracked() {
    for (const protocol::UntrackedFile& file : manifest_.untracked_files) {
      const std::string& path = file.path.text();
      if (!IsSafeTreePath(path) || !IsSafeRelativePath(path))
        return Bad("hostile_path",
                   "an untracked file has the path '" + QuotePath(path) + "', which is refused");
      WRIT_ASSIGN(std::string content,
                  FetchBlob(options_.blobs, file.hash, options_.limits.max_file_bytes,
                            "an untracked file"));
      if (static_cast<std::int64_t>(content.size()) != file.bytes)
        return Error{.kind = ErrorKind::kIntegrity,
                     .code = "transfer.blob_size",
                     .message = "an untracked file is not of its stated size"};
      if (changes_.contains(path) ? changes_[path].has_value()
                                  : FindInListing(state_->base, path) != nullptr)
        return Bad("untracked_clash",
                   "the untracked file '" + QuotePath(path) + "' is also a tracked one");
      ObjectId id = ObjectId::OfBlob(content);
      WRIT_TRY(Keep(id, std::move(content)));
      changes_[path] = TreeItem{path, kModeRegular, id};
    }
    return {};
  }

  // Base and changes become the sorted input; no path is both a file and a folder.
  Status SettleInput() {
    auto change = changes_.begin();
    auto take_change = [&] {
      if (change->second)
        state_->input.push_back({.item = *change->second,
                                 .stamp = {},
                                 .where = change->second->mode == kModeGitlink
                                              ? InputFile::Where::kPack
                                              : InputFile::Where::kTrusted});
      ++change;
    };
    state_->input.reserve(state_->base.size() + changes_.size());
    for (const TreeItem& item : state_->base) {
      while (change != changes_.end() && change->first < item.path) take_change();
      if (change != changes_.end() && change->first == item.path) {
        take_change();
      } else {
        state_->input.push_back({.item = item, .stamp = {}});
      }
    }
    while (change != changes_.end()) take_change();
    if (state_->input.size() > options_.limits.max_files)
      return Bad("too_many_files", "the input has more files than the limit");
    for (const auto& [path, item] : changes_)
      if (item) WRIT_TRY(CheckNoClash(path));
    return {};
  }

  Status CheckNoClash(const std::string& path) {
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1))
      if (state_->FindInput(path.substr(0, slash)) != nullptr)
        return Bad("hostile_path", "'" + QuotePath(path) + "' lies below a file or link");
    std::string prefix = path + "/";
    auto below = std::lower_bound(
        state_->input.begin(), state_->input.end(), prefix,
        [](const InputFile& file, const std::string& p) { return file.item.path < p; });
    if (below != state_->input.end() && below->item.path.starts_with(prefix))
      return Bad("hostile_path", "'" + QuotePath(path) + "' is a file and a folder");
    return {};
  }

  Status Write() {
    const PackStore& store = state_->entry->store();
    TreeWriteOptions write{.target = options_.target,
                           .owner = options_.owner,
                           .threads = options_.threads,
                           .max_tree_bytes = options_.limits.max_tree_bytes,
                           .max_file_bytes = options_.limits.max_file_bytes,
                           .mtime = ::time(nullptr) - 2,
                           .content = [&](const InputFile& file) -> Result<std::string> {
                             if (file.where == InputFile::Where::kPack)
                               return ReadTyped(store, file.item.id, ObjectType::kBlob);
                             return kept_.at(file.item.id);
                           }};
    WRIT_ASSIGN(state_->tree_bytes, WriteTree(write, state_->input));
    state_->snapshot_ns = CoarseNow();
    return WriteJobRepository(options_.target, options_.owner, *state_);
  }

  const MaterializeOptions& options_;
  const protocol::Manifest& manifest_;
  std::shared_ptr<InputState> state_;
  std::map<std::string, std::optional<TreeItem>> changes_;  // nullopt: gone
  std::map<ObjectId, std::string> kept_;
};

}  // namespace

Result<Materialized> Materialize(const MaterializeOptions& options) {
  auto result = Materializer(options).Run();
  if (result || result.error().code != "cache.damaged") return result;
  // An object of the cache was damaged: the entry is made again, the tree too, once.
  log::Warn("workspace.cache_entry_damaged", "a damaged cache entry is made again",
            {{"bundle", options.manifest->bundle_hash.ToHex()}});
  options.cache->Discard(options.manifest->bundle_hash);
  WRIT_ASSIGN(std::vector<std::string> names, NamesIn(options.target));
  for (const std::string& name : names) WRIT_TRY(RemoveTreeBeneath(options.target, name));
  return Materializer(options).Run();
}

std::string_view FailureClassOf(const Error& error) {
  return error.code.starts_with("transfer.") ? "transfer_failed" : "capture_failed";
}

}  // namespace writ::workspace
