// plane rotate-key, plane keys: the plane's signing key and the manifest that the organisation
// signs.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "writ/base/clock.h"
#include "writ/plane/plane_keys.h"

namespace writ::cli {
namespace {

struct RotateCommand {
  std::string org_key;
  std::string overlap = "1h";
};

void RotateKey(Context& context, const RotateCommand& command) {
  auto overlap = ParseDuration(command.overlap);
  if (!overlap)
    return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_duration",
                              "--overlap is not a duration", "write it like 1h or 30m"});
  SystemClock clock;
  const plane::PlaneKeyRotation rotation{
      .org_key_file = command.org_key.empty() ? "" : AbsolutePath(command.org_key),
      .overlap = std::chrono::duration_cast<std::chrono::seconds>(*overlap)};
  auto rotated = plane::RotatePlaneKey(context.dir, rotation, clock);
  if (!rotated) return context.Fail(ExplainDirError(rotated.error(), context.dir));
  // Opened once, so that the admin chain has it even where the plane is restarted much later.
  if (auto opened = OpenPlane(context.dir, clock); !opened) return context.Fail(opened.error());
  if (context.json) {
    return context.PrintJson(json::Object{{"oldKeyId", rotated->old_key_id},
                                          {"keyId", rotated->new_key_id},
                                          {"oldEnds", FormatRfc3339(rotated->old_ends)},
                                          {"planeKey", context.dir + "/keys/plane.pub.pem"}});
  }
  context.Print("plane key " + rotated->new_key_id + " (before: " + rotated->old_key_id + ")\n");
  context.Note("restart a running plane before " + FormatRfc3339(rotated->old_ends) +
               ": until then it signs with the old key, afterwards not at all");
  context.Note("who pins the organisation's key takes the new one from the manifest (" +
               context.Command("plane keys") + "); who pins the plane's own key needs " +
               context.dir + "/keys/plane.pub.pem again");
}

void PrintKeys(Context& context) {
  SystemClock clock;
  if (auto made = plane::EnsureKeyManifest(context.dir, clock); !made)
    return context.Fail(ExplainDirError(made.error(), context.dir));
  auto text = plane::KeyManifestText(context.dir);
  if (!text) return context.Fail(text.error());
  auto manifest = json::Parse(*text);
  if (!manifest) return context.Fail(manifest.error());
  if (context.json) return context.PrintJson(std::move(*manifest));
  context.Print(json::WritePretty(*manifest) + "\n");
}

}  // namespace

void AddPlaneKeys(CLI::App& app, Context& context) {
  CLI::App* plane = app.get_subcommand("plane");
  auto options = std::make_shared<RotateCommand>();
  CLI::App* rotate = plane->add_subcommand("rotate-key",
                                           "Give the plane another signing key, signed by the "
                                           "organisation's key; old receipts still verify");
  rotate->add_option("--org-key", options->org_key,
                     "The organisation's private key (default: keys/org.pem of --dir)");
  rotate->add_option("--overlap", options->overlap, "How long the old key may still sign contracts")
      ->capture_default_str();
  rotate->footer(
      "Examples:\n  writ plane rotate-key\n  writ plane rotate-key --org-key /media/org.pem "
      "--overlap 24h");
  rotate->callback([&context, options] { RotateKey(context, *options); });

  CLI::App* keys = plane->add_subcommand(
      "keys",
      "Print the key manifest: the plane's keys, each for its time, signed by the "
      "organisation");
  keys->footer(
      "Examples:\n  writ plane keys > keys.json\n  writ-verify run.json --key-manifest keys.json "
      "--org-key org.pub.pem");
  keys->callback([&context] { PrintKeys(context); });
}

}  // namespace writ::cli
