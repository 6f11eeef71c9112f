// image build: guest images from a directory, an image, a suite of Debian, or a recipe.
#include "image_build.h"

#include <CLI/CLI.hpp>

#include <memory>
#include <optional>

#include "agent_parts.h"
#include "home.h"
#include "recipe_steps.h"
#include "runner_setup.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/backends/image/tree_copy.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/suite_root.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::cli {
namespace {

namespace image = backends::image;
namespace microvm = backends::microvm;

struct BuildCommand {
  microvm::GuestBuild build;
  std::string image;
  microvm::SuiteOrder suite;
  std::vector<std::string> agents;
  std::string recipe;  // file
  bool no_cache = false;
  RecipeStepOptions steps;
};

image::ImageStore ImagesOf(const Context& context) {
  return image::ImageStore(context.dir + "/images");
}

// What becomes the root, for as long as it is needed.
struct RootSource {
  std::optional<microvm::BuildStage> stage;
  std::optional<image::HeldImage> image;
};

// An image's root is nobody's to change: what is put into it goes into a copy.
Status Furnish(const AgentParts& agents, RootSource& source, std::string& root) {
  if (agents.empty()) return {};
  if (!source.stage) {
    WRIT_ASSIGN(microvm::BuildStage stage, microvm::BuildStage::Make());
    source.stage.emplace(std::move(stage));
  }
  WRIT_ASSIGN(UniqueFd from, OpenDirectory(root));
  root = source.stage->path() + "/root";
  WRIT_ASSIGN(UniqueFd to, MakeDirectories(root, 0700));
  image::ImportFindings findings;
  WRIT_TRY(
      image::CopyBeneath(from.get(), ".", to.get(), "", {}, findings, image::Links::kAsTheyAre));
  return agents.Furnish(to.get());
}

Result<RootSource> FindRoot(Context& context, BuildCommand& command, const AgentParts& agents) {
  RootSource out;
  if (!command.image.empty()) {
    WRIT_ASSIGN(image::HeldImage held, ImagesOf(context).Hold(command.image));
    command.build.root = held.root;
    out.image = std::move(held);
  } else if (!command.suite.suite.empty()) {
    for (const std::string& package : agents.Packages()) command.suite.packages.push_back(package);
    WRIT_ASSIGN(microvm::BuildStage stage, microvm::BuildStage::Make());
    const image::ImageStore store(out.stage.emplace(std::move(stage)).path() + "/images");
    WRIT_ASSIGN(const image::ImageRecord record,
                microvm::ImportSuite(store, command.suite,
                                     [&context](const std::string& what) { context.Note(what); }));
    WRIT_ASSIGN(image::HeldImage held, store.Hold(image::ImageDigestText(record.id)));
    command.build.root = held.root;
    out.image = std::move(held);
  } else {
    command.build.root = AbsolutePath(command.build.root);
  }
  WRIT_TRY(Furnish(agents, out, command.build.root));
  return out;
}

Result<image::ImageRecord> BuildFromRecipe(Context& context, const BuildCommand& command,
                                           const AgentParts& agents) {
  WRIT_TRY(RecipeSteps::Check(command.steps));
  const std::string file = AbsolutePath(command.recipe);
  microvm::RecipeBuild build;
  WRIT_ASSIGN(build.text, ReadFile(file, microvm::kMaxRecipeBytes + 1));
  build.folder = file.substr(0, std::max<std::size_t>(file.rfind('/'), 1));
  build.work_dir = RecipesDir(context);
  build.sources = command.suite.sources;
  build.guest = command.build;
  build.cache =
      command.no_cache ? microvm::RecipeBuild::Cache::kIgnored : microvm::RecipeBuild::Cache::kUsed;
  if (!agents.empty()) {
    build.furnish = [&agents](int root) { return agents.Furnish(root); };
    build.furnish_key = agents.Key();
  }
  RecipeSteps steps(context, command.steps);
  build.run = [&steps](const microvm::StepOrder& order) { return steps.Run(order); };
  build.told = [&context](const std::string& what) { context.Note(TerminalSafe(what)); };
  // Machines of jobs' uids read what is in it.
  WRIT_TRY(MakePassable(RealDir(context.dir)));
  WRIT_TRY(MakePassable(build.work_dir));
  return microvm::BuildRecipe(ImagesOf(context), microvm::GuestStore(context.dir), build);
}

Result<image::ImageRecord> BuildImage(Context& context, BuildCommand& command) {
  WRIT_ASSIGN(const Programs programs, FindPrograms());
  WRIT_ASSIGN(const AgentParts agents, AgentParts::Find(context.dir, command.agents));
  if (!command.suite.sources.empty()) command.suite.sources = AbsolutePath(command.suite.sources);
  command.build.agent = programs.guest_agent;
  command.build.launcher = programs.launch;
  command.build.version = WRIT_VERSION;
  command.build.agents = agents.kinds();
  if (!command.recipe.empty()) return BuildFromRecipe(context, command, agents);
  WRIT_ASSIGN(const RootSource root, FindRoot(context, command, agents));
  return microvm::BuildGuestImage(microvm::GuestStore(context.dir), command.build);
}

void Build(Context& context, BuildCommand command) {
  auto record = BuildImage(context, command);
  if (!record) return context.Fail(record.error());
  if (context.json)
    return context.PrintJson(GuestImageJson(microvm::GuestStore(context.dir), *record));
  context.Print(image::ImageDigestText(record->id) + "\n");
}

}  // namespace

std::string RecipesDir(const Context& context) {
  return RealDir(context.dir) + "/recipes";
}

json::Object ImageJson(const image::ImageRecord& record) {
  json::Value value = record.ToJson();
  json::Object out = value.object();
  out.Set("names", json::Value::Texts(record.names));
  return out;
}

json::Object GuestImageJson(const image::ImageStore& store, const image::ImageRecord& record) {
  json::Object out = ImageJson(record);
  out.Set("source", "guest");
  auto held = store.Hold(image::ImageDigestText(record.id));
  auto manifest = held ? microvm::ReadGuestManifest(held->root) : std::move(held).error();
  if (manifest) out.Set("guest", manifest->ToJson());
  return out;
}

json::Object InspectGuestImage(const image::ImageStore& store, const image::ImageRecord& record) {
  json::Object out = GuestImageJson(store, record);
  auto held = store.Hold(image::ImageDigestText(record.id));
  auto text = held ? ReadFile(held->root + "/" + microvm::kProvenanceName, 16u << 20)
                   : Result<std::string>(std::move(held).error());
  auto provenance = text ? microvm::ParseProvenance(*text) : std::move(text).error();
  if (!provenance) return out;
  out.Set("provenance", provenance->ToJson());
  out.Set("folder", held->root);
  return out;
}

void AddImageBuild(CLI::App& group, Context& context) {
  auto build = std::make_shared<BuildCommand>();
  CLI::App* make = group.add_subcommand("build", "Make a guest image and print its digest");
  CLI::Option* root = make->add_option("--root", build->build.root,
                                       "Directory that becomes the guest's root file system");
  CLI::Option* from_image =
      make->add_option("--image", build->image, "Image of `writ image import` that becomes it")
          ->excludes(root);
  CLI::Option* suite = make->add_option("--suite", build->suite.suite,
                                        "Suite of Debian that becomes it, like bookworm")
                           ->excludes(root)
                           ->excludes(from_image);
  CLI::Option* recipe =
      make->add_option("-f,--file", build->recipe, "Recipe that makes it, step by step")
          ->excludes(root)
          ->excludes(from_image)
          ->excludes(suite)
          ->check(CLI::ExistingFile);
  make->add_option("--package", build->suite.packages,
                   "With --suite: a package beside the required ones; again for another")
      ->allow_extra_args(false)
      ->needs(suite);
  make->add_option("--sources", build->suite.sources,
                   "Of a suite: file of apt's sources (default: this host's own)")
      ->check(CLI::ExistingFile);
  make->add_option("--agent", build->agents,
                   "Put in what this agent needs, as it is installed here: claude-code, codex, "
                   "mock; again for another")
      ->allow_extra_args(false);
  make->add_option("--allow-host", build->steps.hosts,
                   "With -f: host that its commands may reach; again for another")
      ->allow_extra_args(false)
      ->needs(recipe);
  make->add_option("--memory", build->steps.memory,
                   "With -f: memory of a step's machine, which holds what the step changes (2G)")
      ->needs(recipe);
  make->add_option("--timeout", build->steps.timeout, "With -f: give up a step after this long")
      ->capture_default_str()
      ->needs(recipe);
  make->add_flag("--no-cache", build->no_cache, "With -f: do every step again")->needs(recipe);
  make->add_option("--kernel", build->build.kernel,
                   "bzImage or ELF (default: the newest /boot/vmlinuz-*-cloud-amd64)");
  make->add_option("--modules", build->build.modules,
                   "The kernel's modules (default: /lib/modules/RELEASE)");
  make->add_option("--name", build->build.name,
                   "A name for it here; runs that name none take the one called default");
  make->footer(
      "The same kernel, programs and root give the same digest. The guest sees the root "
      "read-only,\n"
      "with a layer in memory above it. Each RUN of a recipe is a run of its own, in a machine\n"
      "under a contract, and leaves a receipt in the image (docs/microvm.md, \"Recipes\").\n\n"
      "Examples:\n  writ image import debian.tar --name debian && writ image build --image debian "
      "--name default\n  writ image build --suite bookworm --package git --package curl --name "
      "default\n  writ image build -f recipe --name default\n  writ image build --root ./rootfs "
      "--kernel ./vmlinux --modules "
      "./lib/modules/6.1.0");
  make->callback([&context, build] {
    if (build->image.empty() && build->build.root.empty() && build->suite.suite.empty() &&
        build->recipe.empty())
      return context.Fail(
          Error{ErrorKind::kInvalid, "image.no_root", "a guest image needs a root file system",
                "name it with --root DIRECTORY, --image NAME, --suite SUITE or -f RECIPE"});
    Build(context, *build);
  });
}

}  // namespace writ::cli
