// Approval and cancellation.
#include <algorithm>

#include "plane_impl.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

struct Consent {
  std::string requirement;
  std::vector<std::string> approvers;
  std::optional<Actor> actor;
};

// `consents` are those of a run that waits.
Error NoApprover(const Actor& actor, const std::vector<Consent>& consents) {
  std::string who;
  for (const Consent& consent : consents) {
    if (consent.actor) continue;
    for (const std::string& name : consent.approvers) who += (who.empty() ? "" : ", ") + name;
  }
  Error error = Forbidden("\"" + actor.id + "\" is not an approver of this run; its policy names " +
                          (who.empty() ? "nobody" : who));
  error.hint =
      "one of those has to approve it: with a token of their own, or on the plane's own "
      "machine with --as NAME";
  return error;
}

Result<std::vector<std::string>> Texts(const std::string& text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text));
  std::vector<std::string> out;
  for (const auto& item : value.array()) out.push_back(item.string());
  return out;
}

Result<std::vector<Consent>> Consents(store::Database& db, const std::string& run_id) {
  WRIT_ASSIGN(auto rows, db.Ask("SELECT requirement, approvers, actor FROM consents "
                                "WHERE run_id = ? ORDER BY granted_at, requirement",
                                run_id));
  std::vector<Consent> out;
  for (;;) {
    WRIT_ASSIGN(bool row, rows.Next());
    if (!row) return out;
    Consent consent;
    consent.requirement = rows.Text(0);
    WRIT_ASSIGN(consent.approvers, Texts(rows.Text(1)));
    if (!rows.Null(2)) {
      WRIT_ASSIGN(consent.actor, ParseActor(rows.Text(2)));
    }
    out.push_back(std::move(consent));
  }
}

std::string StateWord(RunState state) {
  return std::string(protocol::Word(state));
}

}  // namespace

Result<Actor> ActingAs(const Caller& caller, const std::optional<Actor>& named) {
  if (!named) return Actor{caller.kind, caller.name};
  if (!caller.Has(Role::kAdmin) && named->id != caller.name) {
    return Forbidden("only an administrator may act in another's name; you are \"" + caller.name +
                     "\"");
  }
  return *named;
}

Status NoteActingAs(Plane::Impl& plane, store::Database& db, const Caller& caller,
                    const Actor& actor, const std::string& run_id, std::string_view act) {
  if (actor.id == caller.name) return {};
  return plane.Admin(db, "admin.acted_as", caller,
                     {{"runId", run_id}, {"act", act}, {"inTheNameOf", ActorJson(actor)}});
}

Result<RunState> Plane::Approve(const Caller& caller, const std::string& run_id,
                                std::optional<Actor> named) {
  if (!caller.Has(Role::kApprover)) return Forbidden("role approver is needed");
  struct Row {
    std::string status, request;
  };
  WRIT_ASSIGN(Row run, impl_->store->Read([&](store::Database& db) -> Result<Row> {
    WRIT_ASSIGN(auto row, db.Ask("SELECT status, request FROM runs WHERE run_id = ?", run_id));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return RunNotFound();
    return Row{row.Text(0), row.Text(1)};
  }));
  if (run.status != "awaiting_approval") return StateConflict(run_id, "is not awaiting approval");
  WRIT_ASSIGN(Actor actor, ActingAs(caller, named));
  WRIT_ASSIGN(auto parsed,
              ParseRunRequest("{\"request\":" + run.request + "}", impl_->config.max_json_bytes));
  // The policy may have changed since: what counts is the one under which the contract is signed.
  WRIT_ASSIGN(auto policy, impl_->Policy());
  PolicyDecision decision = Evaluate(policy->policy, parsed.request, impl_->config.open_network);
  if (decision.verdict == PolicyDecision::Verdict::kDeny) {
    return Error{.kind = ErrorKind::kDenied,
                 .code = "policy_denied",
                 .message = "policy denied: " + decision.reason};
  }
  const WallTime now = impl_->clock.Now();
  RunState result = RunState::kAwaitingApproval;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(NoteActingAs(*impl_, db, caller, actor, run_id, "approve"));
    WRIT_ASSIGN(int still, db.Run("UPDATE runs SET updated_at = max(?, updated_at + 1) "
                                  "WHERE run_id = ? AND status = 'awaiting_approval'",
                                  now.unix_ms, run_id));
    if (still != 1) return StateConflict(run_id, "is not awaiting approval");
    for (const auto& requirement : decision.requirements) {
      WRIT_TRY(
          db.Do("INSERT INTO consents (run_id, requirement, approvers) "
                "VALUES (?,?,?) ON CONFLICT (run_id, requirement) DO UPDATE "
                "SET approvers = excluded.approvers",
                run_id, requirement.word, json::Write(json::Value::Texts(requirement.approvers))));
    }
    WRIT_ASSIGN(auto consents, Consents(db, run_id));
    int granted = 0;
    bool open = false;
    for (const auto& consent : consents) {
      if (consent.actor) continue;
      bool may = std::find(consent.approvers.begin(), consent.approvers.end(), actor.id) !=
                 consent.approvers.end();
      if (!may) {
        open = true;
        continue;
      }
      WRIT_ASSIGN(int set,
                  db.Run("UPDATE consents SET actor = ?, granted_at = ? WHERE run_id = ? "
                         "AND requirement = ? AND actor IS NULL",
                         json::Write(ActorJson(actor)), now.unix_ms, run_id, consent.requirement));
      granted += set;
    }
    if (granted == 0) return NoApprover(actor, consents);
    if (open) return {};
    WRIT_ASSIGN(consents, Consents(db, run_id));
    std::vector<Actor> actors;
    for (const auto& consent : consents) {
      bool known = std::any_of(actors.begin(), actors.end(), [&](const Actor& a) {
        return a.kind == consent.actor->kind && a.id == consent.actor->id;
      });
      if (!known) actors.push_back(*consent.actor);
    }
    WRIT_ASSIGN(auto contract, IssueContract(*impl_, {.run_id = run_id,
                                                      .now = now,
                                                      .request = parsed.request,
                                                      .decision = decision,
                                                      .policy_hash = policy->hash,
                                                      .approved_by = actors}));
    WRIT_TRY(BeginChain(db, contract, decision, now));
    WRIT_ASSIGN(int moved, db.Run("UPDATE runs SET status = 'created' WHERE run_id = ? AND "
                                  "status = 'awaiting_approval'",
                                  run_id));
    if (moved != 1) return StateConflict(run_id, "is not awaiting approval");
    result = RunState::kCreated;
    return {};
  }));
  impl_->changed.Notify();
  impl_->queue->NotifyAll();
  log::Info("plane.run_approved", "consent was given", {{"run", run_id}, {"actor", actor.id}});
  return result;
}

Result<CancelResult> Plane::Cancel(const Caller& caller, const std::string& run_id,
                                   std::optional<Actor> named) {
  if (!caller.Has(Role::kRequester)) return Forbidden("role requester is needed");
  WRIT_ASSIGN(Actor actor, ActingAs(caller, named));
  const WallTime now = impl_->clock.Now();
  CancelResult result;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(
        auto row,
        db.Ask("SELECT status, contract_hash, submitted_by FROM runs WHERE run_id = ?", run_id));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any || (!caller.Has(Role::kAdmin) && row.Text(2) != caller.name)) return RunNotFound();
    const std::string word = row.Text(0);
    const auto state = protocol::ParseRunState(word).value_or(RunState::kFailed);
    if (IsTerminal(state)) {
      return Error{
          .kind = ErrorKind::kInvalid,
          .code = "run.ended",
          .message = "run " + run_id + " is " + word + ": it has ended and cannot be cancelled"};
    }
    WRIT_TRY(NoteActingAs(*impl_, db, caller, actor, run_id, "cancel"));
    const bool unclaimed = state == RunState::kCreated || state == RunState::kAwaitingApproval;
    if (!unclaimed) {
      // The first one who asked stays recorded.
      WRIT_ASSIGN(int asked,
                  db.Run("UPDATE runs SET cancel_actor = coalesce(cancel_actor, ?), "
                         "updated_at = max(?, updated_at + 1) WHERE run_id = ? AND status = ?",
                         json::Write(ActorJson(actor)), now.unix_ms, run_id, word));
      if (asked != 1) return StateConflict(run_id, "has changed meanwhile");
      result = {.status = state, .cancel_requested = true};
      return {};
    }
    if (!row.Null(1)) {
      WRIT_ASSIGN(auto head, ChainHeadOf(db, run_id, row.Text(1)));
      protocol::EventChain chain(head);
      WRIT_TRY(InsertEvent(db, run_id, chain.Append(now, protocol::events::RunCancelled(actor))));
    } else {  // never had a contract, so it has no chain of its own
      WRIT_TRY(impl_->Admin(db, "admin.run.cancelled", caller,
                            {{"runId", run_id}, {"inTheNameOf", ActorJson(actor)}}));
    }
    WRIT_ASSIGN(int moved,
                db.Run("UPDATE runs SET status = 'cancelled', cancel_actor = ?, "
                       "updated_at = max(?, updated_at + 1) WHERE run_id = ? AND status = ?",
                       json::Write(ActorJson(actor)), now.unix_ms, run_id, word));
    if (moved != 1) return StateConflict(run_id, "has changed meanwhile");
    result = {.status = RunState::kCancelled, .cancel_requested = false};
    return {};
  }));
  impl_->changed.Notify();
  if (!result.cancel_requested)
    impl_->metrics->Add(Family::kRunsEnded, {{"status", "cancelled"}, {"by", "plane"}});
  log::Info("plane.run_cancel", "a cancellation was asked for",
            {{"run", run_id}, {"actor", actor.id}, {"status", StateWord(result.status)}});
  return result;
}

}  // namespace writ::plane
