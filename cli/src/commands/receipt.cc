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

namespace writ::cli {
namespace {

constexpr std::uint64_t kMaxKeyBytes = 16384;

Result<protocol::PublicKey> ReadKey(const std::string& path) {
  WRIT_ASSIGN(std::string pem, ReadFile(path, kMaxKeyBytes));
  auto key = protocol::PublicKey::FromPem(pem);
  if (!key) return std::move(key).error().With("reading the public key " + path);
  return key;
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
  if (context.json) {
    context.PrintJson(ReceiptAnswers(*bundle, report));
  } else {
    ReceiptCommands commands{.writ = context.self, .access = command.access.Arguments()};
    if (command.access.local()) {
      commands.plane_key = ShellWord(context.dir + "/keys/plane.pub.pem");
      commands.org_key = ShellWord(context.dir + "/keys/org.pub.pem");
    }
    context.Print(RenderReceipt(*bundle, report, commands));
  }
  if (!report.ok) context.exit_code = kFailed;
}

struct BundleCommand {
  Access access;
  std::string run_id;
  std::string out;
};

void WriteBundle(Context& context, BundleCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto text = (*requester)->Bundle(command.run_id);
  if (!text) return context.Fail(text.error());
  if (command.out.empty()) {
    std::fwrite(text->data(), 1, text->size(), stdout);
    std::fputc('\n', stdout);
    return;
  }
  std::string path = AbsolutePath(command.out);
  std::size_t slash = path.rfind('/');
  auto dir = OpenDirectory(slash == 0 ? "/" : path.substr(0, slash));
  if (!dir) return context.Fail(kUsage, dir.error());
  auto written = WriteFileAtomic(dir->get(), path.substr(slash + 1), *text + "\n", 0644);
  if (!written) return context.Fail(kUsage, written.error());
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
    auto key = ReadKey(*path);
    if (!key) return context.Fail(kUsage, key.error());
    *slot = *key;
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
  check->add_option("--org-key", verify->org_key, "PEM public key that the organisation must have");
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
