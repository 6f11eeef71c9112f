#include "writ/workspace/materialize.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <map>

#include "checkout_content.h"
#include "history.h"
#include "input_state.h"
#include "job_repository.h"
#include "pack_store.h"
#include "patch_tree.h"
#include "tree_listing.h"
#include "tree_writer.h"
#include "upper_writer.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
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
    WRIT_ASSIGN(std::vector<std::string> names, NamesIn(options_.target, "workspace.target"));
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
    if (options_.checkouts != nullptr) return OpenCheckout(store, is_ref);
    if (!is_ref) WRIT_TRY(CheckHistory(store, *base));  // refs were checked with the entry
    WRIT_ASSIGN(ObjectId tree, TreeOfBase(store));
    WRIT_ASSIGN(state_->base, ListTree(store, tree, {.max_files = options_.limits.max_files}));
    for (const TreeItem& item : state_->base) {
      if (item.mode == kModeGitlink) {
        ReportSubmodule(item.path);
      } else if (!store.Has(item.id)) {
        return Bad("bundle_incomplete",
                   "the bundle lacks the content of '" + QuotePath(item.path) + "'");
      }
    }
    return {};
  }

  Result<ObjectId> TreeOfBase(const PackStore& store) const {
    WRIT_ASSIGN(std::string commit, ReadTyped(store, state_->base_commit, ObjectType::kCommit));
    WRIT_ASSIGN(CommitInfo info, ParseCommit(commit));
    return info.tree;
  }

  void ReportSubmodule(const std::string& path) {
    state_->findings.push_back({"workspace.submodule_not_carried", path,
                                "a submodule's content is not carried; its folder is empty"});
  }

  // The whole base is listed and checked where its checkout is filled, not here.
  Status OpenCheckout(const PackStore& store, bool is_ref) {
    WRIT_ASSIGN(ObjectId tree, TreeOfBase(store));
    state_->repository =
        TextOfRepository(state_->entry->objects_directory(), state_->base_ref, StatTrust::kMinimal);
    BaseCheckout content({.objects = &store,
                          .tree = tree,
                          .history = is_ref ? ObjectId{} : state_->base_commit,
                          .text = state_->repository,
                          .threads = options_.threads,
                          .max_files = options_.limits.max_files,
                          .max_tree_bytes = options_.limits.max_tree_bytes,
                          .max_file_bytes = options_.limits.max_file_bytes,
                          .wrote = options_.wrote});
    WRIT_ASSIGN(CheckoutCache::Found found,
                options_.checkouts->Get({.bundle = manifest_.bundle_hash,
                                         .base_ref = state_->base_ref,
                                         .objects_directory = state_->entry->objects_directory()},
                                        content));
    state_->checkout = std::move(found.lease);
    state_->checkout_was_cached = found.was_cached;
    state_->base_tree = std::make_unique<BaseTree>(store, tree);
    const CheckoutFacts& facts = state_->checkout->facts();
    if (facts.files > options_.limits.max_files) return TooManyFiles();
    if (facts.bytes > options_.limits.max_tree_bytes)
      return Bad("input_limit", "the base tree is over the size limit");
    for (const std::string& path : facts.submodules) ReportSubmodule(path);
    return {};
  }

  static Error TooManyFiles() {
    return Bad("too_many_files", "the input has more files than the limit");
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

  void Change(TreeItem item) {
    auto where = item.mode == kModeGitlink ? InputFile::Where::kPack : InputFile::Where::kTrusted;
    std::string path = item.path;
    state_->changes[path] = InputFile{.item = std::move(item), .stamp = {}, .where = where};
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
                ApplyPatchToTree([this](const std::string& path) { return state_->FindBase(path); },
                                 files, limits,
                                 [this](const TreeItem& item) {
                                   return state_->Content(item, InputFile::Where::kPack);
                                 }));
    for (auto& [path, change] : changes) {
      if (change && change->item.mode != kModeGitlink)
        WRIT_TRY(Keep(change->item.id, std::move(change->content)));
      if (change) {
        Change(std::move(change->item));
      } else {
        state_->changes[path] = std::nullopt;
      }
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
      bool tracked = false;
      if (auto change = state_->changes.find(path); change != state_->changes.end()) {
        tracked = change->second.has_value();
      } else {
        WRIT_ASSIGN(std::optional<TreeItem> there, state_->FindBase(path));
        tracked = there.has_value();
      }
      if (tracked)
        return Bad("untracked_clash",
                   "the untracked file '" + QuotePath(path) + "' is also a tracked one");
      ObjectId id = ObjectId::OfBlob(content);
      WRIT_TRY(Keep(id, std::move(content)));
      Change(TreeItem{path, kModeRegular, id});
    }
    return {};
  }

  // Base and changes become the input; no path is both a file and a folder.
  Status SettleInput() {
    if (state_->IsOverlay()) {
      WRIT_TRY(CountInput());
    } else {
      MergeInput();
    }
    if (state_->file_count > options_.limits.max_files) return TooManyFiles();
    for (const auto& [path, file] : state_->changes)
      if (file) WRIT_TRY(CheckNoClash(path));
    return {};
  }

  Status CountInput() {
    state_->file_count = state_->checkout->facts().files;
    for (const auto& [path, file] : state_->changes) {
      WRIT_ASSIGN(std::optional<TreeItem> before, state_->FindBase(path));
      state_->file_count = state_->file_count - (before ? 1 : 0) + (file ? 1 : 0);
    }
    return {};
  }

  void MergeInput() {
    auto change = state_->changes.begin();
    auto end = state_->changes.end();
    auto take_change = [&] {
      if (change->second) state_->input.push_back(*change->second);
      ++change;
    };
    state_->input.reserve(state_->base.size() + state_->changes.size());
    for (const TreeItem& item : state_->base) {
      while (change != end && change->first < item.path) take_change();
      if (change != end && change->first == item.path) {
        take_change();
      } else {
        state_->input.push_back({.item = item, .stamp = {}});
      }
    }
    while (change != end) take_change();
    state_->file_count = state_->input.size();
  }

  Status CheckNoClash(const std::string& path) {
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      WRIT_ASSIGN(std::optional<InputFile> above, state_->FindInput(path.substr(0, slash)));
      if (above) return Bad("hostile_path", "'" + QuotePath(path) + "' lies below a file or link");
    }
    WRIT_ASSIGN(bool below, state_->InputHasBelow(path));
    if (below) return Bad("hostile_path", "'" + QuotePath(path) + "' is a file and a folder");
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
                           },
                           .wrote = options_.wrote};
    if (state_->IsOverlay()) {
      WRIT_ASSIGN(std::uint64_t written, WriteUpper(write, *state_));
      state_->tree_bytes = state_->checkout->facts().bytes + written;
      state_->snapshot_ns = CoarseNow();
      return {};
    }
    WRIT_ASSIGN(state_->tree_bytes, WriteTree(write, state_->input));
    state_->snapshot_ns = CoarseNow();
    return WriteJobRepository(options_.target, options_.owner, *state_);
  }

  const MaterializeOptions& options_;
  const protocol::Manifest& manifest_;
  std::shared_ptr<InputState> state_;
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
  WRIT_ASSIGN(std::vector<std::string> names, NamesIn(options.target, "workspace.target"));
  for (const std::string& name : names) WRIT_TRY(RemoveTreeBeneath(options.target, name));
  return Materializer(options).Run();
}

std::string_view FailureClassOf(const Error& error) {
  return error.code.starts_with("transfer.") ? "transfer_failed" : "capture_failed";
}

}  // namespace writ::workspace
