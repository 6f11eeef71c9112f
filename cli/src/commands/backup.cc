// backup, restore: a plane as one file, and back.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "disclosure_report.h"
#include "duration.h"
#include "home.h"
#include "writ/base/clock.h"
#include "writ/plane/backup.h"

namespace writ::cli {
namespace {

void TellMissing(const Context& context, const std::vector<std::string>& blobs) {
  if (blobs.empty()) return;
  context.Note("note: " + Counted(blobs.size(), "blob", "blobs") +
               " that runs name had been lost before: " + blobs.front() +
               (blobs.size() > 1 ? ", ..." : ""));
}

void MakeBackup(Context& context, const std::string& out) {
  SystemClock clock;
  auto report = plane::Backup(context.dir, AbsolutePath(out), clock);
  if (!report) return context.Fail(ExplainDirError(std::move(report).error(), context.dir));
  if (context.json)
    return context.PrintJson(
        json::Object{{"file", report->file},
                     {"bytes", report->bytes},
                     {"runs", report->runs},
                     {"blobs", report->blobs},
                     {"schema", report->schema},
                     {"missingBlobs", json::Value::Texts(report->missing_blobs)}});
  context.Print(report->file + ": " + Counted(report->runs, "run", "runs") + ", " +
                Counted(report->blobs, "blob", "blobs") + ", " + FormatBytes(report->bytes) + "\n");
  TellMissing(context, report->missing_blobs);
  context.Note("the plane's private keys are in it: whoever reads it can sign as this plane");
}

void MakeRestore(Context& context, const std::string& file) {
  auto report = plane::Restore(AbsolutePath(file), context.dir);
  if (!report) return context.Fail(std::move(report).error());
  if (context.json)
    return context.PrintJson(
        json::Object{{"dir", context.dir},
                     {"madeAt", report->made_at},
                     {"keyId", report->plane_key_id},
                     {"runs", report->runs},
                     {"blobs", report->blobs},
                     {"schema", report->schema},
                     {"missingBlobs", json::Value::Texts(report->missing_blobs)}});
  context.Print(context.dir + ": the plane " + TerminalSafe(report->plane_key_id) + " as of " +
                TerminalSafe(report->made_at) + ", " + Counted(report->runs, "run", "runs") + ", " +
                Counted(report->blobs, "blob", "blobs") + "\n");
  TellMissing(context, report->missing_blobs);
  context.Note("runs that were queued then are queued again: never start it beside the old plane");
}

}  // namespace

void AddBackup(CLI::App& app, Context& context) {
  auto out = std::make_shared<std::string>();
  CLI::App* backup =
      app.add_subcommand("backup", "Write the plane of --dir into one file, while it works");
  backup->add_option("--out,-o", *out, "File to make, or a folder for one named by the time")
      ->required();
  backup->footer(
      "In it: the database as of one instant, every blob that it refers to, configuration, "
      "policy,\n"
      "and the keys, unsealed: the file has mode 0600, keep it so. Not in it: live output of runs "
      "at\n"
      "work, and runners' own folders.\n\n"
      "Examples:\n  writ backup --out /srv/backups\n  writ backup --out plane.tar --json");
  backup->callback([&context, out] { MakeBackup(context, *out); });

  auto file = std::make_shared<std::string>();
  CLI::App* restore =
      app.add_subcommand("restore", "Make --dir anew from a backup, or leave it as it is");
  restore->add_option("FILE", *file, "A file that `writ backup` made")->required();
  restore->footer(
      "Every file is checked against its hash, the database for soundness and schema, and every "
      "blob\n"
      "that it names for being there, before the directory gets its name. A directory that is not\n"
      "empty is refused.\n\n"
      "Examples:\n  writ --dir /var/lib/writ-new restore plane.tar");
  restore->callback([&context, file] { MakeRestore(context, *file); });
}

}  // namespace writ::cli
