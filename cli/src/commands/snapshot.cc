// snapshot build, ls, inspect, verify, rm, gc: what runs of the microvm tier start from.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <bit>
#include <memory>
#include <set>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "machine_setup.h"
#include "own_cgroup.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/pages/layered_memory.h"
#include "writ/backends/microvm/snapshot_build.h"

namespace writ::cli {
namespace {

namespace microvm = backends::microvm;
using microvm::SnapshotRecord;

microvm::SnapshotStore StoreOf(const Context& context) {
  return microvm::SnapshotStoreOf(context.dir);
}

// Why runs would not start from it; empty: they would.
std::string WhyUnusable(const backends::SnapshotJudge& judge, const SnapshotRecord& record) {
  Status fits = judge.Judge(record);
  return fits ? std::string() : fits.error().message + " [" + fits.error().code + "]";
}

json::Object RecordJson(const SnapshotRecord& record) {
  const json::Value manifest = record.manifest.ToJson();
  json::Object out{{"digest", record.text()}, {"diskBytes", record.disk_bytes}};
  for (const json::Member& member : manifest.object()) out.Set(member.name, member.value);
  return out;
}
json::Object JudgedJson(const backends::SnapshotJudge& judge, const SnapshotRecord& record) {
  json::Object out = RecordJson(record);
  const std::string why = WhyUnusable(judge, record);
  out.Set("usable", why.empty());
  if (!why.empty()) out.Set("reason", why);
  return out;
}

// What the page server places ahead of a machine's faults.
json::Object WorkingSetJson(const microvm::pages::WorkingSet& set) {
  auto bytes = [](std::span<const microvm::pages::WorkingSet::Piece> pieces) {
    std::uint64_t pages = 0;
    for (const auto& piece : pieces) pages += static_cast<std::uint64_t>(std::popcount(piece.mask));
    return pages * microvm::pages::kPageBytes;
  };
  return {{"recordings", set.recordings()},
          {"bytes", bytes(set.pieces())},
          {"prefetchedBytes", bytes(set.Prefetched())}};
}

// The judge asks this host's monitor, and says of each why not where it cannot.
struct Judged {
  std::unique_ptr<backends::SnapshotJudge> judge;
};
Result<Judged> MakeJudge(const Context& context) {
  WRIT_ASSIGN(const backends::MicrovmBackendOptions options, ReadMachineOptions(context.dir));
  return Judged{std::make_unique<backends::SnapshotJudge>(options)};
}

struct BuildCommand {
  std::string image;
  std::string memory;
  unsigned cpus = 1;
  std::string timeout = "30m";
  std::vector<std::string> warm_up;
};

void Build(Context& context, const BuildCommand& command) {
  backends::SnapshotBuild build;
  if (!command.memory.empty()) {
    const auto size = ParseSize(command.memory);
    if (!size)
      return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_size", "--memory is not a size",
                                "write it like 512M or 4G"});
    build.memory_bytes = static_cast<std::uint64_t>(*size);
  }
  const auto bound = ParseDuration(command.timeout);
  if (!bound || *bound > std::chrono::hours(24))
    return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_duration",
                              "--timeout is not a duration of at most a day",
                              "write it like 90s, 10m or 1h30m; 366d is the most"});
  build.warm_up_bound = *bound;
  build.image = command.image;
  build.cpus = command.cpus;
  build.warm_up = command.warm_up;
  TakeOwnCgroup();
  auto setup = MakeMachineSetup(context.dir);
  if (!setup) return context.Fail(setup.error());
  build.machines = setup->options;
  build.identity = setup->identity;
  build.work_dir = setup->work_dir;
  build.told = [&context](const std::string& what) { context.Note(TerminalSafe(what)); };
  auto record = backends::BuildSnapshot(std::move(build));
  if (!record) return context.Fail(record.error());
  if (context.json) return context.PrintJson(RecordJson(*record));
  context.Print(record->text() + "\n");
}

std::string Processors(unsigned cpus) {
  return std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs");
}

void List(Context& context) {
  auto list = StoreOf(context).List();
  if (!list) return context.Fail(list.error());
  auto judged = MakeJudge(context);
  if (!judged) return context.Fail(judged.error());
  if (context.json) {
    json::Array good;
    for (const SnapshotRecord& record : list->good)
      good.push_back(JudgedJson(*judged->judge, record));
    json::Array refused;
    for (const microvm::RefusedSnapshot& one : list->refused)
      refused.push_back(json::Object{
          {"folder", one.folder}, {"code", one.why.code}, {"reason", one.why.message}});
    return context.PrintJson(
        json::Object{{"snapshots", std::move(good)}, {"refused", std::move(refused)}});
  }
  for (const SnapshotRecord& record : list->good) {
    const std::string why = WhyUnusable(*judged->judge, record);
    context.Print(record.text() + "  " + FormatRfc3339(record.manifest.created_at) + "  machine " +
                  FormatBytes(record.manifest.fit.memory_bytes) + ", " +
                  Processors(record.manifest.fit.cpus) + ", disk " +
                  FormatBytes(record.disk_bytes) + "  image " +
                  record.manifest.fit.image.ToHex().substr(0, 12) + "  " +
                  (why.empty() ? "usable" : why) + "\n");
  }
  for (const microvm::RefusedSnapshot& one : list->refused)
    context.NoteError(TerminalSafe(one.folder), one.why);
  if (list->good.empty() && list->refused.empty()) context.Note("no snapshots");
}

void Inspect(Context& context, const std::string& reference) {
  auto record = StoreOf(context).Find(reference);
  if (!record) return context.Fail(record.error());
  auto judged = MakeJudge(context);
  if (!judged) return context.Fail(judged.error());
  json::Object value = JudgedJson(*judged->judge, *record);
  if (auto set = StoreOf(context).ReadWorkingSet(*record))
    value.Set("workingSet", WorkingSetJson(*set));
  if (context.json) return context.PrintJson(std::move(value));
  context.Print(TerminalSafe(json::WritePretty(std::move(value)), Newlines::kKeep) + "\n");
}

void Verify(Context& context, const std::string& reference) {
  context.Note("reading its memory");
  auto record = StoreOf(context).Verify(reference);
  if (!record) return context.Fail(record.error());
  if (context.json) return context.PrintJson(json::Object{{"verified", record->text()}});
  context.Print(record->text() + " is what was signed\n");
}

void Remove(Context& context, const std::string& reference) {
  auto removed = StoreOf(context).Remove(reference);
  if (!removed) return context.Fail(removed.error());
  if (context.json) return context.PrintJson(json::Object{{"removed", *removed}});
  context.Print("removed " + *removed + "\n");
}

struct GcCommand {
  bool dry_run = false;
};

// What no run would start from: of another host, image or monitor, or older than one that is
// usable.
void CollectGarbage(Context& context, const GcCommand& command) {
  const auto mode =
      command.dry_run ? microvm::GarbageMode::kDryRun : microvm::GarbageMode::kCollect;
  auto judged = MakeJudge(context);
  if (!judged) return context.Fail(judged.error());
  // The newest come first.
  std::set<std::tuple<protocol::Digest, std::uint64_t, unsigned>> kept;
  auto garbage = StoreOf(context).CollectGarbage(mode, [&](const SnapshotRecord& record) {
    std::string why = WhyUnusable(*judged->judge, record);
    const microvm::SnapshotFit& fit = record.manifest.fit;
    if (why.empty() && !kept.insert({fit.image, fit.memory_bytes, fit.cpus}).second)
      why = "there is a newer one of the same image and size";
    return why;
  });
  if (!garbage) return context.Fail(garbage.error());
  for (std::string& name : SweepBuilds(context.dir, mode))
    garbage->removed.push_back({std::move(name), "a build was cut short"});
  if (context.json) {
    json::Array removed;
    for (const auto& one : garbage->removed)
      removed.push_back(json::Object{{"what", one.what}, {"why", one.why}});
    return context.PrintJson(json::Object{{"dryRun", command.dry_run},
                                          {"removed", std::move(removed)},
                                          {"inUse", json::Value::Texts(garbage->in_use)}});
  }
  for (const auto& one : garbage->removed)
    context.Print((command.dry_run ? "would remove " : "removed ") + TerminalSafe(one.what) + ": " +
                  TerminalSafe(one.why) + "\n");
  for (const std::string& one : garbage->in_use)
    context.Note(one + " stays: a machine is being started from it, or has its memory from it");
  if (garbage->removed.empty()) context.Note("nothing to remove");
}

}  // namespace

void AddSnapshot(CLI::App& app, Context& context) {
  CLI::App* group =
      app.add_subcommand("snapshot", "Snapshots that runs of the microvm tier start from");
  group->require_subcommand(1);
  group->footer(
      "A run whose image and size have a snapshot starts from it; its receipt names the snapshot.\n"
      "Where there is none, or none can be used, its machine boots.\n\n"
      "Examples:\n  writ snapshot build default\n  writ snapshot ls\n  writ snapshot gc");

  auto build = std::make_shared<BuildCommand>();
  CLI::App* make = group->add_subcommand("build", "Make a snapshot and print its digest");
  make->add_option("IMAGE", build->image, "A guest image (default: the one called default)");
  make->add_option(
      "--memory", build->memory,
      "For runs with this much memory, like 512M or 4G (default: that of runs without a "
      "limit)");
  make->add_option("--cpus", build->cpus,
                   "For runs with this many CPUs, begun ones counted as whole (default 1)")
      ->check(CLI::Range(1u, std::max(std::thread::hardware_concurrency(), 1u)));
  make->add_option("--warm-up", build->warm_up,
                   "A shell command to run in the guest before, as root; again for another")
      ->allow_extra_args(false);
  make->add_option("--timeout", build->timeout,
                   "Give up when the warm-up takes longer (default 30m)");
  make->footer(
      "The machine boots to its agent, in the jail that runs have, and without a network. What\n"
      "warm-up commands write to the guest's files, and what its kernel has kept of them, is in\n"
      "every run's machine; processes that they leave are ended. A run may boot as well: let\n"
      "warm-up commands make things fast, not possible.\n\n"
      "Examples:\n  writ snapshot build\n  writ snapshot build default --memory 2G --warm-up "
      "'python3 -m compileall -q /usr/lib/python3'");
  make->callback([&context, build] { Build(context, *build); });

  CLI::App* list = group->add_subcommand("ls", "List the snapshots, the newest first");
  list->footer("Examples:\n  writ snapshot ls\n  writ snapshot ls --json");
  list->callback([&context] { List(context); });

  const char* const kReference = "A digest, or its first 12 digits";
  auto shown = std::make_shared<std::string>();
  CLI::App* inspect = group->add_subcommand("inspect", "Show what a snapshot depends on");
  inspect->add_option("SNAPSHOT", *shown, kReference)->required();
  inspect->footer("Examples:\n  writ snapshot inspect 0123456789ab");
  inspect->callback([&context, shown] { Inspect(context, *shown); });

  auto compared = std::make_shared<std::string>();
  CLI::App* verify =
      group->add_subcommand("verify", "Read all of a snapshot and compare it with its manifest");
  verify->add_option("SNAPSHOT", *compared, kReference)->required();
  verify->footer(
      "Each run does the same with what it starts from. One whose memory is damaged is refused\n"
      "from then on, until this finds it whole.\n\nExamples:\n  writ snapshot verify 0123456789ab");
  verify->callback([&context, compared] { Verify(context, *compared); });

  auto gone = std::make_shared<std::string>();
  CLI::App* remove = group->add_subcommand("rm", "Remove a snapshot");
  remove->add_option("SNAPSHOT", *gone, kReference)->required();
  remove->footer("Examples:\n  writ snapshot rm 0123456789ab");
  remove->callback([&context, gone] { Remove(context, *gone); });

  auto options = std::make_shared<GcCommand>();
  CLI::App* gc = group->add_subcommand("gc", "Remove the snapshots that no run would start from");
  gc->add_flag("--dry-run", options->dry_run, "Only say what would go");
  gc->footer(
      "Those that are damaged, of an image, monitor or processor that is not here any more, older\n"
      "than another of the same image and size, and what a build that was killed has left.\n\n"
      "Examples:\n  writ snapshot gc --dry-run\n  writ snapshot gc --json");
  gc->callback([&context, options] { CollectGarbage(context, *options); });
}

}  // namespace writ::cli
