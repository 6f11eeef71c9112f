// policy show|check
#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "writ/base/file.h"
#include "writ/plane/init.h"

namespace writ::cli {

void AddPolicy(CLI::App& app, Context& context) {
  CLI::App* policy = app.add_subcommand("policy", "Show or check the plane's policy");
  policy->require_subcommand(1);
  policy->footer("Examples:\n  writ policy show\n  writ policy check policy.json");

  auto access = std::make_shared<Access>();
  CLI::App* show = policy->add_subcommand("show", "Print the policy in force and its hash");
  access->AddOptions(*show);
  show->footer("Examples:\n  writ policy show\n  writ policy show > policy.json");
  show->callback([&context, access] {
    auto requester = access->Open(context);
    if (!requester) return context.Fail(requester.error());
    auto document = (*requester)->Policy();
    if (!document) return context.Fail(document.error());
    auto value = json::Parse(document->policy);
    if (!value) return context.Fail(kFailed, value.error());
    if (context.json) {
      context.PrintJson(json::Object{{"policy", *value}, {"policyHash", document->policy_hash}});
    } else {
      context.Print(json::WritePretty(*value) + "\n");
      context.Note("policyHash " + document->policy_hash);
    }
  });

  auto file = std::make_shared<std::string>();
  CLI::App* check =
      policy->add_subcommand("check", "Tell whether every member of a policy can be enforced");
  check->add_option("FILE", *file, "Policy file")->required();
  check->footer(
      "Examples:\n  writ policy check policy.json\n\nExit: 0 it can be enforced, 1 it cannot, 2 "
      "unreadable.");
  check->callback([&context, file] {
    auto bytes = ReadFile(*file, 1 << 20);
    if (!bytes) return context.Fail(kUsage, bytes.error());
    auto readable = json::Parse(*bytes, {.max_depth = 16, .max_bytes = 1 << 20});
    if (!readable)
      return context.Fail(kUsage, std::move(readable).error().With("reading " + *file));
    // A plane would refuse every run with it.
    if (readable->Find("policyHash") != nullptr && readable->Find("policy") != nullptr)
      return context.Fail(
          Error{ErrorKind::kInvalid, "policy.wrapped",
                *file + " is what `policy show --json` prints: the policy is a "
                        "member of it",
                "write the policy alone: " + context.Command("policy show > policy.json")});
    plane::PolicyVerdict verdict = plane::CheckPolicy(*bytes);
    const bool ok = verdict.issues.empty();
    const Error refused{ErrorKind::kInvalid, "policy.refused", "the policy cannot be enforced",
                        "correct these places and check it again"};
    if (context.json) {
      json::Array problems;
      for (const json::Issue& issue : verdict.issues)
        problems.push_back(json::Object{
            {"pointer", issue.pointer}, {"code", issue.code}, {"message", issue.message}});
      json::Object out{{"ok", ok}, {"problems", std::move(problems)}};
      if (ok) out.Set("policyHash", verdict.policy_hash);
      if (!ok) out.Set("code", refused.code).Set("hint", refused.hint);
      context.PrintJson(std::move(out));
    } else if (ok) {
      context.Print("the policy can be enforced\npolicyHash " + verdict.policy_hash + "\n");
    } else {
      for (const json::Issue& issue : verdict.issues)
        context.Print(TerminalSafe(issue.ToString()) + " [" + issue.code + "]\n");
      context.Fail(kFailed, refused);
    }
    context.exit_code = ok ? kDone : kFailed;
  });
}

}  // namespace writ::cli
