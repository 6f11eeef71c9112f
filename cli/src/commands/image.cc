// image import, ls, inspect, verify, rm, gc: root directories for the container tier, guest
// images for the microvm tier.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "image_build.h"
#include "pinned_keys.h"
#include "usage.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/backends/microvm/guest_image.h"

namespace writ::cli {
namespace {

namespace image = backends::image;

image::ImageStore StoreOf(const Context& context) {
  return image::ImageStore(context.dir + "/images");
}

namespace microvm = backends::microvm;

image::ImageStore GuestStoreOf(const Context& context) {
  return microvm::GuestStore(context.dir);
}

// Images and guest images are told apart by where they are; a name or digest means one of either.
struct Found {
  image::ImageStore store;
  image::ImageRecord record;
  bool guest = false;
};
Result<Found> FindAnywhere(const Context& context, const std::string& reference) {
  auto record = StoreOf(context).Find(reference);
  if (record) return Found{StoreOf(context), std::move(record).value(), false};
  auto guest = GuestStoreOf(context).Find(reference);
  if (guest) return Found{GuestStoreOf(context), std::move(guest).value(), true};
  return std::move(record).error();
}

void TellFindings(Context& context, const image::ImportFindings& found) {
  if (found.skipped_special > 0)
    context.Note(std::to_string(found.skipped_special) +
                 " device nodes, FIFOs or sockets were left out: a job gets devices of its own");
  if (found.cleared_set_id > 0)
    context.Note(std::to_string(found.cleared_set_id) +
                 " files lost their set-user-id or set-group-id bit: no job gains rights");
}

struct ImportCommand {
  std::string path;
  image::ImportOptions options;
};

void Import(Context& context, const ImportCommand& command) {
  auto record = StoreOf(context).Import(AbsolutePath(command.path), command.options);
  if (!record) return context.Fail(record.error());
  if (context.json) return context.PrintJson(ImageJson(*record));
  context.Print(image::ImageDigestText(record->id) + "\n");
  TellFindings(context, record->findings);
}

void List(Context& context) {
  std::vector<std::string> damaged;
  auto all = StoreOf(context).List(&damaged);
  if (!all) return context.Fail(all.error());
  std::vector<std::string> damaged_guests;
  auto guests = GuestStoreOf(context).List(&damaged_guests);
  if (!guests) return context.Fail(guests.error());
  if (context.json) {
    json::Array items;
    for (const image::ImageRecord& record : *all) items.push_back(ImageJson(record));
    for (const image::ImageRecord& record : *guests)
      items.push_back(GuestImageJson(GuestStoreOf(context), record));
    damaged.insert(damaged.end(), damaged_guests.begin(), damaged_guests.end());
    return context.PrintJson(
        json::Object{{"images", std::move(items)}, {"damaged", json::Value::Texts(damaged)}});
  }
  for (image::ImageRecord& record : *guests) record.source = "guest";
  all->insert(all->end(), guests->begin(), guests->end());
  for (const image::ImageRecord& record : *all) {
    std::string names;
    for (const std::string& name : record.names) names += (names.empty() ? "" : ",") + name;
    context.Print(image::ImageDigestText(record.id) + "  " + record.imported_at + "  " +
                  std::to_string(record.findings.bytes >> 20) + " MiB  " + record.source + "  " +
                  names + "\n");
  }
  for (const std::string& folder : damaged)
    context.Note(context.dir + "/images/" + TerminalSafe(folder) +
                 " is damaged; importing the image again mends it");
  for (const std::string& folder : damaged_guests)
    context.Note(context.dir + "/guest-images/" + TerminalSafe(folder) +
                 " is damaged; building the image again mends it");
  if (all->empty()) context.Note("no images");
}

void Inspect(Context& context, const std::string& reference) {
  auto found = FindAnywhere(context, reference);
  if (!found) return context.Fail(found.error());
  const json::Value value = found->guest ? InspectGuestImage(found->store, found->record)
                                         : json::Value(ImageJson(found->record));
  if (context.json) return context.PrintJson(value);
  context.Print(TerminalSafe(json::WritePretty(value), Newlines::kKeep) + "\n");
}

struct VerifyCommand {
  std::string reference;
  std::string plane_key, runner_key;
};

void Verify(Context& context, const VerifyCommand& command) {
  auto found = FindAnywhere(context, command.reference);
  if (!found) return context.Fail(found.error());
  const std::string digest = image::ImageDigestText(found->record.id);
  if (auto verified = found->store.Verify(digest); !verified) return context.Fail(verified.error());
  std::optional<microvm::ProvenanceReport> provenance;
  if (found->guest) {
    protocol::VerifyOptions keys;
    for (auto [path, key] : {std::pair{&command.plane_key, &keys.plane_key},
                             {&command.runner_key, &keys.runner_key}}) {
      if (path->empty()) continue;
      auto read = ReadPublicKey(*path);
      if (!read) return context.Fail(kUsage, read.error());
      *key = *read;
    }
    auto held = found->store.Hold(digest);
    if (!held) return context.Fail(held.error());
    auto checked = microvm::CheckProvenance(held->root, keys);
    if (!checked && checked.error().code != "provenance.none") return context.Fail(checked.error());
    if (checked) provenance = std::move(*checked);
  }
  if (context.json) {
    json::Object out{{"verified", digest}};
    if (provenance)
      out.Set("provenance", json::Object{{"steps", provenance->provenance.steps.size()},
                                         {"receipts", provenance->runs},
                                         {"pinned", provenance->runs > 0 && provenance->pinned}});
    return context.PrintJson(out);
  }
  context.Print(digest + " is what was imported\n");
  if (!provenance) return;
  context.Print("of a recipe: " + std::to_string(provenance->provenance.steps.size()) + " steps, " +
                std::to_string(provenance->runs) + " receipts hold\n");
  if (provenance->runs > 0 && !provenance->pinned)
    context.Note(
        "the receipts' keys are their own word: pin them with --plane-key and --runner-key");
}

struct CollectCommand {
  bool dry_run = false;
};

// What was kept so that recipes are built faster the next time.
void Collect(Context& context, const CollectCommand& command) {
  auto gone = microvm::CollectRecipeGarbage(RecipesDir(context), command.dry_run);
  if (!gone) return context.Fail(gone.error());
  if (context.json)
    return context.PrintJson(json::Object{{"dryRun", command.dry_run}, {"removed", *gone}});
  if (*gone == 0) return context.Note("nothing to remove");
  context.Print((command.dry_run ? "would remove " : "removed ") + std::to_string(*gone) +
                " images of recipes' steps\n");
}

void Remove(Context& context, const std::string& reference) {
  auto found = FindAnywhere(context, reference);
  if (!found) return context.Fail(found.error());
  const std::string digest = image::ImageDigestText(found->record.id);
  if (Status removed = found->store.Remove(digest); !removed) return context.Fail(removed.error());
  if (context.json) return context.PrintJson(json::Object{{"removed", digest}});
  context.Print("removed " + digest + "\n");
}

}  // namespace

void AddImage(CLI::App& app, Context& context) {
  CLI::App* group =
      app.add_subcommand("image", "Images that jobs of the container and microvm tiers run in");
  group->require_subcommand(1);
  group->footer(
      "Examples:\n  writ image import debian.tar --name debian\n  writ image ls\n  writ image "
      "inspect debian\n  writ image rm debian");

  auto import = std::make_shared<ImportCommand>();
  CLI::App* add = group->add_subcommand("import", "Bring an image in and print its digest");
  add->add_option("PATH", import->path,
                  "An OCI image layout (directory or tar), a docker-archive, or a root directory")
      ->required();
  add->add_option("--name", import->options.name, "A name for it here; taken from another image");
  add->add_option("--tag", import->options.tag, "Which image, where PATH holds several");
  add->add_option("--max-bytes", import->options.limits.bytes,
                  "Refuse an image with more bytes of files (default 32 GiB)");
  add->footer(
      "Every digest is checked. Owners, devices, set-user-id bits and extended attributes are not\n"
      "kept. An image with a hostile name, link or size is refused as a whole.\n\n"
      "Examples:\n  skopeo copy docker://debian:12 oci-archive:debian.tar && writ image import "
      "debian.tar --name debian\n  docker save -o agent.tar agent:1 && writ image import "
      "agent.tar");
  add->callback([&context, import] { Import(context, *import); });

  AddImageBuild(*group, context);

  CLI::App* list = group->add_subcommand("ls", "List the images");
  list->footer("Examples:\n  writ image ls\n  writ image ls --json");
  list->callback([&context] { List(context); });

  auto shown = std::make_shared<std::string>();
  CLI::App* inspect = group->add_subcommand("inspect", "Show what is known of an image");
  inspect->add_option("IMAGE", *shown, "A name, a digest, or its first 12 digits")->required();
  inspect->footer("Examples:\n  writ image inspect debian");
  inspect->callback([&context, shown] { Inspect(context, *shown); });

  auto compared = std::make_shared<VerifyCommand>();
  CLI::App* verify =
      group->add_subcommand("verify", "Read an image's files and compare them with its digest");
  verify->add_option("IMAGE", compared->reference, "A name, a digest, or its first 12 digits")
      ->required();
  verify->add_option("--plane-key", compared->plane_key,
                     "PEM public key that the plane of its steps' receipts must have");
  verify->add_option("--runner-key", compared->runner_key,
                     "PEM public key that the runner of its steps' receipts must have");
  verify->footer(
      "Runs do the same before an image's first use after a boot. One that is damaged is refused\n"
      "from then on; importing it again mends it. Of an image that a recipe made, the receipts of\n"
      "its steps are verified too, offline, and held against the recipe and each other.\n\n"
      "Examples:\n  writ image verify debian");
  verify->callback([&context, compared] { Verify(context, *compared); });

  auto gone = std::make_shared<std::string>();
  CLI::App* remove = group->add_subcommand("rm", "Remove an image that no job runs in");
  remove->add_option("IMAGE", *gone, "A name, a digest, or its first 12 digits")->required();
  remove->footer("Examples:\n  writ image rm debian");
  remove->callback([&context, gone] { Remove(context, *gone); });

  auto options = std::make_shared<CollectCommand>();
  CLI::App* gc = group->add_subcommand("gc", "Remove what was kept of recipes' steps");
  gc->add_flag("--dry-run", options->dry_run, "Only say what would go");
  gc->footer(
      "Steps that are not kept are done again by the next build. Images stay: `writ image rm`.\n\n"
      "Examples:\n  writ image gc --dry-run\n  writ image gc --json");
  gc->callback([&context, options] { Collect(context, *options); });
}

}  // namespace writ::cli
