// receipt, bundle, verify: what an auditor and a user read.
#include <fcntl.h>
#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "home.h"
#include "pinned_keys.h"
#include "receipt_view.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/key_manifest.h"

namespace writ::cli {
namespace {

// A manifest that the organisation's key signed.
Result<protocol::KeyManifest> ReadManifest(const std::string& path,
                                           const protocol::PublicKey& org_key) {
  WRIT_ASSIGN(std::string text, ReadFile(path, 1u << 20));
  auto value = json::Parse(text, {.max_depth = 8, .max_bytes = 1u << 20});
  if (!value) return std::move(value).error().With("reading " + path);
  auto manifest = protocol::KeyManifest::Parse(*value);
  if (!manifest) return std::move(manifest).error().With("reading " + path);
  if (auto good = protocol::CheckKeyManifest(*manifest, org_key); !good)
    return std::move(good).error().With("reading " + path);
  return manifest;
}

struct ReceiptCommand {
  Access access;
  std::string run_id;
};

void ShowReceipt(Context& context, ReceiptCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto text = (*requester)->Bundle(command.run_id);
  if (!text) return context.Fail(text.error());
  protocol::VerifyOptions options;
  if (command.access.plane() != nullptr) options = PinnedByPlane(*command.access.plane(), *text);
  protocol::VerifyReport report = protocol::VerifyBundle(*text, options);
  if (!report.ok && report.facts.empty())  // no bundle at all, or more of it than is looked at
    return context.Fail(kFailed, Error{ErrorKind::kIntegrity, report.problems.front().code,
                                       "what the plane has as the run's bundle is none: " +
                                           report.problems.front().message,
                                       ""});
  auto bundle = json::Parse(*text, {.max_depth = 64, .max_bytes = kMaxBundleBytes});
  if (!bundle) return context.Fail(kFailed, bundle.error());
  // A lost run's story may go on beside its receipt.
  plane::RunSummary summary;
  if (report.closed_by_plane) {
    if (auto run = (*requester)->Run(command.run_id)) summary = std::move(run->summary);
  }
  if (context.json) {
    json::Value answers = ReceiptAnswers(*bundle, report);
    if (!summary.retried_as.empty()) answers.object().Set("retriedAs", summary.retried_as);
    if (summary.has_late_receipt) answers.object().Set("lateReceipt", true);
    context.PrintJson(std::move(answers));
  } else {
    ReceiptCommands commands{.writ = context.self, .access = command.access.Arguments()};
    if (command.access.local()) {
      commands.plane_key = ShellWord(context.dir + "/keys/plane.pub.pem");
      commands.org_key = ShellWord(context.dir + "/keys/org.pub.pem");
    }
    context.Print(RenderReceipt(*bundle, report, commands));
    if (!summary.retried_as.empty())
      context.Print("repeated as " + TerminalSafe(summary.retried_as) + "\n");
    if (summary.has_late_receipt)
      context.Print("the runner sent what it had finished after all: " + commands.writ +
                    " bundle " + ShellWord(command.run_id) + " --late" + commands.access + "\n");
  }
  if (!report.ok) context.exit_code = kFailed;
}

struct BundleCommand {
  Access access;
  std::string run_id;
  std::string out;
  bool late = false;
};

void WriteBundle(Context& context, BundleCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto text = command.late ? (*requester)->LateBundle(command.run_id)
                           : (*requester)->Bundle(command.run_id);
  if (!text) return context.Fail(text.error());
  if (command.out.empty()) {
    std::fwrite(text->data(), 1, text->size(), stdout);
    std::fputc('\n', stdout);
    return;
  }
  std::string path = AbsolutePath(command.out);
  if (Status written = WriteOutput(path, *text + "\n"); !written)
    return context.Fail(written.error());
  if (context.json) {
    context.PrintJson(
        json::Object{{"runId", command.run_id}, {"bundle", path}, {"bytes", text->size() + 1}});
  } else {
    context.Print("bundle: " + path + "\nverify: writ-verify " + ShellWord(path) + "\n");
  }
}

struct VerifyCommand {
  std::string bundle;
  std::string plane_key;
  std::string runner_key;
  std::string org_key;
  std::string key_manifest;
  std::uint64_t max_bytes = protocol::kDefaultMaxBundleBytes;
  bool require_pinned = false;
};

void Verify(Context& context, const VerifyCommand& command) {
  protocol::VerifyOptions options;
  options.require_pinned = command.require_pinned;
  for (auto [path, slot] : {std::pair{&command.plane_key, &options.plane_key},
                            {&command.runner_key, &options.runner_key},
                            {&command.org_key, &options.org_key}}) {
    if (path->empty()) continue;
    auto key = ReadPublicKey(*path);
    if (!key) return context.Fail(kUsage, key.error());
    *slot = *key;
  }
  std::optional<protocol::KeyManifest> manifest;
  if (!command.key_manifest.empty()) {
    auto read = ReadManifest(command.key_manifest, *options.org_key);
    if (!read)
      return context.Fail(read.error().kind == ErrorKind::kIntegrity ? kFailed : kUsage,
                          read.error());
    manifest = std::move(*read);
    options.key_manifest = &*manifest;
    options.org_key.reset();  // asked of the manifest, not of the contract
  }
  options.max_bytes = command.max_bytes;
  auto text = command.bundle == "-" ? ReadAll(0, command.max_bytes)
                                    : ReadFile(command.bundle, command.max_bytes);
  if (!text) {
    Error error = std::move(text).error();
    if (error.code == "file.too_large") error.hint = "--max-bytes N raises the limit";
    return context.Fail(kUsage, error);
  }
  protocol::VerifyReport report = protocol::VerifyBundle(*text, options);
  if (context.json) {
    context.PrintJson(protocol::RenderJson(report));
  } else {
    context.Print(
        protocol::RenderText(report, command.bundle == "-" ? "standard input" : command.bundle));
  }
  context.exit_code = report.ok ? kDone : kFailed;
}

}  // namespace

void AddReceipt(CLI::App& app, Context& context) {
  auto receipt = std::make_shared<ReceiptCommand>();
  CLI::App* show = app.add_subcommand("receipt", "Show a run's receipt on one screen, verified");
  show->add_option("RUN", receipt->run_id, "Run id")->required();
  receipt->access.AddOptions(*show);
  show->footer("Examples:\n  writ receipt run_1234\n  writ receipt run_1234 --json");
  show->callback([&context, receipt] { ShowReceipt(context, *receipt); });

  auto bundle = std::make_shared<BundleCommand>();
  CLI::App* write = app.add_subcommand(
      "bundle", "Write a run's bundle: contract, receipt, events and keys in one file");
  write->add_option("RUN", bundle->run_id, "Run id")->required();
  write->add_option("--out,-o", bundle->out, "File to write (default: standard output)");
  write->add_flag("--late", bundle->late,
                  "What a lost runner sent after the plane had closed its run; without the "
                  "plane's signature");
  bundle->access.AddOptions(*write);
  write->footer(
      "Examples:\n  writ bundle run_1234 --out run_1234.json\n  writ bundle run_1234 | writ-verify "
      "-");
  write->callback([&context, bundle] { WriteBundle(context, *bundle); });

  auto verify = std::make_shared<VerifyCommand>();
  CLI::App* check = app.add_subcommand("verify", "Verify a bundle offline, as writ-verify does");
  check->add_option("BUNDLE", verify->bundle, "Bundle file, or - for standard input")->required();
  check->add_option("--plane-key", verify->plane_key, "PEM public key that the plane must have");
  check->add_option("--runner-key", verify->runner_key, "PEM public key that the runner must have");
  CLI::Option* plane_key = check->get_option("--plane-key");
  CLI::Option* org_key = check->add_option("--org-key", verify->org_key,
                                           "PEM public key that must have signed the contract, or "
                                           "with --key-manifest the plane's keys");
  check
      ->add_option("--key-manifest", verify->key_manifest,
                   "The plane's keys as the organisation signed them (writ plane keys), instead of "
                   "--plane-key")
      ->needs(org_key)
      ->excludes(plane_key);
  check
      ->add_option(
          "--max-bytes", verify->max_bytes,
          "Read a bundle of up to so many bytes; the number of JSON values that are looked "
          "at grows with it")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{0xFFFFFFFF} - 64));
  check->add_flag("--require-pinned", verify->require_pinned,
                  "Fail where plane and runner key were not given here");
  check->footer(
      "Examples:\n  writ verify run_1234.json --plane-key keys/plane.pub.pem\n\nExit: 0 verified, "
      "1 not verified, 2 unreadable.");
  check->callback([&context, verify] { Verify(context, *verify); });
}

}  // namespace writ::cli
