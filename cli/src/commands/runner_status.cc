// runner status: what a runner at work on this machine says of itself.
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "writ/runner/status.h"

namespace writ::cli {
namespace {

struct StatusCommand {
  std::string name = "default";
};

std::string Text(const json::Value& object, std::string_view name) {
  return TerminalSafe(std::string(object.FindString(name).value_or("")));
}
std::int64_t Number(const json::Value* object, std::string_view name) {
  const json::Value* value = object != nullptr ? object->Find(name) : nullptr;
  return value != nullptr ? value->AsInteger().value_or(0) : 0;
}
bool Flag(const json::Value& object, std::string_view name) {
  const json::Value* value = object.Find(name);
  return value != nullptr && value->if_bool() != nullptr && *value->if_bool();
}

void ShowStatus(Context& context, const StatusCommand& command) {
  auto status = runner::ReadRunnerStatus(context.dir + "/runner/" + command.name);
  if (!status) return context.Fail(status.error());
  if (context.json) return context.PrintJson(*status);
  context.Print("runner " + Text(*status, "runnerId") + " in pool " + Text(*status, "pool") +
                " at " + Text(*status, "plane") + ": " +
                (Flag(*status, "draining") ? "draining"
                 : Flag(*status, "ready")  ? "ready"
                                           : "not ready") +
                "\n");
  const json::Value* slots = status->Find("slots");
  context.Print("slots    " + std::to_string(Number(slots, "taken")) + " of " +
                std::to_string(Number(slots, "total")) + " taken, " +
                std::to_string(Number(slots, "outOfService")) + " out of service\n");
  if (const json::Value* machine = status->Find("machine")) {
    const json::Value* total = machine->Find("total");
    const json::Value* reserved = machine->Find("reserved");
    auto bytes = [](const json::Value* share, std::string_view name) {
      return FormatBytes(static_cast<unsigned long long>(Number(share, name)));
    };
    context.Print("reserved " + std::to_string(Number(reserved, "cpuMillis")) + " of " +
                  std::to_string(Number(total, "cpuMillis")) + " thousandths of a CPU, " +
                  bytes(reserved, "memoryBytes") + " of " + bytes(total, "memoryBytes") +
                  " memory, " + bytes(reserved, "diskBytes") + " of " + bytes(total, "diskBytes") +
                  " disk\n");
  }
  if (const json::Value* pool = status->Find("machinePool")) {
    context.Print("pool     " + std::to_string(Number(pool, "held")) + " machines held (" +
                  std::to_string(Number(pool, "wanted")) + " of each snapshot wanted), " +
                  std::to_string(Number(pool, "hits")) + " hits, " +
                  std::to_string(Number(pool, "misses")) + " misses, " +
                  std::to_string(Number(pool, "discarded")) + " discarded\n");
    if (pool->Find("trouble") != nullptr)
      context.Print("lacks    " + Text(*pool, "trouble") + "\n");
  }
  const json::Value* receipts = status->Find("receipts");
  context.Print("receipts " + std::to_string(Number(receipts, "waiting")) + " waiting, " +
                std::to_string(Number(receipts, "parked")) + " parked\n");
  for (std::string_view word : {"trouble", "stuck"})
    if (status->Find(word) != nullptr) context.Print("trouble  " + Text(*status, word) + "\n");
  if (const json::Value* problems = status->Find("problems"); problems && problems->if_array())
    for (const json::Value& problem : problems->array())
      context.Print("lacks    " + Text(problem, "message") + "\n");
  if (const json::Value* runs = status->Find("runs"); runs && runs->if_array())
    for (const json::Value& run : runs->array())
      context.Print("run      " + Text(run, "runId") + "  slot " +
                    std::to_string(Number(&run, "slot")) + "  " + Text(run, "step") + " for " +
                    FormatDuration(std::chrono::milliseconds(Number(&run, "stepMs"))) +
                    (run.Find("pausedMs") != nullptr
                         ? "  paused for " +
                               FormatDuration(std::chrono::milliseconds(Number(&run, "pausedMs")))
                         : "") +
                    (run.Find("lease") != nullptr ? "  lease " + Text(run, "lease") : "") + "\n");
}

}  // namespace

void AddRunnerStatus(CLI::App& runner, Context& context) {
  auto options = std::make_shared<StatusCommand>();
  CLI::App* status =
      runner.add_subcommand("status", "Slots, runs and receipts of a runner at work here");
  status->add_option("--name", options->name, "Name of the runner's folder below --dir")
      ->capture_default_str();
  status->footer("Examples:\n  writ runner status\n  writ runner status --name gpu --json");
  status->callback([&context, options] { ShowStatus(context, *options); });
}

}  // namespace writ::cli
