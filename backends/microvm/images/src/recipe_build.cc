#include "writ/backends/microvm/recipe_build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/image/tree_copy.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/backends/microvm/suite_root.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxRootBytes = 8ull << 30;  // holes count: they are written out
constexpr std::uint64_t kMaxRootEntries = 1'000'000;
constexpr std::uint64_t kMaxNoteBytes = 16u << 10;
constexpr std::uint64_t kMaxSources = 1u << 20;
constexpr std::size_t kPiece = 256u << 10;
constexpr char kRootsName[] = "/roots";
constexpr char kNotesName[] = "/steps";

image::ImportLimits RootLimits() {
  image::ImportLimits limits;
  limits.bytes = kMaxRootBytes;
  limits.entries = kMaxRootEntries;
  return limits;
}

Error AtLine(Error error, std::size_t line) {
  error.message = "line " + std::to_string(line) + ": " + error.message;
  return error;
}

std::string Relative(const std::string& absolute) {
  std::string out = absolute.substr(1);
  while (out.ends_with('/')) out.pop_back();
  return out;
}

// Whether a directory of `files` would take the place of a link or a file of `root`: /bin of most
// systems is a link, and a directory instead of it hides all that is there.
Status CheckWays(int files, int root, const std::string& path) {
  WRIT_ASSIGN(const std::vector<std::string> names, NamesIn(files, "recipe.copy"));
  for (const std::string& name : names) {
    struct stat ours {};
    struct stat there {};
    if (::fstatat(files, name.c_str(), &ours, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(ours.st_mode) ||
        ::fstatat(root, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    const std::string place = path + "/" + name;
    if (!S_ISDIR(there.st_mode))
      return Error{ErrorKind::kInvalid, "recipe.copy_target",
                   place + " of the image is a link or a file, and no directory",
                   "name the place that the link leads to, like /usr/bin for /bin"};
    WRIT_ASSIGN(const UniqueFd below, OpenBeneath(files, name, O_RDONLY | O_DIRECTORY));
    WRIT_ASSIGN(const UniqueFd below_there, OpenBeneath(root, name, O_RDONLY | O_DIRECTORY));
    WRIT_TRY(CheckWays(below.get(), below_there.get(), place));
  }
  return {};
}

class Build {
 public:
  Build(const image::ImageStore& images, const image::ImageStore& store, const RecipeBuild& order)
      : images_(images), store_(store), order_(order), roots_(order.work_dir + kRootsName) {}

  Result<image::ImageRecord> Run() {
    WRIT_ASSIGN(const Recipe recipe, ParseRecipe(order_.text));
    WRIT_TRY(CheckAhead(recipe));
    WRIT_ASSIGN(notes_, MakeDirectories(order_.work_dir + kNotesName, 0700));
    WRIT_TRY(Begin(recipe));
    provenance_.recipe = protocol::Sha256(order_.text);
    provenance_.base_root = root_->record.id;
    for (const RecipeStep& step : recipe.steps) {
      Tell(std::to_string(step.line) + ": " + step.text);
      Status done = Step(step);
      if (!done) return AtLine(std::move(done).error(), step.line);
    }
    return Finish();
  }

 private:
  void Tell(const std::string& what) const {
    if (order_.told) order_.told(what);
  }

  // What can be said without doing anything: no machine boots for a recipe that is wrong.
  Status CheckAhead(const Recipe& recipe) {
    if (recipe.base.kind == RecipeBase::Kind::kSuite) {
      Status suite = CheckSuite({recipe.base.name, recipe.base.packages, {}});
      if (!suite) return AtLine(std::move(suite).error(), recipe.base_line);
    }
    if (recipe.base.kind == RecipeBase::Kind::kImage) {
      auto found = images_.Find(recipe.base.name);
      if (!found) return AtLine(std::move(found).error(), recipe.base_line);
    }
    WRIT_ASSIGN(folder_, OpenDirectory(order_.folder));
    for (const RecipeStep& step : recipe.steps)
      for (const std::string& source : step.sources)
        if (auto there = OpenBeneath(folder_.get(), source, O_PATH); !there)
          return AtLine(Error{ErrorKind::kInvalid, "recipe.copy_source",
                              "there is no " + source + " in the recipe's folder",
                              "sources are below the folder that the recipe is in, and reached "
                              "through no link"},
                        step.line);
    return {};
  }

  Status Begin(const Recipe& recipe) {
    const RecipeBase& base = recipe.base;
    provenance_.base = base.kind == RecipeBase::Kind::kSuite ? "--suite " + base.name : base.name;
    for (const std::string& package : base.packages) provenance_.base += " " + package;
    Tell(std::to_string(recipe.base_line) + ": FROM " + provenance_.base);
    std::string parent;
    std::optional<image::HeldImage> held;
    if (base.kind == RecipeBase::Kind::kImage) {
      WRIT_ASSIGN(held, images_.Hold(base.name));
      if (!order_.furnish) {
        root_ = std::move(held);
        return {};
      }
      parent = held->record.id.ToHex();
    }
    std::string sources;
    if (!order_.sources.empty()) {
      WRIT_ASSIGN(sources, ReadFile(order_.sources, kMaxSources));
    }
    const std::string key = Key({"from", provenance_.base, parent, sources, order_.furnish_key});
    if (Cached(key)) return {};
    if (base.kind == RecipeBase::Kind::kSuite) {
      WRIT_ASSIGN(const image::ImageRecord record,
                  ImportSuite(roots_, {base.name, base.packages, order_.sources}, order_.told));
      WRIT_ASSIGN(held, roots_.Hold(image::ImageDigestText(record.id)));
    }
    WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
    WRIT_ASSIGN(UniqueFd dir, MakeDirectories(stage.path() + "/root", 0700));
    if (held) {
      WRIT_TRY(CopyRoot(held->root, dir.get()));
    } else {
      WRIT_ASSIGN(const UniqueFd usr, MakeDirectoriesBeneath(dir.get(), "usr", 0755));
    }
    if (order_.furnish) WRIT_TRY(order_.furnish(dir.get()));
    return Take(stage.path() + "/root", key);
  }

  Status Step(const RecipeStep& step) {
    switch (step.kind) {
      case RecipeStep::Kind::kRun:
        return RunStep(step);
      case RecipeStep::Kind::kCopy:
        return Copy(step);
      case RecipeStep::Kind::kWorkDir:
        Apply(step, config_);
        return MakeWorkDir(step);
      case RecipeStep::Kind::kUser: {
        WRIT_ASSIGN(UniqueFd root, OpenDirectory(root_->root));
        WRIT_TRY(FindGuestUser(root.get(), step.target));
        Apply(step, config_);
        return {};
      }
      case RecipeStep::Kind::kEnv:
      case RecipeStep::Kind::kStart:
      case RecipeStep::Kind::kHealth:
        Apply(step, config_);
        return {};
    }
    return {};
  }

  // Begins a step that changes the root.
  ProvenanceStep Note(const RecipeStep& step) const {
    ProvenanceStep out;
    out.line = step.line;
    out.text = step.text;
    out.parent = root_->record.id;
    return out;
  }
  void Noted(ProvenanceStep step) {
    step.result = root_->record.id;
    provenance_.steps.push_back(std::move(step));
  }

  Status Copy(const RecipeStep& step) {
    ProvenanceStep note = Note(step);
    WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
    WRIT_ASSIGN(UniqueFd files, MakeDirectories(stage.path() + "/files", 0700));
    // Copied first, so that what is hashed is what comes in.
    protocol::Sha256Hasher digests;
    const image::ImportLimits limits = RootLimits();
    image::ImportFindings findings;
    for (const std::string& source : step.sources) {
      std::string target = Relative(step.target);
      auto place = OpenBeneath(folder_.get(), source, O_PATH);
      struct stat st {};
      if (!place || ::fstat(place->get(), &st) != 0)
        return Error{ErrorKind::kInvalid, "recipe.copy_source",
                     "there is no " + source + " any more"};
      if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return Error{ErrorKind::kInvalid, "recipe.copy_source",
                     source + " is neither a file nor a directory", "name what a link leads to"};
      if (!S_ISDIR(st.st_mode) && (step.target.ends_with('/') || target.empty()))
        target += (target.empty() ? "" : "/") + source.substr(source.rfind('/') + 1);
      WRIT_ASSIGN(const protocol::Digest digest,
                  image::CopyBeneath(folder_.get(), source, files.get(), target, limits, findings,
                                     image::Links::kInsideOnly));
      digests.Update(digest.ToHex());
    }
    note.files = digests.Finish();
    WRIT_ASSIGN(const UniqueFd there, OpenDirectory(root_->root));
    WRIT_TRY(CheckWays(files.get(), there.get(), ""));
    const std::string key = Key({"copy", root_->record.id.ToHex(), step.text, note.files->ToHex()});
    if (!Cached(key)) {
      WRIT_ASSIGN(UniqueFd dir, MakeDirectories(stage.path() + "/root", 0700));
      WRIT_TRY(CopyRoot(root_->root, dir.get()));
      WRIT_ASSIGN(const protocol::Digest merged,
                  image::CopyBeneath(files.get(), ".", dir.get(), "", limits, findings,
                                     image::Links::kAsTheyAre));
      (void)merged;
      WRIT_TRY(Take(stage.path() + "/root", key));
    }
    Noted(std::move(note));
    return {};
  }

  Status MakeWorkDir(const RecipeStep& step) {
    const std::string place = Relative(step.target);
    if (place.empty()) return {};
    WRIT_ASSIGN(UniqueFd there, OpenDirectory(root_->root));
    if (OpenBeneath(there.get(), place, O_RDONLY | O_DIRECTORY)) return {};
    ProvenanceStep note = Note(step);
    const std::string key = Key({"workdir", root_->record.id.ToHex(), step.text});
    if (!Cached(key)) {
      WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
      WRIT_ASSIGN(UniqueFd dir, MakeDirectories(stage.path() + "/root", 0700));
      WRIT_TRY(CopyRoot(root_->root, dir.get()));
      if (auto made = MakeDirectoriesBeneath(dir.get(), place, 0755); !made)
        return Error{ErrorKind::kInvalid, "recipe.workdir",
                     step.target + " cannot be made: a link or a file is in its way",
                     "name the place that the link leads to"};
      WRIT_TRY(Take(stage.path() + "/root", key));
    }
    Noted(std::move(note));
    return {};
  }

  Status RunStep(const RecipeStep& step) {
    WRIT_ASSIGN(UniqueFd there, OpenDirectory(root_->root));
    GuestUser user;
    if (!config_.user.empty()) {
      WRIT_ASSIGN(user, FindGuestUser(there.get(), config_.user));
    }
    GuestBuild guest = order_.guest;
    guest.root = root_->root;
    guest.name.clear();
    guest.agents.clear();
    guest.root_job = RootJobConfig{user.uid, user.gid, config_.work_dir, config_.env};
    WRIT_ASSIGN(const image::ImageRecord machine,
                BuildGuestImage(GuestStore(order_.work_dir), guest));
    // The image covers root, user, directory, variables, kernel and agent.
    const std::string key = Key({"run", machine.id.ToHex(), step.command});
    ProvenanceStep note = Note(step);
    const std::string bundle_name = key + ".bundle";
    const std::string note_name = key + ".note";
    std::string bundle;
    if (Cached(key)) {
      auto file = OpenBeneath(notes_.get(), bundle_name, O_RDONLY);
      auto said = OpenBeneath(notes_.get(), note_name, O_RDONLY);
      auto text = file ? ReadAll(file->get(), protocol::kDefaultMaxBundleBytes)
                       : Result<std::string>(std::move(file).error());
      auto words =
          said ? ReadAll(said->get(), kMaxNoteBytes) : Result<std::string>(std::move(said).error());
      if (text && words) note.run = ReadNote(*words, *text);
      if (note.run) bundle = std::move(*text);
    }
    if (!note.run) {
      if (note.parent != root_->record.id) {  // a root without its receipt is not used
        WRIT_ASSIGN(root_, roots_.Hold(image::ImageDigestText(note.parent)));
      }
      WRIT_ASSIGN(const StepDone done,
                  order_.run({image::ImageDigestText(machine.id), order_.work_dir, step.command}));
      WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
      WRIT_ASSIGN(UniqueFd dir, MakeDirectories(stage.path() + "/root", 0700));
      WRIT_TRY(CopyRoot(root_->root, dir.get()));
      WRIT_TRY(CarryOut(done, dir.get()));
      dir.reset();
      bundle = done.bundle;
      note.run =
          ProvenanceRun{done.run_id, {}, {}, done.layer_digest, protocol::Sha256(bundle), {}};
      WRIT_TRY(WriteFileAtomic(notes_.get(), bundle_name, bundle, 0600));
      WRIT_TRY(WriteFileAtomic(notes_.get(), note_name,
                               done.run_id + "\n" + done.layer_digest.ToHex() + "\n", 0600));
      WRIT_TRY(Take(stage.path() + "/root", key));
    }
    note.run->command = step.command;
    note.run->image = machine.id;
    note.run->file = "receipt-" + std::to_string(step.line) + ".json";
    receipts_.emplace_back(note.run->file, std::move(bundle));
    Noted(std::move(note));
    return {};
  }

  static std::optional<ProvenanceRun> ReadNote(const std::string& words,
                                               const std::string& bundle) {
    const auto first = words.find('\n');
    if (first == std::string::npos || !words.ends_with('\n')) return std::nullopt;
    auto layer = protocol::Digest::Parse(words.substr(first + 1, words.size() - first - 2));
    if (!layer) return std::nullopt;
    return ProvenanceRun{words.substr(0, first), {}, {}, *layer, protocol::Sha256(bundle), {}};
  }

  // What a machine said that its step has changed: anybody's words.
  static Status CarryOut(const StepDone& done, int root) {
    UniqueFd layer(::open(done.layer.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!layer) return SysError(errno, "recipe.layer", "cannot open what the step has changed");
    UniqueFd own(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!own) return SysError(errno, "recipe.layer", "cannot open the root");
    TreeReader reader(std::move(own), {kMaxRootBytes, kMaxRootEntries});
    protocol::Sha256Hasher hasher;
    std::string buffer(kPiece, '\0');
    for (;;) {
      const ssize_t count = ::read(layer.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0)
        return SysError(errno, "recipe.layer", "cannot read what the step has changed");
      if (count == 0) break;
      const std::string_view bytes =
          std::string_view(buffer).substr(0, static_cast<std::size_t>(count));
      hasher.Update(bytes);
      WRIT_TRY(reader.Add(bytes));
    }
    if (hasher.Finish() != done.layer_digest)
      return Error{ErrorKind::kIntegrity, "recipe.layer",
                   "the layer is not the one of the receipt"};
    if (!reader.complete())
      return Error{ErrorKind::kInvalid, "recipe.layer",
                   "the step's machine did not give out all that was changed"};
    return {};
  }

  static Status CopyRoot(const std::string& from, int to) {
    WRIT_ASSIGN(UniqueFd dir, OpenDirectory(from));
    image::ImportFindings findings;
    auto copied = image::CopyBeneath(dir.get(), ".", to, "", RootLimits(), findings,
                                     image::Links::kAsTheyAre);
    return copied ? Status() : Status(std::move(copied).error());
  }

  static std::string Key(const std::vector<std::string>& parts) {
    protocol::Sha256Hasher hasher;
    hasher.Update("writ recipe 1");
    for (const std::string& part : parts) {
      hasher.Update(std::to_string(part.size()) + ":");
      hasher.Update(part);
    }
    return "step-" + hasher.Finish().ToHex();
  }

  // Whether that step's root is there; it becomes ours.
  bool Cached(const std::string& key) {
    if (order_.cache == RecipeBuild::Cache::kIgnored) return false;
    auto held = roots_.Hold(key);
    if (!held) return false;
    root_ = std::move(*held);
    Tell("  as before: " + root_->record.id.ToHex().substr(0, 12));
    return true;
  }

  Status Take(const std::string& tree, const std::string& key) {
    image::ImportOptions options;
    options.name = key;
    options.limits = RootLimits();
    WRIT_ASSIGN(const image::ImageRecord record, roots_.Import(tree, options));
    WRIT_ASSIGN(root_, roots_.Hold(image::ImageDigestText(record.id)));
    return {};
  }

  Result<image::ImageRecord> Finish() {
    GuestBuild guest = order_.guest;
    provenance_.root = root_->record.id;
    guest.root = root_->root;
    guest.config = config_;
    guest.provenance = std::move(receipts_);
    guest.provenance.emplace_back(kRecipeName, order_.text);
    guest.provenance.emplace_back(kProvenanceName, json::WritePretty(provenance_.ToJson()) + "\n");
    return BuildGuestImage(store_, guest);
  }

  const image::ImageStore& images_;
  const image::ImageStore& store_;
  const RecipeBuild& order_;
  const image::ImageStore roots_;
  UniqueFd folder_;
  UniqueFd notes_;
  std::optional<image::HeldImage> root_;  // what the next step begins with
  GuestConfig config_;
  Provenance provenance_;
  std::vector<std::pair<std::string, std::string>> receipts_;
};

}  // namespace

Result<image::ImageRecord> BuildRecipe(const image::ImageStore& images,
                                       const image::ImageStore& store, const RecipeBuild& build) {
  return Build(images, store, build).Run();
}

Result<std::size_t> CollectRecipeGarbage(const std::string& work_dir, bool dry_run) {
  std::size_t gone = 0;
  for (const image::ImageStore& store :
       {image::ImageStore(work_dir + kRootsName), GuestStore(work_dir)}) {
    WRIT_ASSIGN(const std::vector<image::ImageRecord> all, store.List());
    for (const image::ImageRecord& record : all) {
      Status removed = dry_run ? Status() : store.Remove(image::ImageDigestText(record.id));
      if (removed) ++gone;  // one that a build holds stays
    }
  }
  auto notes = OpenDirectory(work_dir + kNotesName);
  if (!notes || dry_run) return gone;
  WRIT_ASSIGN(const std::vector<std::string> names, NamesIn(notes->get()));
  for (const std::string& name : names) (void)::unlinkat(notes->get(), name.c_str(), 0);
  return gone;
}

}  // namespace writ::backends::microvm
