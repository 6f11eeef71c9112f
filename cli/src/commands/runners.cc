// runners, runners key: which runners a plane knows, and their public keys for auditors to pin.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <optional>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "home.h"
#include "writ/base/clock.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/keys.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::cli {
namespace {

// The tiers that it offers, as it said itself with its last claim; "-": it says nothing.
std::string OffersOf(const plane::RunnerInfo& runner) {
  auto value = json::Parse(runner.capabilities);
  auto can = value ? protocol::RunnerCapabilities::Parse(*value)
                   : Result<protocol::RunnerCapabilities>(value.error());
  std::string out;
  if (can)
    for (const protocol::TierReport& tier : can->tiers)
      if (tier.offered) out += (out.empty() ? "" : ",") + std::string(protocol::Word(tier.tier));
  return out.empty() ? "-" : out;
}

void ListRunners(Context& context, Access& access) {
  auto requester = access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto runners = (*requester)->Runners();
  if (!runners) return context.Fail(runners.error());
  if (context.json) {
    json::Array items;
    for (const plane::RunnerInfo& runner : *runners) {
      json::Object item{{"runnerId", runner.runner_id},
                        {"pool", runner.pool},
                        {"keyId", runner.key_id},
                        {"publicKeyPem", runner.public_key_pem},
                        {"enrolledAt", FormatRfc3339(runner.enrolled_at)},
                        {"revoked", runner.revoked}};
      if (runner.heard_at) item.Set("heardAt", FormatRfc3339(*runner.heard_at));
      if (auto can = json::Parse(runner.capabilities); can)
        item.Set("capabilities", std::move(*can));
      json::Array retired;
      for (const plane::RunnerKey& key : runner.retired_keys)
        retired.push_back(
            json::Object{{"keyId", key.key_id}, {"publicKeyPem", key.public_key_pem}});
      if (!retired.empty()) item.Set("retiredKeys", std::move(retired));
      items.push_back(std::move(item));
    }
    return context.PrintJson(json::Object{{"runners", std::move(items)}});
  }
  if (runners->empty()) return context.Note("no runner has enrolled yet");
  std::size_t pool_width = 4;
  for (const plane::RunnerInfo& runner : *runners)
    pool_width = std::max(pool_width, TerminalSafe(runner.pool).size());
  const auto column = [](std::string text, std::size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text + "  ";
  };
  context.Print(column("RUNNER", 40) + column("POOL", pool_width) + column("KEY", 24) +
                column("ENROLLED", 24) + "OFFERS\n");
  for (const plane::RunnerInfo& runner : *runners)
    context.Print(
        column(TerminalSafe(runner.runner_id), 40) + column(TerminalSafe(runner.pool), pool_width) +
        column(TerminalSafe(runner.key_id), 24) + column(FormatRfc3339(runner.enrolled_at), 24) +
        (runner.revoked ? "revoked" : OffersOf(runner)) + "\n");
  for (const plane::RunnerInfo& runner : *runners)
    for (const plane::RunnerKey& key : runner.retired_keys)
      context.Print(column(TerminalSafe(runner.runner_id), 40) +
                    column(TerminalSafe(runner.pool), pool_width) +
                    column(TerminalSafe(key.key_id), 24) + "retired\n");
}

struct KeyCommand {
  Access access;
  std::string runner;
  std::string out;
};

// A key of the runner's, in use or retired.
struct NamedKey {
  const plane::RunnerInfo* runner = nullptr;
  plane::RunnerKey key;
  bool retired = false;
};

// By a runner's id its key in use; by a key's id that one.
std::optional<NamedKey> FindKey(const std::vector<plane::RunnerInfo>& runners,
                                const std::string& name) {
  for (const plane::RunnerInfo& runner : runners) {
    if (runner.runner_id == name || runner.key_id == name)
      return NamedKey{&runner, {runner.key_id, runner.public_key_pem}, false};
  }
  for (const plane::RunnerInfo& runner : runners) {
    for (const plane::RunnerKey& key : runner.retired_keys)
      if (key.key_id == name) return NamedKey{&runner, key, true};
  }
  return std::nullopt;
}

void HandOutKey(Context& context, KeyCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto runners = (*requester)->Runners();
  if (!runners) return context.Fail(runners.error());
  const std::optional<NamedKey> named = FindKey(*runners, command.runner);
  if (!named)
    return context.Fail(Error{
        ErrorKind::kNotFound, "runner.not_found", "the plane knows no runner " + command.runner,
        "list them with: " + context.Command("runners" + command.access.Arguments())});
  // Nothing is handed out that a verifier could not pin.
  const plane::RunnerInfo* found = named->runner;
  auto key = protocol::PublicKey::FromPem(named->key.public_key_pem);
  if (!key || key->Id().text() != named->key.key_id)
    return context.Fail(kFailed,
                        Error{ErrorKind::kIntegrity, "runner.key_unknown",
                              "the plane does not give the public key of " + found->runner_id,
                              "copy identity/runner.pub.pem from the runner's own folder"});
  if (found->revoked)
    context.Note("note: this runner is revoked; its key still verifies the receipts it signed");
  if (named->retired)
    context.Note("note: this key was rotated out; it verifies what the runner signed before");
  json::Object facts{{"runnerId", found->runner_id}, {"pool", found->pool},
                     {"keyId", named->key.key_id},   {"publicKeyPem", key->ToPem()},
                     {"revoked", found->revoked},    {"retired", named->retired}};
  if (command.out.empty()) {
    context.Print(key->ToPem());
  } else {
    std::string path = AbsolutePath(command.out);
    if (Status written = WriteOutput(path, key->ToPem()); !written)
      return context.Fail(written.error());
    facts.Set("file", path);
    context.Print("key of " + found->runner_id + ": " + path + "\n");
  }
  if (context.json) context.PrintJson(std::move(facts));
}

}  // namespace

void AddRunners(CLI::App& app, Context& context) {
  auto access = std::make_shared<Access>();
  CLI::App* list = app.add_subcommand("runners", "List the runners that enrolled, and their keys");
  access->AddOptions(*list);
  list->require_subcommand(0, 1);
  list->footer(
      "Examples:\n  writ runners\n  writ runners --json\n  writ runners key rnr_1234 --out "
      "runner.pub.pem\n  writ runners --plane https://plane.example.com --token-file token");
  list->callback([&context, access, list] {
    if (list->get_subcommands().empty()) ListRunners(context, *access);
  });

  auto options = std::make_shared<KeyCommand>();
  CLI::App* key = list->add_subcommand(
      "key", "Print a runner's public key (PEM), for writ-verify --runner-key");
  key->add_option("RUNNER", options->runner, "Runner id, or the id of a key, retired ones too")
      ->required();
  key->add_option("--out,-o", options->out, "File to write (default: standard output)");
  options->access.AddOptions(*key);
  key->footer(
      "A key from here comes from the plane and not out of a bundle: pinned with it, a receipt is\n"
      "known to be that runner's.\n\n"
      "Examples:\n  writ runners key rnr_1234 --out runner.pub.pem\n  writ-verify run.json "
      "--plane-key plane.pub.pem --runner-key runner.pub.pem --require-pinned");
  key->callback([&context, options] { HandOutKey(context, *options); });
}

}  // namespace writ::cli
