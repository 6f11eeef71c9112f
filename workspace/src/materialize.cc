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

Error DoesNotApply(std::string why) {
  return Bad("diff_does_not_apply", "the dirty diff does not fit its base: " + std::move(why));
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
  Result<ObjectId> Keep(std::string content) {
    ObjectId id = ObjectId::OfBlob(content);
    UniqueFd fd(::openat(state_->trusted.get(), id.Hex().c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return SysError(errno, "workspace.write_failed", "cannot keep a part of the input");
    WRIT_TRY(WriteAll(fd.get(), content));
    kept_[id] = std::move(content);
    return id;
  }

  Status ApplyDirtyDiff() {
    if (!manifest_.dirty_diff_hash) return {};
    WRIT_ASSIGN(std::string diff, FetchBlob(options_.blobs, *manifest_.dirty_diff_hash,
                                            options_.limits.max_diff_bytes, "the dirty diff"));
    PatchLimits limits{.max_patch_bytes = options_.limits.max_diff_bytes,
                       .max_file_bytes = options_.limits.max_file_bytes,
                       .max_files = options_.limits.max_files};
    WRIT_ASSIGN(std::vector<PatchFile> files, ParsePatch(diff, limits));
    // First everything that goes, then everything that comes: a link may become a folder.
    for (const PatchFile& file : files) {
      if (file.change == PatchFile::Change::kAdd) continue;
      if (FindInListing(state_->base, file.old_path) == nullptr)
        return DoesNotApply("there is no '" + QuotePath(file.old_path) + "'");
      if (file.change == PatchFile::Change::kCopy) continue;
      if (!changes_.try_emplace(file.old_path).second)
        return DoesNotApply("'" + QuotePath(file.old_path) + "' is changed twice");
    }
    for (const PatchFile& file : files) WRIT_TRY(ApplyOne(file, limits));
    return {};
  }

  Status ApplyOne(const PatchFile& file, const PatchLimits& limits) {
    using Change = PatchFile::Change;
    bool adds = file.change == Change::kAdd;
    const TreeItem* old = adds ? nullptr : FindInListing(state_->base, file.old_path);
    if (old != nullptr && file.old_mode != 0 && file.old_mode != old->mode)
      return DoesNotApply("'" + QuotePath(file.old_path) + "' has another mode");
    std::uint32_t mode = file.new_mode != 0 ? file.new_mode
                         : old != nullptr   ? old->mode
                                            : kModeRegular;
    bool gitlink = mode == kModeGitlink || (old != nullptr && old->mode == kModeGitlink);
    std::string content;
    if (old != nullptr) {
      WRIT_ASSIGN(content, state_->Content(*old, InputFile::Where::kPack));
    }
    PatchFile text_only = file;  // a gitlink's ids are commits, not the hash of its line
    if (gitlink) text_only.old_id = text_only.new_id = "";
    auto applied = ApplyToContent(text_only, content, limits);
    if (!applied) return std::move(applied).error().With("applying the dirty diff");
    if (file.change == Change::kDelete) return {};
    if (!IsSafeTreePath(file.new_path))
      return Bad("hostile_path", "the dirty diff writes to '" + QuotePath(file.new_path) +
                                     "', which git would refuse");
    TreeItem item{file.new_path, mode, {}};
    if (gitlink) {
      WRIT_ASSIGN(item.id, GitlinkTarget(*applied));
    } else {
      WRIT_ASSIGN(item.id, Keep(std::move(*applied)));
    }
    return Put(std::move(item));
  }

  static Result<ObjectId> GitlinkTarget(std::string_view line) {
    constexpr std::string_view kWords = "Subproject commit ";
    auto id =
        line.starts_with(kWords) ? ObjectId::FromHex(line.substr(kWords.size(), 40)) : std::nullopt;
    if (!id) return DoesNotApply("a submodule's change cannot be read");
    return *id;
  }

  // A path of the input that is not as in the base. It may only be there already where the diff
  // took it away.
  Status Put(TreeItem item) {
    auto slot = changes_.find(item.path);
    bool taken = slot != changes_.end() ? slot->second.has_value()
                                        : FindInListing(state_->base, item.path) != nullptr;
    if (taken) return DoesNotApply("'" + QuotePath(item.path) + "' is there already");
    std::string path = item.path;
    changes_[path] = std::move(item);
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
      WRIT_ASSIGN(ObjectId id, Keep(std::move(content)));
      if (Status put = Put({path, kModeRegular, id}); !put)
        return Bad("untracked_clash",
                   "the untracked file '" + QuotePath(path) + "' is also a tracked one");
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
