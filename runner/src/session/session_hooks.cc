// The operator's hooks around one run.
#include "session/session.h"
#include "writ/protocol/events.h"

namespace writ::runner {

Gate Session::AskHooks(HookKind hook, json::Object facts) {
  Gate gate;
  HookPoint point;
  point.hook = hook;
  point.run = Ref();
  point.facts = std::move(facts);
  if (redactor_) {
    point.redact = [this](std::string_view text) { return redactor_->Redact(text); };
  } else if (Result<Redactor> redactor = Redactor::Build(claim_.secrets)) {
    point.redact = [redactor = *redactor](std::string_view text) { return redactor.Redact(text); };
  } else {
    // Secrets that cannot be looked for: nothing of what a hook prints is shown. It knows none.
    point.redact = [](std::string_view) { return std::string("[not shown]"); };
  }
  point.gate = &gate;
  services_.bus.Publish(point);
  Record(gate);
  return gate;
}

void Session::Record(const Gate& gate) {
  for (const HookRecord& record : gate.records)
    chain_->EmitOurs(protocol::events::HookResult(
        {.hook = HookName(record.hook),
         .exit_code = record.exit_code,
         .duration_ms = static_cast<std::uint64_t>(record.took.count()),
         .veto = record.veto}));
}

std::optional<RunFailure> Session::AskBeforeRun() {
  json::Array secrets;
  for (const protocol::SecretGrant& grant : contract_->secrets) secrets.emplace_back(grant.name);
  json::Array hosts;
  for (const protocol::AllowedHost& host : contract_->network.allow_hosts) hosts.emplace_back(host);
  Gate gate =
      AskHooks(HookKind::kBeforeRun, json::Object{{"contractHash", contract_hash_},
                                                  {"requestedBy", contract_->requested_by.ToJson()},
                                                  {"agent", contract_->agent.kind},
                                                  {"tier", protocol::Word(plan_->tier)},
                                                  {"disclosure", protocol::Word(plan_->disclosure)},
                                                  {"baseRef", contract_->workspace.base_ref},
                                                  {"secretNames", std::move(secrets)},
                                                  {"allowHosts", std::move(hosts)}});
  const HookRecord* veto = before_claim_.veto() != nullptr ? before_claim_.veto() : gate.veto();
  if (veto == nullptr) return std::nullopt;
  return RunFailure{
      protocol::FailureClass::kPolicyDenied, "hook.veto",
      "the operator's hook " + std::string(HookName(veto->hook)) + " vetoed the run: " + veto->why,
      "see the runner's log for what the hook said"};
}

// Whatever comes of it, the run goes on to its receipt (L44).
void Session::TellAfterRun() {
  if (!verified_) return;
  json::Object facts{{"contractHash", contract_hash_},
                     {"status", cancelled_ ? "cancelled"
                                : failure_ ? "failed"
                                           : "completed"},
                     {"started", started_},
                     {"leaks", leaks_.size()}};
  if (failure_ && !cancelled_)
    facts.Set("failure", protocol::Word(failure_->failure)).Set("code", failure_->code);
  (void)AskHooks(HookKind::kAfterRun, std::move(facts));
}

}  // namespace writ::runner
