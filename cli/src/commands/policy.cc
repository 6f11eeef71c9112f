// policy show|check|explain
#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "policy_explain.h"
#include "runner_setup.h"
#include "writ/base/file.h"
#include "writ/plane/init.h"

namespace writ::cli {
namespace {

const std::string kHostsPointer = "/network/allowHosts";
constexpr std::size_t kPolicyLimit = 1 << 20;

// Of whatever is a list of texts there: what is wrong with the rest is said by the policy's parser.
std::vector<egress::HostFinding> LintPolicy(const json::Value& policy) {
  const json::Value* network = policy.Find("network");
  const json::Value* list = network != nullptr ? network->Find("allowHosts") : nullptr;
  std::vector<std::string> hosts;
  if (list != nullptr && list->is_array())
    for (const json::Value& item : list->array())
      hosts.push_back(item.if_string() != nullptr ? *item.if_string() : "");
  return egress::LintHosts(hosts);
}

struct ExplainCommand {
  PolicyQuestion question;
  unsigned port = 0;
  std::string policy_file;
  RunnerSetup setup;
};

// The file that was named, or the directory's own; nullopt where it has none.
Result<std::optional<protocol::Policy>> PolicyOf(const Context& context, const std::string& named) {
  const std::string file = named.empty() ? context.dir + "/policy.json" : named;
  auto bytes = ReadFile(file, kPolicyLimit);
  if (!bytes && named.empty() && bytes.error().kind == ErrorKind::kNotFound)
    return std::optional<protocol::Policy>();
  if (!bytes) return std::move(bytes).error();
  auto value = json::Parse(*bytes, {.max_depth = 16, .max_bytes = kPolicyLimit});
  if (!value) return std::move(value).error().With("reading " + file);
  auto policy = protocol::Policy::Parse(*value);
  if (!policy) return std::move(policy).error().With("reading " + file);
  return std::optional(std::move(*policy));
}

void Explain(Context& context, ExplainCommand& command) {
  if (command.port != 0) command.question.port = static_cast<std::uint16_t>(command.port);
  command.setup.dir = context.dir;
  auto policy = PolicyOf(context, command.policy_file);
  if (!policy) return context.Fail(kUsage, policy.error());
  auto settings = ReadRunnerSettings(command.setup);
  if (!settings) return context.Fail(kUsage, settings.error());
  auto explanation = ExplainPolicy(command.question, *policy, settings->config);
  if (!explanation) return context.Fail(kUsage, explanation.error());
  if (context.json)
    context.PrintJson(PolicyExplanationJson(*explanation));
  else
    context.Print(RenderPolicyExplanation(*explanation));
  context.exit_code = explanation->allowed ? kDone : kFailed;
}

void AddExplain(CLI::App& policy, Context& context) {
  auto command = std::make_shared<ExplainCommand>();
  CLI::App* explain = policy.add_subcommand(
      "explain", "Tell who lets a run reach a host, and who does not, without a run");
  explain->add_option("--host", command->question.host, "Name or address")->required();
  explain->add_option("--port", command->port, "Port (default: 443; 80 is plain HTTP)")
      ->check(CLI::Range(1, 65535));
  explain->add_option("--allow-host", command->question.contract_hosts,
                      "What the run would ask for; repeatable (default: the host itself)");
  explain->add_option("--address", command->question.addresses,
                      "An address that the name leads to; repeatable. Nothing is resolved here");
  explain->add_option("--policy", command->policy_file,
                      "Policy file (default: policy.json in --dir, where it is)");
  explain->add_option("--config", command->setup.config_file,
                      "Operator's configuration (default: runner.json in --dir, where it is)");
  explain->footer(
      "Policy, contract and operator only narrow each other: all have to allow the host. The words "
      "are\n"
      "those of a run, from the same functions; the reason and the rule are those of its "
      "receipt.\n\n"
      "Examples:\n  writ policy explain --host api.example.com\n"
      "  writ policy explain --host db.example.com --port 5432 --allow-host '*.example.com'\n"
      "  writ policy explain --host api.example.com --address 10.0.0.7\n\n"
      "Exit: 0 it is allowed, 1 it is refused, 2 the question cannot be read.");
  explain->callback([&context, command] { Explain(context, *command); });
}

}  // namespace

void AddPolicy(CLI::App& app, Context& context) {
  CLI::App* policy = app.add_subcommand("policy", "Show, check or explain the plane's policy");
  policy->require_subcommand(1);
  policy->footer(
      "Examples:\n  writ policy show\n  writ policy check policy.json\n"
      "  writ policy explain --host api.example.com");

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
      "What can be enforced and was hardly meant is a warning: wildcards below a public suffix, "
      "and\n"
      "hosts that another entry covers.\n\n"
      "Examples:\n  writ policy check policy.json\n\nExit: 0 it can be enforced, 1 it cannot, 2 "
      "unreadable.");
  check->callback([&context, file] {
    auto bytes = ReadFile(*file, kPolicyLimit);
    if (!bytes) return context.Fail(kUsage, bytes.error());
    auto readable = json::Parse(*bytes, {.max_depth = 16, .max_bytes = kPolicyLimit});
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
    const std::vector<egress::HostFinding> findings = LintPolicy(*readable);
    const Error refused{ErrorKind::kInvalid, "policy.refused", "the policy cannot be enforced",
                        "correct these places and check it again"};
    if (context.json) {
      json::Array problems;
      for (const json::Issue& issue : verdict.issues)
        problems.push_back(json::Object{
            {"pointer", issue.pointer}, {"code", issue.code}, {"message", issue.message}});
      json::Object out{{"ok", ok},
                       {"problems", std::move(problems)},
                       {"warnings", FindingsJson(findings, kHostsPointer)}};
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
    for (const egress::HostFinding& finding : findings)
      context.NoteError("warning: " + (kHostsPointer + ("/" + std::to_string(finding.index))),
                        {ErrorKind::kInvalid, finding.code, finding.message, finding.hint});
    context.exit_code = ok ? kDone : kFailed;
  });
  AddExplain(*policy, context);
}

}  // namespace writ::cli
