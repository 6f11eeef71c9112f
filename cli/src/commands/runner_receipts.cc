// runner receipts: what the runners of --dir keep because the plane has it not.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"

namespace writ::cli {
namespace {

struct ReceiptsCommand {
  std::string name;  // of one runner; empty: all
  std::string run_id;
  std::string out;
};

struct Kept {
  std::string runner;  // its folder's name
  std::string state_dir;
  runner::KeptReceipt receipt;
};

Result<std::vector<Kept>> FindKept(const Context& context, const ReceiptsCommand& command) {
  const std::string base = context.dir + "/runner";
  const std::string asked = command.name.empty() ? base : base + "/" + command.name;
  if (std::error_code none; !std::filesystem::is_directory(asked, none))
    return Error{ErrorKind::kNotFound, "receipts.no_runner", "there is no runner folder " + asked,
                 "name the runner's directory with --dir, and where it has a name --name"};
  std::vector<std::string> names;
  if (!command.name.empty()) {
    names.push_back(command.name);
  } else {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(base, none))
      if (entry.is_directory(none)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
  }
  std::vector<Kept> out;
  for (const std::string& name : names) {
    const std::string state = base + "/" + name;
    auto kept = runner::ListKeptReceipts(state);
    if (!kept) return std::move(kept).error().With("reading the journal of runner " + name);
    for (runner::KeptReceipt& receipt : *kept) out.push_back(Kept{name, state, std::move(receipt)});
  }
  return out;
}

json::Object Describe(const Kept& kept) {
  json::Object out{{"runId", kept.receipt.run_id},
                   {"runner", kept.runner},
                   {"state", kept.receipt.parked ? "parked" : "waiting"},
                   {"since", FormatRfc3339(kept.receipt.since)},
                   {"status", kept.receipt.status},
                   {"code", kept.receipt.code},
                   {"message", kept.receipt.message}};
  if (!kept.receipt.late.empty()) out.Set("late", kept.receipt.late);
  return out;
}

void List(Context& context, const ReceiptsCommand& command) {
  auto kept = FindKept(context, command);
  if (!kept) return context.Fail(kept.error());
  if (context.json) {
    json::Array list;
    for (const Kept& one : *kept) list.push_back(Describe(one));
    return context.PrintJson(std::move(list));
  }
  if (kept->empty()) context.Note("no receipts are kept: the plane has them all");
  for (const Kept& one : *kept) {
    std::string line = one.receipt.run_id.text() + "  " +
                       (one.receipt.parked ? "parked " : "waiting") + "  " + one.receipt.status +
                       "  " + FormatRfc3339(one.receipt.since) + "  " + one.runner + "  " +
                       TerminalSafe(one.receipt.code) + ": " + TerminalSafe(one.receipt.message);
    if (one.receipt.late == "stored") line += " (the plane keeps it as a late bundle)";
    context.Print(line + "\n");
  }
}

struct Found {
  Kept kept;
  json::Value bundle;
};

Result<Found> Find(const Context& context, const ReceiptsCommand& command) {
  WRIT_ASSIGN(std::vector<Kept> all, FindKept(context, command));
  for (Kept& one : all) {
    if (one.receipt.run_id.text() != command.run_id) continue;
    WRIT_ASSIGN(json::Value bundle, runner::ReadKeptBundle(one.state_dir, one.receipt.run_id));
    return Found{std::move(one), std::move(bundle)};
  }
  return Error{ErrorKind::kNotFound, "receipts.unknown_run",
               "no runner of this directory keeps a receipt of that run",
               "`writ runner receipts list` names those that are kept"};
}

void Show(Context& context, const ReceiptsCommand& command) {
  auto found = Find(context, command);
  if (!found) return context.Fail(found.error());
  protocol::VerifyReport report = protocol::VerifyBundleValue(found->bundle);
  if (context.json) {
    json::Object out = Describe(found->kept);
    out.Set("receipt", *found->bundle.Find("receipt"))
        .Set("verification", protocol::RenderJson(report));
    return context.PrintJson(std::move(out));
  }
  const runner::KeptReceipt& receipt = found->kept.receipt;
  context.Print(std::string(receipt.parked ? "parked" : "waiting") + " since " +
                FormatRfc3339(receipt.since) + ": " + TerminalSafe(receipt.message) + " (" +
                TerminalSafe(receipt.code) + ")\n");
  context.Print(protocol::RenderText(report, command.run_id));
}

void Export(Context& context, const ReceiptsCommand& command) {
  auto found = Find(context, command);
  if (!found) return context.Fail(found.error());
  const std::string path = AbsolutePath(command.out);
  const std::string text = json::Write(found->bundle) + "\n";
  if (Status written = WriteOutput(path, text); !written) return context.Fail(written.error());
  if (context.json) {
    context.PrintJson(
        json::Object{{"runId", command.run_id}, {"bundle", path}, {"bytes", text.size()}});
  } else {
    context.Print("bundle: " + path + "\n");
    context.Note("it has the runner's signature; the plane's is what is missing");
  }
}

}  // namespace

void AddRunnerReceipts(CLI::App& runner, Context& context) {
  auto command = std::make_shared<ReceiptsCommand>();
  CLI::App* receipts = runner.add_subcommand(
      "receipts", "Receipts that the plane has not: waiting for it, or parked for good");
  receipts->require_subcommand(0, 1);
  receipts->add_option("--name", command->name,
                       "Name of the runner's folder below --dir (default: all of them)");
  CLI::App* list = receipts->add_subcommand("list", "One line each (the default)");
  list->footer("Examples:\n  writ runner receipts list\n  writ runner receipts list --json");
  CLI::App* show = receipts->add_subcommand("show", "One of them, verified");
  show->footer("Examples:\n  writ runner receipts show run_1234");
  show->add_option("RUN", command->run_id, "Run id")->required();
  CLI::App* write = receipts->add_subcommand("export", "Its bundle as a file");
  write->add_option("RUN", command->run_id, "Run id")->required();
  write->add_option("--out,-o", command->out, "File to write")->required();
  write->footer("Examples:\n  writ runner receipts export run_1234 --out run_1234.json");
  receipts->footer(
      "Examples:\n  writ runner receipts\n  writ runner receipts show run_1234\n"
      "  writ runner receipts export run_1234 --out run_1234.json\n\n"
      "Waiting: the plane could not be reached, the runner sends it later. Parked: the plane will "
      "not take it - it has forgotten the run, the token ran out, or it has closed the run "
      "itself.");
  receipts->callback([&context, command, show, write] {
    if (show->parsed()) return Show(context, *command);
    if (write->parsed()) return Export(context, *command);
    List(context, *command);
  });
}

}  // namespace writ::cli
