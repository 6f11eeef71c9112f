// image import, ls, inspect, rm: root directories for the container tier.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "usage.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/image/oci_documents.h"

namespace writ::cli {
namespace {

namespace image = backends::image;

image::ImageStore StoreOf(const Context& context) {
  return image::ImageStore(context.dir + "/images");
}

json::Object RecordJson(const image::ImageRecord& record) {
  json::Value value = record.ToJson();
  json::Object out = value.object();
  out.Set("names", json::Value::Texts(record.names));
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

void List(Context& context) {
  std::vector<std::string> damaged;
  auto all = StoreOf(context).List(&damaged);
  if (!all) return context.Fail(all.error());
  if (context.json) {
    json::Array items;
    for (const image::ImageRecord& record : *all) items.push_back(RecordJson(record));
    return context.PrintJson(
        json::Object{{"images", std::move(items)}, {"damaged", json::Value::Texts(damaged)}});
  }
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
  if (all->empty()) context.Note("no images");
}

void Inspect(Context& context, const std::string& reference) {
  auto record = StoreOf(context).Find(reference);
  if (!record) return context.Fail(record.error());
  const json::Value value = RecordJson(*record);
  if (context.json) return context.PrintJson(value);
  context.Print(TerminalSafe(json::WritePretty(value), Newlines::kKeep) + "\n");
}

void Remove(Context& context, const std::string& reference) {
  auto record = StoreOf(context).Find(reference);
  Status removed =
      record ? StoreOf(context).Remove(image::ImageDigestText(record->id)) : Status(record.error());
  if (!removed) return context.Fail(removed.error());
  if (context.json)
    return context.PrintJson(json::Object{{"removed", image::ImageDigestText(record->id)}});
  context.Print("removed " + image::ImageDigestText(record->id) + "\n");
}

}  // namespace

void AddImage(CLI::App& app, Context& context) {
  CLI::App* group = app.add_subcommand("image", "Images that jobs of the container tier run in");
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

  CLI::App* list = group->add_subcommand("ls", "List the images");
  list->footer("Examples:\n  writ image ls\n  writ image ls --json");
  list->callback([&context] { List(context); });

  auto shown = std::make_shared<std::string>();
  CLI::App* inspect = group->add_subcommand("inspect", "Show what is known of an image");
  inspect->add_option("IMAGE", *shown, "A name, a digest, or its first 12 digits")->required();
  inspect->footer("Examples:\n  writ image inspect debian");
  inspect->callback([&context, shown] { Inspect(context, *shown); });

  auto gone = std::make_shared<std::string>();
  CLI::App* remove = group->add_subcommand("rm", "Remove an image that no job runs in");
  remove->add_option("IMAGE", *gone, "A name, a digest, or its first 12 digits")->required();
  remove->footer("Examples:\n  writ image rm debian");
  remove->callback([&context, gone] { Remove(context, *gone); });
}

}  // namespace writ::cli
