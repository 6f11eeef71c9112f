#include "print_plan.h"

#include "runner_setup.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/reader.h"
#include "writ/runner/decide.h"

namespace writ::cli {
namespace {

constexpr char kNoRun[] = "run_00000000-0000-4000-8000-000000000000";

// What the plane would sign, as far as a plan depends on it.
Result<protocol::Contract> DraftContract(const PlanRequest& request) {
  json::Issues issues;
  json::ObjectReader reader(issues, request.report);
  protocol::Contract out;
  WRIT_ASSIGN(out.run_id, protocol::RunId::Parse(kNoRun));
  WRIT_ASSIGN(out.pool, protocol::PoolName::Parse(request.pool));
  out.agent = protocol::AgentSpec::Read(reader.Child("agent"));
  out.prompt = request.prompt;
  out.workspace = request.workspace;
  reader.ForEachObject(
      "secrets",
      [&](json::ObjectReader& item) {
        protocol::SecretGrant grant;
        grant.name = item.As<protocol::SecretName>("name");
        grant.scope = item.String("scope", {.min_bytes = 1, .max_bytes = 512});
        out.secrets.push_back(std::move(grant));
      },
      1000);
  out.network = protocol::NetworkSpec::Read(reader.Child("network"));
  out.budget = protocol::Budget::Read(reader.Child("budget"));
  out.disclosure = reader.Enum("disclosure", protocol::kDisclosureTable);
  if (const json::Value* execution = reader.Require("execution"))
    out.execution =
        protocol::Execution::Read(json::ObjectReader(issues, *execution, "/execution"), *execution);
  out.isolation = reader.OptionalString("isolation", {.min_bytes = 1, .max_bytes = 64});
  WRIT_TRY(issues.ToStatus("the plane's disclosure report"));
  return out;
}

}  // namespace

void PrintPlanOfRun(Context& context, const PlanRequest& request) {
  const json::Value* decision = request.report.Find("policyDecision");
  if (decision != nullptr && decision->FindString("decision") == "deny")
    return context.Fail(
        kPolicyDenied,
        Error{ErrorKind::kDenied, "policy_denied",
              "policy denies the run: " + std::string(decision->FindString("reason").value_or("")),
              "see `writ policy show`"});
  auto contract = DraftContract(request);
  if (!contract) return context.Fail(kFailed, contract.error());
  RunnerSetup setup;
  setup.dir = context.dir;
  setup.name = "embedded-0-" + request.pool;
  setup.pool = request.pool;
  setup.seat = 0;
  setup.slots = 1;
  auto settings = ReadRunnerSettings(setup);
  if (!settings) return context.Fail(kFailed, settings.error());
  backends::BackendRegistry registry;
  if (Status added = RegisterBackends(registry, context.dir, settings->config,
                                      backends::LaunchedOptions::Ahead::kNone);
      !added)
    return context.Fail(kFailed, added.error());
  auto printed = runner::PrintPlan(*contract, settings->config, registry);
  if (auto* refused = std::get_if<runner::RunFailure>(&printed))
    return context.Fail(
        kFailed, Error{ErrorKind::kUnsupported, refused->code, refused->message, refused->hint});
  const json::Value& plan = std::get<json::Value>(printed);
  if (context.json)
    context.PrintJson(plan);
  else
    context.Print(json::WritePretty(plan) + "\n");
}

}  // namespace writ::cli
