// plane gc: what the policy's terms let go, now and in whole, or first only counted.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "settings.h"
#include "writ/base/clock.h"

namespace writ::cli {
namespace {

struct GcCommand {
  bool dry_run = false;
};

void CollectGarbage(Context& context, const GcCommand& command) {
  SystemClock clock;
  auto settings = ReadPlaneSettings(context.dir, {});
  if (!settings) return context.Fail(settings.error());
  // An ordinary open sweeps; here it is the command that does, or does not.
  auto opened = plane::Plane::Open(
      {.dir = context.dir, .config = settings->config, .at_open = plane::AtOpen::kChangeNothing},
      clock);
  if (!opened) return context.Fail(ExplainDirError(opened.error(), context.dir));
  auto report = (*opened)->CollectGarbage(command.dry_run ? plane::GarbageMode::kDryRun
                                                          : plane::GarbageMode::kCollect);
  if (!report) return context.Fail(report.error());
  if (context.json)
    return context.PrintJson(json::Object{{"dryRun", command.dry_run},
                                          {"runs", report->runs},
                                          {"artifacts", report->artifacts},
                                          {"blobs", report->blobs},
                                          {"bytes", report->bytes},
                                          {"parts", report->parts},
                                          {"blobsLeft", report->blobs_left},
                                          {"bytesLeft", report->bytes_left}});
  context.Print(std::string(command.dry_run ? "would remove " : "removed ") +
                std::to_string(report->runs) + " runs, the artifacts of " +
                std::to_string(report->artifacts) + " more, " + std::to_string(report->blobs) +
                " blobs (" + FormatBytes(report->bytes) + "); " +
                std::to_string(report->blobs_left) + " blobs (" + FormatBytes(report->bytes_left) +
                ") stay\n");
}

}  // namespace

void AddPlaneGc(CLI::App& app, Context& context) {
  auto options = std::make_shared<GcCommand>();
  CLI::App* gc = app.get_subcommand("plane")->add_subcommand(
      "gc", "Remove what the policy's retention has let go: runs, artifacts, blobs");
  gc->add_flag("--dry-run", options->dry_run, "Only say what would go");
  gc->footer(
      "A plane that serves does this by itself, every ten minutes; both may work at the same "
      "time.\n"
      "Blobs that a run's term still covers are never touched, and every deletion is an entry of\n"
      "`writ export`.\n\n"
      "Examples:\n  writ plane gc --dry-run\n  writ plane gc --json");
  gc->callback([&context, options] { CollectGarbage(context, *options); });
}

}  // namespace writ::cli
