// The claim loop: one per slot. Ready? -> may I? -> claim -> offer -> session, and again.
#include <sys/eventfd.h>

#include <algorithm>

#include "engine/engine_impl.h"
#include "engine/readiness.h"
#include "engine/rotation.h"
#include "journal/unnoted.h"
#include "writ/base/log.h"

namespace writ::runner {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

namespace {

// A plane that holds no claims answers at once, and its answer must not be given up: a claim whose
// answer is lost is a run without a receipt.
constexpr milliseconds kTakenClaimLimit{15'000};
constexpr milliseconds kMostBackoff{30'000};
// How late a loop may be before it counts as stuck.
constexpr milliseconds kSlack{60'000};

Error NoSlotLeft() {
  return Error{
      .kind = ErrorKind::kUnavailable,
      .code = "runner.no_slot",
      .message = "every slot of this runner is out of service",
      .hint = "see the log, end what is left of the runs named there, and restart the runner"};
}

}  // namespace

bool Engine::Impl::Ready() {
  report->Refresh();
  std::string blocking, message, hint;
  const std::shared_ptr<const RunnerConfig> current = Live();
  for (const ReadinessProblem& problem :
       LookAtReadiness(*current, *registry, sessions.get(), Depth::kBeforeClaim)) {
    if (!problem.blocks_claims) continue;
    blocking = problem.code;
    message = problem.message;
    hint = problem.hint;
    break;
  }
  std::lock_guard lock_state(mutex);
  if (blocking != last_problem) {
    if (blocking.empty()) {
      log::Info("runner.ready", "this runner claims again");
    } else {
      log::Error("runner.not_ready", message, {{"code", blocking}, {"hint", hint}});
    }
    last_problem = blocking;
  }
  return blocking.empty();
}

void Engine::Impl::LogTrouble(const Error& error) {
  std::lock_guard lock_state(mutex);
  if (error.code != last_trouble)
    log::Warn("runner.claim", "the plane could not be asked for work",
              {{"code", error.code}, {"error", error.ToString()}});
  last_trouble = error.code;
}

void Engine::Impl::LogAllWell() {
  std::lock_guard lock_state(mutex);
  if (!last_trouble.empty()) log::Info("runner.plane_back", "the plane answers again");
  last_trouble.clear();
}

void Engine::Impl::OnRevoked() {
  {
    std::lock_guard lock_state(mutex);
    if (!trouble) {
      trouble = Error{.kind = ErrorKind::kDenied,
                      .code = "plane.revoked",
                      .message = "this runner was revoked at the plane",
                      .hint = "enrol it anew with a new state directory, or remove it"};
      log::Error("runner.revoked", trouble->message, {{"hint", trouble->hint}});
    }
  }
  drain.request_stop();
}

std::optional<Engine::Impl::Permit> Engine::Impl::PermitNow() {
  if (serve.max_runs && taken >= *serve.max_runs) return Permit{};
  const bool all_given = serve.max_runs && taken + asking >= *serve.max_runs;
  // Receipts that wait are signed by the key that is.
  if (rotation_wanted && !rotating && asking == 0 && active == 0 && !courier->HasWaiting()) {
    rotating = true;
    return Permit{Next::kRotate, 0};
  }
  if (all_given || (rotation_wanted && !courier->HasWaiting()) || rotating) return std::nullopt;
  Result<unsigned> slot = SlotToAskFor();
  if (slot) {
    ++asking;
    return Permit{Next::kClaim, *slot};
  }
  if (slot.error().kind != ErrorKind::kUnavailable) return std::nullopt;
  if (!trouble) {
    trouble = NoSlotLeft();
    log::Error("runner.no_slot", trouble->message, {{"hint", trouble->hint}});
  }
  return Permit{};
}

Engine::Impl::Permit Engine::Impl::NextTurn(std::stop_token stop) {
  std::unique_lock lock_state(mutex);
  std::optional<Permit> permit;
  while (!permit && !stop.stop_requested())
    changed.wait_for(lock_state, stop, kLookAgain, [&] {
      if (!stop.stop_requested()) permit = PermitNow();
      return permit.has_value();
    });
  const bool all_done = serve.max_runs && taken >= *serve.max_runs;
  lock_state.unlock();
  if (all_done) drain.request_stop();
  return permit.value_or(Permit{});
}

Result<unsigned> Engine::Impl::ReserveSlot(std::stop_token stop) {
  std::unique_lock lock_state(mutex);
  for (;;) {
    Result<unsigned> slot = SlotToAskFor();
    if (slot) {
      ++asking;
      return slot;
    }
    if (slot.error().kind == ErrorKind::kUnavailable) return NoSlotLeft();
    changed.wait_for(lock_state, stop, kLookAgain, [&] { return pool.Fits(OrdinaryShare()); });
    if (stop.stop_requested())
      return Error{.kind = ErrorKind::kCancelled,
                   .code = "runner.stopped",
                   .message = "waiting for a free slot was ended on request"};
  }
}

void Engine::Impl::EndTurn(unsigned slot, Teardown teardown) {
  std::lock_guard lock_state(mutex);
  (void)pool.End(slot, teardown);
  changed.notify_all();
}

milliseconds Engine::Impl::PollTime() const {
  std::lock_guard lock_state(mutex);
  // Not in step with others: runners whose calls began together, when the plane came back, end them
  // apart.
  const milliseconds poll = config.long_poll - Backoff::Jittered(config.long_poll / 5);
  if (!serve.exit_when_idle || active > 0) return poll;
  auto left = *serve.exit_when_idle - duration_cast<milliseconds>(clock->Monotonic() - idle_since);
  return std::clamp(left, milliseconds(1), std::max(poll, milliseconds(1)));
}

void Engine::Impl::LeaveIfIdle() {
  {
    std::lock_guard lock_state(mutex);
    if (!serve.exit_when_idle || active > 0 ||
        clock->Monotonic() - idle_since < *serve.exit_when_idle)
      return;
    // Nobody gave it nothing to do: there was nobody.
    if (!trouble && !info_known &&
        (last_trouble == "plane.unreachable" || last_trouble == "plane.timeout" ||
         last_trouble == "plane.tls"))
      trouble = Error{.kind = ErrorKind::kUnavailable,
                      .code = last_trouble,
                      .message = "the plane did not answer once while this runner was at work",
                      .hint =
                          "look whether --plane is its URL and it is running: `writ doctor "
                          "--plane URL` tries the way"};
  }
  drain.request_stop();
}

Result<std::optional<ClaimAnswer>> Engine::Impl::AskForRun(PlaneClient& plane,
                                                           Vocabulary vocabulary, unsigned slot,
                                                           milliseconds wait,
                                                           std::stop_token stop) {
  const bool extended = vocabulary == Vocabulary::kExtended;
  std::optional<milliseconds> poll;
  if (extended && wait.count() > 0) poll = wait;
  Deadline deadline =
      Deadline::After(*clock, extended ? config.call_timeout + wait
                                       : std::min(config.call_timeout, kTakenClaimLimit));
  std::optional<protocol::RunnerCapabilities> can;
  // Who wants one run takes it, and refuses it in its receipt where it must.
  if (extended && config.only_run.empty()) can = report->Of(*Live(), sessions.get(), ShareOf(slot));
  Result<std::optional<ClaimAnswer>> claim =
      plane.Claim(identity.token, config.pool, poll, deadline, extended ? stop : cancel.get_token(),
                  extended ? config.only_run : "",
                  extended ? ClaimKind::kOffered : ClaimKind::kTaken, can ? &*can : nullptr);
  if (extended && claim && plane.rotation_asked()) {
    std::lock_guard lock_state(mutex);
    rotation_wanted = true;
  }
  return claim;
}

void Engine::Impl::RunSession(PlaneClient& plane, ClaimedRun run, Vocabulary vocabulary,
                              unsigned slot, Turn& turn, Teardown& teardown) {
  const std::string run_id = run.claim.run_id.text();
  {
    const std::shared_ptr<const RunnerConfig> begun_with = Live();
    SessionServices of_run = WithConfig(*services, *begun_with);
    Session session(of_run, plane, std::move(run), vocabulary, slot, cancel.get_token());
    log::InRun in_run(session.log_context());
    log::Info("runner.claimed", "a run was claimed", {{"slot", slot}});
    RunEnd end = session.Run();
    turn.refused = session.refused();
    if (session.leaked()) {
      teardown = Teardown::kUnverified;
      log::Error("runner.slot_out_of_service",
                 "a slot is not used again: something of its last run is left", {{"slot", slot}});
    }
    log::Info("runner.ended", "a run has ended",
              {{"status", end.status}, {"failure", end.failure}});
  }
  turn.run_id = run_id;
  std::lock_guard lock_state(mutex);
  --active;
  idle_since = clock->Monotonic();
  changed.notify_all();
}

Result<Engine::Impl::Turn> Engine::Impl::TakeTurn(PlaneClient& plane, Order order,
                                                  Teardown& teardown, std::stop_token stop) {
  Turn turn;
  // The claim is in flight until there is a run, or none.
  struct Asking {
    Impl& e;
    bool over = false;
    void Over(unsigned runs) {
      std::lock_guard lock_state(e.mutex);
      if (std::exchange(over, true)) return;
      --e.asking;
      e.active += runs;
      e.taken += runs;
      e.changed.notify_all();
    }
    ~Asking() { Over(0); }
  } asking_now{*this};

  std::optional<PendingOffer> doubt = std::move(order.doubt);
  Vocabulary vocabulary = Vocabulary::kExtended;
  if (!doubt) {
    WRIT_ASSIGN(vocabulary, AskVocabulary(plane, stop));
  }
  std::optional<ClaimedRun> run;
  bool fitted = false;  // what it needs is reserved
  Gate hook;            // before-claim
  auto tell = [&](OfferFateWord fate, std::string_view run_id) {
    bus.Publish(OfferSeen{RunRef{run_id, order.slot}, fate});
  };
  if (!doubt) {
    // Where runs are taken and not offered, the operator's hook can only say that none is wanted.
    if (vocabulary == Vocabulary::kBase) {
      hook = AskBeforeClaim(nullptr, order.slot);
      turn.refused = hook.veto() != nullptr;
      if (turn.refused) return turn;
    }
    WRIT_ASSIGN(std::optional<ClaimAnswer> claim,
                AskForRun(plane, vocabulary, order.slot, order.wait, stop));
    if (!claim) return turn;
    if (claim->offer) tell(OfferFateWord::kOffered, claim->run_id.text());
    if (!claim->offer) {
      if (vocabulary == Vocabulary::kExtended) hook = AskBeforeClaim(&*claim, order.slot);
      run = ClaimedRun{std::move(*claim)};
      run->before_claim = std::move(hook.records);
    } else if (stop.stop_requested() || !Ready()) {  // L40, L41: while the claim was held open
      (void)DeclineOffer(*services, plane, *claim,
                         stop.stop_requested() ? "the runner drains" : "the runner is not ready");
      tell(OfferFateWord::kDeclined, claim->run_id.text());
      turn.refused = true;
      return turn;
    } else if (Status fits = Fit(order.slot, claim->contract);
               !fits && config.only_run.empty()) {  // L41, L42
      log::Warn("runner.does_not_fit", fits.error().message,
                {{"run", claim->run_id.text()}, {"code", fits.error().code}});
      (void)DeclineOffer(*services, plane, *claim, fits.error().message);
      tell(OfferFateWord::kDeclined, claim->run_id.text());
      turn.refused = true;
      return turn;
    } else if (hook = AskBeforeClaim(&*claim, order.slot); hook.veto() != nullptr) {
      (void)DeclineOffer(*services, plane, *claim, "the operator's hook before-claim said no");
      tell(OfferFateWord::kDeclined, claim->run_id.text());
      turn.refused = true;
      return turn;
    } else {
      fitted = true;
      WRIT_ASSIGN(doubt, NoteOffer(*services, plane, std::move(*claim), order.slot));
      doubt->before_claim = std::move(hook.records);
    }
  }
  if (doubt && !fitted) {
    if (order.beat != nullptr) order.beat->Pause();
    fitted = AwaitFit(order.slot, doubt->claim.contract, stop);
    if (!fitted) {
      turn.doubt = std::move(doubt);
      return turn;
    }
  }
  if (doubt) {
    const std::string run_id = doubt->claim.run_id.text();
    OfferFate fate = TakeOffer(*services, plane, std::move(*doubt));
    tell(fate.kind == OfferFate::Kind::kOurs   ? OfferFateWord::kTaken
         : fate.kind == OfferFate::Kind::kGone ? OfferFateWord::kGone
                                               : OfferFateWord::kInDoubt,
         run_id);
    if (fate.kind != OfferFate::Kind::kOurs) {
      log::Warn("runner.offer_lost",
                fate.kind == OfferFate::Kind::kGone
                    ? "an offered run could not be taken: it goes to somebody else"
                    : "it is not known whether an offered run was taken; asking again",
                {{"code", fate.why->code}, {"error", fate.why->ToString()}});
      turn.refused = true;
      turn.doubt = std::move(fate.pending);
      if (fate.why->code == "plane.revoked") OnRevoked();
      return turn;
    }
    run = std::move(fate.run);
  }
  asking_now.Over(1);
  if (order.beat != nullptr) order.beat->Pause();
  // Cancelled while it waits, it goes on to its receipt all the same.
  if (!fitted) (void)AwaitFit(order.slot, run->claim.contract, cancel.get_token());
  run->machine = ShareOf(order.slot);
  RunSession(plane, std::move(*run), vocabulary, order.slot, turn, teardown);
  return turn;
}

void Engine::Impl::Rotate(PlaneClient& plane) {
  Status rotated = RotateIdentity(config, *clock, plane, identity, drain.get_token());
  if (!rotated)
    log::Warn("runner.rotation", "this runner's key could not be replaced; it keeps the old one",
              {{"code", rotated.error().code}, {"error", rotated.error().ToString()}});
  if (rotated) journal->UseKeys({plane_key.ToPem(), identity.key.Public().ToPem()});
  std::lock_guard lock_state(mutex);
  rotating = false;
  // Refused: the plane asks again where it still wants it. Unanswered: it may have been done.
  rotation_wanted = !rotated && rotated.error().kind == ErrorKind::kUnavailable;
  changed.notify_all();
}

void Engine::Impl::RotateIfIdle(PlaneClient& plane) {
  {
    std::lock_guard lock_state(mutex);
    if (!rotation_wanted || rotating || asking > 0 || active > 0 || courier->HasWaiting()) return;
    rotating = true;
  }
  Rotate(plane);
}

// What is ours already is not: then it goes on to its receipt, whatever this host can do.
bool Engine::Impl::GiveBack(PlaneClient& plane, PendingOffer& doubt) {
  if (!DeclineOffer(*services, plane, doubt.claim, "the runner is not ready")) return false;
  LogUnnoted(doubt.journal->Close(), doubt.claim.run_id,
             "an offer that was given back could not be struck out: the next start asks for its "
             "fate again");
  return true;
}

void Engine::Impl::SlotLoop(unsigned number) {
  const Backoff fresh(std::clamp(config.poll_interval / 4, milliseconds(10), milliseconds(500)),
                      kMostBackoff);
  Backoff backoff = fresh;
  std::stop_token stop = drain.get_token();
  Liveness::Beat beat = liveness.Register("slot loop " + std::to_string(number));
  std::optional<PlaneClient> plane;
  std::optional<PendingOffer> doubt;
  while (!stop.stop_requested()) {
    beat.Within(config.poll_interval * 2 + kSlack, "looking at the host");
    const bool ready = Ready();
    if (!ready && doubt && plane && GiveBack(*plane, *doubt)) doubt.reset();
    if (!ready && !doubt) {
      LeaveIfIdle();
      Backoff::Pause(Backoff::Jittered(config.poll_interval), stop);
      continue;
    }
    if (!plane) {
      Result<PlaneClient> opened = PlaneClient::Open(config.plane, *clock);
      if (!opened) {
        log::Error("runner.plane", "the plane client could not be opened",
                   {{"code", opened.error().code}});
        break;
      }
      plane = std::move(*opened);
    }
    beat.Pause();  // waiting for a slot may take as long as a run
    Permit permit = NextTurn(stop);
    if (permit.next == Next::kLeave) break;
    if (permit.next == Next::kRotate) {
      beat.Within(config.call_timeout + kSlack, "rotating the key");
      Rotate(*plane);
      continue;
    }
    const milliseconds wait = PollTime();
    const auto asked_at = clock->Monotonic();
    // A run that comes of it has a beat of its own; this one waits for the claim.
    beat.Within(wait + config.call_timeout * 3 + kSlack, "claiming");
    Teardown teardown = Teardown::kVerified;
    Result<Turn> turn =
        TakeTurn(*plane, Order{permit.slot, wait, std::exchange(doubt, std::nullopt), &beat},
                 teardown, stop);
    EndTurn(permit.slot, teardown);
    LeaveIfIdle();
    if (!turn) {
      if (turn.error().kind == ErrorKind::kCancelled) continue;
      if (turn.error().code == "plane.revoked") {
        OnRevoked();
        break;
      }
      LogTrouble(turn.error());
      beat.Within(kMostBackoff + kSlack, "backing off");
      Backoff::Pause(backoff.Next() + Backoff::Jittered(milliseconds(20)), stop);
      continue;
    }
    LogAllWell();
    doubt = std::move(turn->doubt);
    if (turn->refused) {
      // A plane whose contracts cannot be accepted is not asked for the next one at once.
      Backoff::Pause(backoff.Next() + Backoff::Jittered(milliseconds(20)), stop);
      continue;
    }
    backoff = fresh;
    // A plane that held the call has waited for us; one that answered at once is polled.
    const auto spent = clock->Monotonic() - asked_at;
    const bool held = wait.count() > 0 && spent >= wait;
    if (!turn->run_id && !held && spent < config.poll_interval)
      Backoff::Pause(Backoff::Jittered(config.poll_interval), stop);
  }
  if (doubt && plane) (void)DeclineOffer(*services, *plane, doubt->claim, "the runner drains");
  LoopEnded();
}

void Engine::Impl::LoopEnded() {
  std::lock_guard lock_state(mutex);
  if (--loops == 0) (void)eventfd_write(ended.get(), 1);
  changed.notify_all();
}

}  // namespace writ::runner
