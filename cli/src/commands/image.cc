// image import, build, ls, inspect, verify, rm: root directories for the container tier, guest
// images for the microvm tier.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
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

json::Object RecordJson(const image::ImageRecord& record) {
  json::Value value = record.ToJson();
  json::Object out = value.object();
  out.Set("names", json::Value::Texts(record.names));
  return out;
}

// With what is in it.
json::Object GuestJson(const image::ImageStore& store, const image::ImageRecord& record) {
  json::Object out = RecordJson(record);
  out.Set("source", "guest");
  auto held = store.Hold(image::ImageDigestText(record.id));
  auto manifest = held ? microvm::ReadGuestManifest(held->root) : std::move(held).error();
  if (manifest) out.Set("guest", manifest->ToJson());
  return out;
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
  if (context.json) return context.PrintJson(RecordJson(*record));
  context.Print(image::ImageDigestText(record->id) + "\n");
  TellFindings(context, record->findings);
}

struct BuildCommand {
  microvm::GuestBuild build;
  std::string image;
};

void Build(Context& context, BuildCommand command) {
  auto programs = FindPrograms();
  if (!programs) return context.Fail(programs.error());
  UniqueFd lock;
  if (!command.image.empty()) {
    auto held = StoreOf(context).Hold(command.image);
    if (!held) return context.Fail(held.error());
    command.build.root = held->root;
    lock = std::move(held->lock);
  } else {
    command.build.root = AbsolutePath(command.build.root);
  }
  command.build.agent = programs->guest_agent;
  command.build.launcher = programs->launch;
  command.build.version = WRIT_VERSION;
  auto record = microvm::BuildGuestImage(GuestStoreOf(context), command.build);
  if (!record) return context.Fail(record.error());
  if (context.json) return context.PrintJson(GuestJson(GuestStoreOf(context), *record));
  context.Print(image::ImageDigestText(record->id) + "\n");
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
    for (const image::ImageRecord& record : *all) items.push_back(RecordJson(record));
    for (const image::ImageRecord& record : *guests)
      items.push_back(GuestJson(GuestStoreOf(context), record));
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
  const json::Value value =
      found->guest ? GuestJson(found->store, found->record) : RecordJson(found->record);
  if (context.json) return context.PrintJson(value);
  context.Print(TerminalSafe(json::WritePretty(value), Newlines::kKeep) + "\n");
}

void Verify(Context& context, const std::string& reference) {
  auto found = FindAnywhere(context, reference);
  if (!found) return context.Fail(found.error());
  const std::string digest = image::ImageDigestText(found->record.id);
  if (auto verified = found->store.Verify(digest); !verified) return context.Fail(verified.error());
  if (context.json) return context.PrintJson(json::Object{{"verified", digest}});
  context.Print(digest + " is what was imported\n");
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

  auto build = std::make_shared<BuildCommand>();
  CLI::App* make = group->add_subcommand("build", "Make a guest image and print its digest");
  CLI::Option* root = make->add_option("--root", build->build.root,
                                       "Directory that becomes the guest's root file system");
  make->add_option("--image", build->image, "Image of `writ image import` that becomes it")
      ->excludes(root);
  make->add_option("--kernel", build->build.kernel,
                   "bzImage or ELF (default: the newest /boot/vmlinuz-*-cloud-amd64)");
  make->add_option("--modules", build->build.modules,
                   "The kernel's modules (default: /lib/modules/RELEASE)");
  make->add_option("--name", build->build.name,
                   "A name for it here; runs that name none take the one called default");
  make->require_option(1, 4);
  make->footer(
      "The same kernel, programs and root give the same digest. The guest sees the root "
      "read-only,\n"
      "with a layer in memory above it.\n\n"
      "Examples:\n  writ image import debian.tar --name debian && writ image build --image debian "
      "--name default\n  writ image build --root ./rootfs --kernel ./vmlinux --modules "
      "./lib/modules/6.1.0");
  make->callback([&context, build] {
    if (build->image.empty() && build->build.root.empty())
      return context.Fail(Error{ErrorKind::kInvalid, "image.no_root",
                                "a guest image needs a root file system",
                                "name it with --root DIRECTORY or --image NAME"});
    Build(context, *build);
  });

  CLI::App* list = group->add_subcommand("ls", "List the images");
  list->footer("Examples:\n  writ image ls\n  writ image ls --json");
  list->callback([&context] { List(context); });

  auto shown = std::make_shared<std::string>();
  CLI::App* inspect = group->add_subcommand("inspect", "Show what is known of an image");
  inspect->add_option("IMAGE", *shown, "A name, a digest, or its first 12 digits")->required();
  inspect->footer("Examples:\n  writ image inspect debian");
  inspect->callback([&context, shown] { Inspect(context, *shown); });

  auto compared = std::make_shared<std::string>();
  CLI::App* verify =
      group->add_subcommand("verify", "Read an image's files and compare them with its digest");
  verify->add_option("IMAGE", *compared, "A name, a digest, or its first 12 digits")->required();
  verify->footer(
      "Runs do the same before an image's first use after a boot. One that is damaged is refused\n"
      "from then on; importing it again mends it.\n\nExamples:\n  writ image verify debian");
  verify->callback([&context, compared] { Verify(context, *compared); });

  auto gone = std::make_shared<std::string>();
  CLI::App* remove = group->add_subcommand("rm", "Remove an image that no job runs in");
  remove->add_option("IMAGE", *gone, "A name, a digest, or its first 12 digits")->required();
  remove->footer("Examples:\n  writ image rm debian");
  remove->callback([&context, gone] { Remove(context, *gone); });
}

}  // namespace writ::cli
