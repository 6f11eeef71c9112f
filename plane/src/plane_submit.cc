// Run requests: validation, policy, dry run, and the contract of what is allowed.
#include <algorithm>
#include <array>

#include "plane_impl.h"
#include "secret_source.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"
#include "writ/protocol/secret_rules.h"

namespace writ::plane {
namespace {

using json::Array;
using json::Object;
using json::Value;

// What would leave, for whom, under which terms: the dry run's answer (as recorded).
std::string DisclosureReport(const RunRequest& request, const PolicyDecision& decision,
                             const std::vector<RequestIssue>& unfit) {
  Object workspace{{"baseRef", request.workspace.base_ref},
                   {"bundleHash", request.workspace.bundle_hash}};
  workspace.SetOptional("dirtyDiffHash", request.workspace.dirty_diff_hash);
  Array untracked;
  for (const auto& file : request.workspace.untracked_files) untracked.emplace_back(file.path);
  workspace.Set("untrackedPaths", untracked);
  workspace.Set("deniedPaths", Value::Texts(request.workspace.denied_paths));
  Array secrets;
  for (const auto& grant : decision.secrets) {
    secrets.emplace_back(Object{{"name", grant.name}, {"scope", grant.scope}});
  }
  protocol::Contract shape;
  shape.agent = request.agent;
  shape.prompt = request.prompt;
  shape.execution = request.execution;
  std::vector<std::string> words;
  for (const auto& requirement : decision.requirements) words.push_back(requirement.word);
  Object verdict{{"decision", VerdictWord(decision.verdict)},
                 {"reason", decision.reason},
                 {"consentRequirements", Value::Texts(words)}};
  if (!decision.reasons.empty()) verdict.Set("reasons", Value::Texts(decision.reasons));
  Object report{{"dryRun", true},
                {"agent", request.agent.ToJson()},
                {"pool", request.pool},
                {"workspace", workspace},
                {"secrets", secrets},
                {"network", request.network.ToJson()},
                {"budget", decision.budget.ToJson()},
                {"disclosure", protocol::Word(request.disclosure)},
                {"execution", shape.EffectiveExecution().ToJson()}};
  if (request.isolation) report.Set("isolation", *request.isolation);
  report.Set("policyDecision", verdict);
  if (!unfit.empty()) {
    std::vector<std::string> texts;
    for (const RequestIssue& issue : unfit) texts.push_back(issue.text);
    report.Set("unmet", Value::Texts(texts));
  }
  return json::Write(report);
}

// Secrets that the policy would release and that no run can be given: without a value here, or with
// a name or value from before there was a rule. A program is asked at the release only.
Result<std::vector<RequestIssue>> UnfitSecrets(Plane::Impl& plane, const PolicyDecision& decision) {
  std::vector<RequestIssue> out;
  for (std::size_t i = 0; i < decision.secrets.size(); ++i) {
    const auto& grant = decision.secrets[i];
    const std::string place = std::to_string(i);
    auto add = [&](const std::string& why) {
      out.push_back({"/request/secretNames/" + place, "request.secretNames." + place + ": " + why});
    };
    if (Status fit = protocol::CheckSecretVariable(grant.name.text()); !fit) {
      add(fit.error().ToString());
      continue;
    }
    WRIT_ASSIGN(auto source, plane.store->Read([&](store::Database& db) {
      return db.Value("SELECT source FROM secrets WHERE name = ? AND scope = ?", grant.name.text(),
                      grant.scope);
    }));
    if (!source) {
      add("this plane holds no value for " + grant.name.text() + " in scope " + grant.scope +
          " (writ secrets set " + grant.name.text() + " --scope " + grant.scope + ")");
      continue;
    }
    WRIT_ASSIGN(SecretSource parsed, ParseSource(*source));
    if (parsed.kind == SecretSource::Kind::kExecutable) continue;
    auto value = plane.SecretValue(grant);
    // What is not there now may be at the release.
    if (!value && value.error().kind != ErrorKind::kUnavailable) add(value.error().ToString());
  }
  return out;
}

// Every blob that the runner will ask for is here. Kept, so that no collection takes it meanwhile.
std::vector<RequestIssue> MissingBlobs(const BlobStore& blobs,
                                       const protocol::Manifest& workspace) {
  std::vector<RequestIssue> out;
  auto need = [&](const protocol::Digest& hash, const std::string& place) {
    const std::string hex = hash.ToHex();
    if (auto kept = blobs.Keep(hex); !kept || !*kept) {
      std::string pointer = "/request/workspace/" + place;
      std::string dotted = "request.workspace." + place;
      for (char& c : dotted) {
        if (c == '/') c = '.';
      }
      out.push_back({pointer, dotted + ": this blob has not been uploaded"});
    }
  };
  need(workspace.bundle_hash, "bundleHash");
  if (workspace.dirty_diff_hash) need(*workspace.dirty_diff_hash, "dirtyDiffHash");
  for (std::size_t i = 0; i < workspace.untracked_files.size() && out.size() < 20; ++i) {
    need(workspace.untracked_files[i].hash, "untrackedFiles/" + std::to_string(i) + "/hash");
  }
  return out;
}

// A checkpoint is of a run of the asker's own, stands in its chain, and belongs on no other
// workspace than that run's.
Result<std::vector<RequestIssue>> UnfitContinuation(Plane::Impl& plane, const Caller& caller,
                                                    const RunRequest& request) {
  std::vector<RequestIssue> out;
  if (!request.continuation) return out;
  auto unfit = [&](const std::string& member, const std::string& why) {
    out.push_back(
        {"/request/continuation/" + member, "request.continuation." + member + ": " + why});
    return out;
  };
  const std::string& id = request.continuation->checkpoint_id;
  std::string contract;
  std::vector<std::string> events;
  WRIT_TRY(plane.store->Read([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto row,
                db.Ask("SELECT run_id, contract, submitted_by FROM runs WHERE contract_hash = ?",
                       request.continuation->envelope_hash.ToHex()));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any || (!caller.Has(Role::kAdmin) && row.Text(2) != caller.name)) return {};
    contract = row.Text(1);
    WRIT_ASSIGN(events, EventTexts(db, row.Text(0)));
    return {};
  }));
  if (contract.empty()) return unfit("envelopeHash", "no run of yours has this contract");
  const bool known = std::any_of(events.begin(), events.end(), [&](const std::string& text) {
    auto value = json::Parse(text);
    const Value* event = value ? value->Find("event") : nullptr;
    return event != nullptr && event->FindString("type") == protocol::events::kCheckpointCreated &&
           event->FindString("checkpointId") == id &&
           event->FindString("tier") == request.continuation->tier;
  });
  if (!known) return unfit("checkpointId", "that run has no such checkpoint");
  if (auto kept = plane.blobs.Keep(id); !kept || !*kept)
    return unfit("checkpointId", "the plane keeps this checkpoint no longer");
  WRIT_ASSIGN(const Value parsed, json::Parse(contract));
  WRIT_ASSIGN(const protocol::Contract of, protocol::Contract::Parse(parsed));
  if (of.ManifestHash() != request.workspace.Hash()) {
    out.push_back({"/request/workspace",
                   "request.workspace: a checkpoint belongs on the workspace of its own run"});
  }
  return out;
}

Submission Invalid(const std::vector<RequestIssue>& issues) {
  Submission out;
  out.kind = Submission::Kind::kInvalid;
  out.pointer = issues.front().pointer;
  for (const auto& issue : issues) out.issues.push_back(issue.text);
  return out;
}

}  // namespace

Status InsertRun(store::Database& db, const NewRun& run) {
  const ContractInput& input = run.input;
  const auto& request = input.request;
  std::vector<std::string> words;
  for (const auto& requirement : input.decision.requirements) words.push_back(requirement.word);
  const bool ask = input.decision.verdict == PolicyDecision::Verdict::kAsk;
  WRIT_TRY(
      db.Do("INSERT INTO runs (run_id, status, pool, agent_kind, prompt, requested_by, "
            "submitted_by, request, decision, reason, requirements, policy_hash, expires_at, "
            "timeout_ms, disclosure, created_at, updated_at, retry_of, attempt) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            input.run_id, ask ? "awaiting_approval" : "created", request.pool.text(),
            request.agent.kind.text(), request.prompt,
            json::Write(ActorJson(request.requested_by.value())), run.submitted_by,
            json::Write(run.raw), VerdictWord(input.decision.verdict), input.decision.reason,
            json::Write(Value::Texts(words)), input.policy_hash, run.expires_at.unix_ms,
            static_cast<std::int64_t>(request.Timeout().count()),
            protocol::Word(request.disclosure), input.now.unix_ms, input.now.unix_ms,
            input.retry_of ? std::optional(input.retry_of->text()) : std::nullopt, run.attempt));
  for (const auto& requirement : input.decision.requirements) {
    WRIT_TRY(db.Do("INSERT INTO consents (run_id, requirement, approvers) VALUES (?,?,?)",
                   input.run_id, requirement.word,
                   json::Write(Value::Texts(requirement.approvers))));
  }
  if (request.continuation)
    WRIT_TRY(db.Do("INSERT OR IGNORE INTO blob_refs (hash, run_id) VALUES (?,?)",
                   request.continuation->checkpoint_id, input.run_id));
  return KeepWorkspaceBlobs(db, input.run_id, request.workspace);
}

Result<Submission> Plane::Submit(const Caller& caller, std::string_view body) {
  if (!caller.Has(Role::kRequester)) return Forbidden("role requester is needed");
  WRIT_ASSIGN(auto parsed, ParseRunRequest(body, impl_->config.max_json_bytes));
  if (!parsed.issues.empty()) return Invalid(parsed.issues);
  // What the contract says about who asked is what the plane knows, not what a client claims.
  WRIT_ASSIGN(Actor asker, ActingAs(caller, parsed.request.requested_by));
  parsed.raw.object().Set("requestedBy", ActorJson(asker));
  parsed.request.requested_by = std::move(asker);
  const RunRequest& request = parsed.request;
  WRIT_ASSIGN(auto policy, impl_->Policy());
  PolicyDecision decision = Evaluate(policy->policy, request, impl_->config.open_network);
  Submission out;
  WRIT_ASSIGN(auto unfit, UnfitSecrets(*impl_, decision));
  if (parsed.mode == RunMode::kDryRun) {
    out.kind = Submission::Kind::kDryRun;
    out.report = DisclosureReport(request, decision, unfit);
    out.reasons = decision.reasons;
    return out;
  }
  if (decision.verdict == PolicyDecision::Verdict::kDeny) {
    log::Info("plane.run_denied", decision.reason, {{"principal", caller.name}});
    out.kind = Submission::Kind::kDenied;
    out.reasons = decision.reasons;
    return out;
  }
  auto missing = MissingBlobs(impl_->blobs, request.workspace);
  missing.insert(missing.end(), unfit.begin(), unfit.end());
  WRIT_ASSIGN(const auto unfit_from, UnfitContinuation(*impl_, caller, request));
  missing.insert(missing.end(), unfit_from.begin(), unfit_from.end());
  if (!missing.empty()) return Invalid(missing);

  const bool ask = decision.verdict == PolicyDecision::Verdict::kAsk;
  const WallTime now = impl_->clock.Now();
  const ContractInput input{.run_id = "run_" + RandomUuid(),
                            .now = now,
                            .request = request,
                            .decision = decision,
                            .policy_hash = policy->hash,
                            .approved_by = {}};
  std::optional<protocol::Contract> contract;
  if (!ask) {
    WRIT_ASSIGN(contract, IssueContract(*impl_, input));
  }
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    const Config& config = impl_->config;
    WRIT_TRY(TakeFromBucket(db, config.per_principal, "principal " + caller.name, now));
    WRIT_TRY(TakeFromBucket(db, config.per_agent, "agent " + request.agent.kind.text(), now));
    WRIT_TRY(TakeFromBucket(db, config.per_pool, "pool " + request.pool.text(), now));
    WRIT_TRY(NoteActingAs(*impl_, db, caller, *request.requested_by, input.run_id, "submit"));
    WRIT_TRY(InsertRun(db, {input, parsed.raw, caller.name, now + config.approval_timeout}));
    return contract ? BeginChain(db, *contract, decision, now) : Status{};
  }));
  impl_->changed.Notify();
  if (!ask) impl_->queue->Notify(request.pool.text());
  out.kind = Submission::Kind::kAccepted;
  out.run_id = input.run_id;
  out.status = ask ? RunState::kAwaitingApproval : RunState::kCreated;
  for (const auto& requirement : decision.requirements) {
    out.consent_requirements.push_back(requirement.word);
  }
  log::Info("plane.run_accepted", "a run was requested",
            {{"run", out.run_id},
             {"principal", caller.name},
             {"status", protocol::Word(out.status)},
             {"trace", request.trace ? request.trace->trace_id() : ""}});
  return out;
}

}  // namespace writ::plane
