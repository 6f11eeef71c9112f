#include "writ/workspace/collect.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <memory>

#include "git_library.h"
#include "input_state.h"
#include "job_repository.h"
#include "pack_store.h"
#include "patch_writer.h"
#include "tree_walk.h"
#include "upper_walk.h"
#include "writ/base/file.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

// A path's state with its content; no item: not there.
struct Side {
  std::optional<TreeItem> item;
  std::string content;

  std::optional<PatchSide> ForPatch() const {
    if (!item) return std::nullopt;
    return PatchSide{item->mode, item->id, content};
  }
  bool SameAs(const Side& other) const {
    return item.has_value() == other.item.has_value() &&
           (!item || (item->mode == other.item->mode && item->id == other.item->id));
  }
};

std::unique_ptr<JobTreeWalk> MakeWalk(const CollectOptions& options, const InputState& state) {
  TreeWalkLimits limits{.max_entries = options.limits.max_entries};
  if (state.IsOverlay())
    return std::make_unique<UpperWalk>(options.tree, state, options.xattrs, limits);
  return std::make_unique<TreeWalk>(options.tree, state, limits);
}

// One run's collection. Used once.
class Collector {
 public:
  explicit Collector(const CollectOptions& options)
      : options_(options),
        state_(options.materialized->state()),
        walk_(MakeWalk(options, state_)),
        writer_([this](const ObjectId& id) { return state_.entry->store().AbbreviationOf(id); }) {}

  Result<Collected> Run() {
    WRIT_TRY(FindCandidates());
    for (const auto& [path, entry] : candidates_) WRIT_TRY(TakePath(path, entry));
    Conclude();
    return std::move(out_);
  }

 private:
  Error OverLimit(const std::string& path, const std::string& what) const {
    return Error{
        .kind = ErrorKind::kInvalid,
        .code = "workspace.output_limit",
        .message = "the job's output is over a limit at '" + QuotePath(path) + "': " + what,
        .hint =
            "let the job ignore such files, or declare them as output; or raise "
            "limits.maxDiffBytes "
            "in the runner's configuration"};
  }
  void Report(std::string code, const std::string& path, std::string detail) {
    out_.findings.push_back({"workspace." + std::move(code), path, std::move(detail)});
  }

  // Every path whose final state may differ from the base's or the input's.
  Status FindCandidates() {
    WRIT_TRY(walk_->ForEach([this](const TreeEntry& entry) -> Status {
      if (entry.kind == TreeEntry::Kind::kOther) {
        Report("special_file", entry.path, "a FIFO, socket or device is not carried");
        return {};
      }
      candidates_[entry.path] = entry;
      if (candidates_.size() > options_.limits.max_changed_files)
        return OverLimit(
            entry.path,
            "more than " + std::to_string(options_.limits.max_changed_files) + " changed files");
      return {};
    }));
    for (const auto& [path, file] : state_.changes) candidates_.try_emplace(path);
    return {};
  }

  Result<Side> LoadBase(const std::string& path) const {
    Side side;
    WRIT_ASSIGN(side.item, state_.FindBase(path));
    if (!side.item) return side;
    WRIT_ASSIGN(side.content, state_.Content(*side.item, InputFile::Where::kPack));
    return side;
  }

  Result<Side> LoadInput(const std::string& path) const {
    Side side;
    WRIT_ASSIGN(std::optional<InputFile> file, state_.FindInput(path));
    if (!file) return side;
    side.item = file->item;
    WRIT_ASSIGN(side.content, state_.Content(file->item, file->where));
    return side;
  }

  // The final state of a path that the walk told of. nullopt: it must not be read.
  Result<std::optional<Side>> LoadFinal(const std::string& path, const TreeEntry& entry) {
    Side side;
    if (entry.kind == TreeEntry::Kind::kRemoved) return std::optional<Side>(std::move(side));
    ++out_.files_read;
    side.item = TreeItem{path, kModeSymlink, {}};
    if (entry.kind == TreeEntry::Kind::kSymlink) {
      WRIT_ASSIGN(side.content, walk_->ReadLink(path));
    } else {
      auto fd = walk_->Open(path);
      if (!fd) return std::move(fd).error().With("reading '" + QuotePath(path) + "'");
      struct stat before {};
      if (::fstat(fd->get(), &before) != 0 || !S_ISREG(before.st_mode)) return Changed(path);
      if (options_.owner && before.st_uid != *options_.owner) {
        Report("foreign_owner", path, "a file of another owner is not read");
        return std::optional<Side>();
      }
      if (static_cast<std::uint64_t>(before.st_size) > options_.limits.max_file_bytes)
        return OverLimit(path, std::to_string(before.st_size) + " bytes in one file, and at most " +
                                   std::to_string(options_.limits.max_file_bytes) +
                                   " are compared");
      WRIT_ASSIGN(side.content, ReadAll(fd->get(), options_.limits.max_file_bytes));
      struct stat after {};
      if (::fstat(fd->get(), &after) != 0 || FileStamp::Of(before) != FileStamp::Of(after) ||
          side.content.size() != static_cast<std::size_t>(after.st_size))
        return Changed(path);
      side.item->mode = (before.st_mode & 0100) != 0 ? kModeExecutable : kModeRegular;
    }
    side.item->id = ObjectId::OfBlob(side.content);
    return std::optional<Side>(std::move(side));
  }

  static Error Changed(const std::string& path) {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "workspace.changed_while_collected",
                 .message = "'" + QuotePath(path) + "' changed while it was read",
                 .hint = "a process of the job is still alive"};
  }

  Status TakePath(const std::string& path, const std::optional<TreeEntry>& entry) {
    WRIT_ASSIGN(Side base, LoadBase(path));
    WRIT_ASSIGN(Side input, LoadInput(path));
    Side final;
    if (entry) {
      WRIT_ASSIGN(std::optional<Side> loaded, LoadFinal(path, *entry));
      final = loaded ? std::move(*loaded) : input;  // what may not be read counts as untouched
    } else {
      final = input;
    }
    bool changed_by_job = !final.SameAs(input);
    if (!final.SameAs(base)) {
      ChangedFile file{.path = path, .content = {}, .changed_by_job = changed_by_job};
      if (final.item) {
        file.mode = final.item->mode;
        file.bytes = final.content.size();
        file.content = protocol::Sha256(final.content);
      }
      out_.changed.push_back(std::move(file));
      WRIT_TRY(AppendDiff(out_.diff, path, base, final, IdLength::kAbbreviated));
    }
    if (changed_by_job) {
      WRIT_TRY(AppendDiff(out_.delta, path, input, final, IdLength::kFull));
      NoteSpecialNames(path);
      if (final.item && final.item->mode == kModeSymlink && LinkLeadsOutside(path, final.content))
        Report("link_outside", path,
               "a symbolic link that leads out of the workspace; it is carried as a link");
    }
    if (changed_by_job || !final.SameAs(base)) LookForSecrets(path, {&base, &input, &final});
    return {};
  }

  Status AppendDiff(std::string& out, const std::string& path, const Side& from, const Side& to,
                    IdLength ids) {
    auto old_side = from.ForPatch();
    auto new_side = to.ForPatch();
    WRIT_TRY(writer_.Append(out, path, old_side ? &*old_side : nullptr,
                            new_side ? &*new_side : nullptr, ids));
    if (out.size() > options_.limits.max_diff_bytes)
      return OverLimit(
          path, "a diff of more than " + std::to_string(options_.limits.max_diff_bytes) + " bytes");
    return {};
  }

  void NoteSpecialNames(const std::string& path) {
    std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
    if (name == ".gitattributes")
      Report("attributes_changed", path, "the job changed attributes; not used here");
    if (name == ".gitmodules")
      Report("submodules_changed", path, "the job changed the list of submodules");
    if (name == ".gitignore")
      Report("ignore_rules_changed", path, "the job changed what git ignores");
  }

  void LookForSecrets(const std::string& path, std::initializer_list<const Side*> sides) {
    if (!options_.holds_secret) return;
    bool found = options_.holds_secret(path);
    for (const Side* side : sides)
      found = found || (side->item && options_.holds_secret(side->content));
    if (!found) return;
    out_.secret_found = true;
    Report("secret_in_output", path, "a changed file holds the value of a released secret");
  }

  void Conclude() {
    for (Finding& finding :
         InspectJobRepository(options_.tree, state_.repository,
                              state_.IsOverlay() ? std::optional(options_.xattrs) : std::nullopt))
      out_.findings.push_back(std::move(finding));
    for (const Finding& finding : walk_->findings()) out_.findings.push_back(finding);
    out_.ignored_entries = walk_->ignored_entries();
    out_.files_seen = walk_->files_seen();
    if (out_.ignored_entries > 0) {
      std::string examples;
      for (const std::string& path : walk_->ignored_examples())
        examples += (examples.empty() ? "" : ", ") + QuotePath(path);
      Report("ignored_files", "",
             std::to_string(out_.ignored_entries) +
                 " new files or folders are ignored by .gitignore and not "
                 "carried, such as " +
                 examples);
    }
    std::size_t limit = options_.limits.max_findings;
    if (out_.findings.size() <= limit) return;
    std::size_t left = out_.findings.size() - limit;
    out_.findings.resize(limit);
    Report("more_findings", "", std::to_string(left) + " further findings are not listed");
  }

  const CollectOptions& options_;
  const InputState& state_;
  GitLibrary library_;
  std::unique_ptr<JobTreeWalk> walk_;
  PatchWriter writer_;
  std::map<std::string, std::optional<TreeEntry>> candidates_;  // ordered by path bytes
  Collected out_;
};

}  // namespace

Result<Collected> Collect(const CollectOptions& options) {
  return Collector(options).Run();
}

}  // namespace writ::workspace
