#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "home.h"
#include "pinned_keys.h"
#include "writ/protocol/bundle.h"
#include "writ/workspace/pull.h"

namespace writ::cli {
namespace {

constexpr std::uint64_t kMaxDiffBytes = std::uint64_t{1} << 30;

struct PullCommand {
  Access access;
  std::string run_id;
  std::string repository = ".";
  std::string plane_key, runner_key;  // PEM files
};

// The hash of the first artifact of kind diff, and of the delta: the second one (data class
// code-delta).
struct DiffHashes {
  std::string diff;
  std::string delta;
};

DiffHashes FindDiffs(const protocol::Receipt& receipt) {
  DiffHashes out;
  for (const protocol::BoundaryDisclosure& disclosure : receipt.boundary_disclosures) {
    if (disclosure.data_class == protocol::kDataClassCodeDiff)
      out.diff = disclosure.content_hash.ToHex();
    if (disclosure.data_class == protocol::kDataClassCodeDelta)
      out.delta = disclosure.content_hash.ToHex();
  }
  return out;
}

std::string OutcomeWord(workspace::PullResult::Outcome outcome) {
  switch (outcome) {
    case workspace::PullResult::Outcome::kAppliedInPlace:
      return "applied";
    case workspace::PullResult::Outcome::kLandedOnBranch:
      return "landed-on-branch";
    case workspace::PullResult::Outcome::kNothingToDo:
      return "nothing-to-do";
    case workspace::PullResult::Outcome::kAlreadyApplied:
      return "already-applied";
  }
  return "";
}

void Pull(Context& context, PullCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto text = (*requester)->Bundle(command.run_id);
  if (!text) return context.Fail(text.error());
  // Nothing is applied that does not verify.
  protocol::VerifyOptions verify;
  if (command.access.plane() != nullptr) verify = PinnedByPlane(*command.access.plane(), *text);
  for (auto [path, slot] : {std::pair{&command.plane_key, &verify.plane_key},
                            {&command.runner_key, &verify.runner_key}}) {
    if (path->empty()) continue;
    auto key = ReadPublicKey(*path);
    if (!key) return context.Fail(kUsage, key.error());
    *slot = *key;
  }
  protocol::VerifyReport report = protocol::VerifyBundle(*text, verify);
  if (!report.ok) {
    Error error{ErrorKind::kIntegrity, "pull.not_verified", "the run's bundle does not verify",
                "look at it with: " +
                    context.Command("receipt " + command.run_id + command.access.Arguments())};
    if (!report.problems.empty()) error.message += ": " + report.problems.front().message;
    return context.Fail(kFailed, error);
  }
  if (!report.pinned)
    context.Note(
        "note: keys not pinned: the bundle verifies with the keys inside it, so the plane's word "
        "is "
        "taken for who made it; give --plane-key and --runner-key");
  auto bundle = json::Parse(*text, {.max_depth = 64, .max_bytes = kMaxDiffBytes});
  if (!bundle) return context.Fail(kFailed, bundle.error());
  auto contract = protocol::Contract::Parse(*bundle->Find("contract"));
  auto receipt = protocol::Receipt::Parse(*bundle->Find("receipt"));
  if (!contract || !receipt)
    return context.Fail(kFailed, contract ? receipt.error() : contract.error());
  DiffHashes hashes = FindDiffs(*receipt);
  if (hashes.diff.empty() && hashes.delta.empty() && receipt->diff_hash)
    return context.Fail(kFailed, Error{ErrorKind::kDenied, "pull.not_disclosed",
                                       "the run's diff did not leave its runner (disclosure " +
                                           std::string(protocol::Word(contract->disclosure)) + ")",
                                       "ask for the run with --disclosure minimal-context"});
  std::string diff;
  std::string delta;
  for (auto [hash, bytes] : {std::pair{&hashes.diff, &diff}, {&hashes.delta, &delta}}) {
    if (hash->empty()) continue;
    auto blob = (*requester)->GetBlob(*hash, kMaxDiffBytes);
    if (!blob) return context.Fail(blob.error());
    *bytes = std::move(*blob);
  }
  workspace::PullOptions options;
  options.repository = AbsolutePath(command.repository);
  options.manifest = &contract->workspace;
  // Ours tell their own change apart from what they were given, another plane's runners do not.
  if (receipt->environment || !delta.empty()) options.delta = delta;
  options.diff = diff;
  options.run_id = contract->run_id;
  options.commit_time = receipt->ended_at.unix_ms / 1000;
  auto pulled = workspace::Pull(options);
  if (!pulled)
    return context.Fail(
        pulled.error().kind == ErrorKind::kConflict ? kFailed : ExitCodeFor(pulled.error()),
        pulled.error());
  std::vector<std::string> paths;
  for (const std::string& path : pulled->changed_paths)
    paths.push_back(json::ToWellFormedUtf8(path));
  if (context.json) {
    json::Object out{{"runId", command.run_id},
                     {"outcome", OutcomeWord(pulled->outcome)},
                     {"reason", pulled->reason},
                     {"pinned", report.pinned},
                     {"changedPaths", json::Value::Texts(paths)}};
    if (!pulled->branch.empty()) out.Set("branch", pulled->branch);
    if (!pulled->commit.empty()) out.Set("commit", pulled->commit);
    context.PrintJson(std::move(out));
    return;
  }
  context.Print(OutcomeWord(pulled->outcome) + ": " + pulled->reason + "\n");
  if (!pulled->branch.empty()) context.Print("branch: " + pulled->branch + "\n");
  for (std::size_t i = 0; i < paths.size() && i < 20; ++i)
    context.Print("  " + TerminalSafe(paths[i]) + "\n");
  if (paths.size() > 20) context.Print("  and " + std::to_string(paths.size() - 20) + " more\n");
}

}  // namespace

void AddPull(CLI::App& app, Context& context) {
  auto options = std::make_shared<PullCommand>();
  CLI::App* command =
      app.add_subcommand("pull", "Bring a run's changes into a checkout; never overwrites work");
  command->add_option("RUN", options->run_id, "Run id")->required();
  command->add_option("--repo", options->repository, "The checkout")->capture_default_str();
  command->add_option("--plane-key", options->plane_key,
                      "PEM public key that the plane must have (default: that of the near plane)");
  command->add_option("--runner-key", options->runner_key,
                      "PEM public key that the runner must have (default: as the near plane knows "
                      "it)");
  options->access.AddOptions(*command);
  command->footer(
      "Where the checkout is still what was captured, the changes are applied to its files;\n"
      "anywhere else they become a commit on the branch writ/RUN.\n\nExamples:\n  writ pull "
      "run_1234\n  writ pull run_1234 --repo ~/src/app\n  writ pull run_1234 --plane "
      "https://plane.example.com --token-file T --plane-key P --runner-key R");
  command->callback([&context, options] { Pull(context, *options); });
}

}  // namespace writ::cli
