#include "engine/offers.h"

#include <algorithm>

#include "journal/unnoted.h"
#include "writ/base/log.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kDeclineLimit{5'000};
constexpr milliseconds kLeastAckTime{2'000};

// Whether the plane has said that the run is not ours. Anything else - silence, nonsense - leaves
// it open.
bool SaysNo(const Error& error) {
  return error.code != "plane.nonsense" &&
         (error.kind == ErrorKind::kConflict || error.kind == ErrorKind::kNotFound ||
          error.kind == ErrorKind::kDenied || error.kind == ErrorKind::kInvalid);
}

}  // namespace

Status DeclineOffer(SessionServices& services, PlaneClient& plane, const ClaimAnswer& offer,
                    std::string_view reason) {
  Status declined = plane.Decline(
      offer.run_id, offer.claim_token, reason,
      Deadline::After(services.clock, std::min(services.config.call_timeout, kDeclineLimit)), {});
  // One that does not arrive is no harm: the offer runs out by itself.
  log::Info("runner.declined", "an offered run was given back",
            {{"run", offer.run_id.text()},
             {"reason", reason},
             {"code", declined ? "" : declined.error().code}});
  return declined;
}

Result<PendingOffer> NoteOffer(SessionServices& services, PlaneClient& plane, ClaimAnswer offer,
                               unsigned slot) {
  Result<std::unique_ptr<RunJournal>> journal = services.journal.Begin(
      JournalClaim{offer.run_id, offer.contract, offer.events, true, slot, true},
      offer.claim_token);
  if (!journal) {
    (void)DeclineOffer(services, plane, offer, "the runner's journal takes no notes");
    return std::move(journal).error().With("while noting an offered run");
  }
  return PendingOffer{std::move(offer), std::move(*journal)};
}

OfferFate TakeOffer(SessionServices& services, PlaneClient& plane, PendingOffer offer) {
  const milliseconds limit =
      std::min(services.config.call_timeout,
               std::max(offer.claim.offer.value_or(kLeastAckTime), kLeastAckTime));
  Result<Acknowledgement> taken = plane.Acknowledge(offer.claim.run_id, offer.claim.claim_token,
                                                    Deadline::After(services.clock, limit), {});
  OfferFate fate;
  if (taken) {
    offer.claim.events = std::move(taken->events);
    offer.claim.secrets = std::move(taken->secrets);
    if (Status noted = offer.journal->NoteAcknowledged(offer.claim.events); !noted)
      log::Error("runner.journal", "that an offer was acknowledged could not be noted",
                 {{"run", offer.claim.run_id.text()}, {"code", noted.error().code}});
    fate.kind = OfferFate::Kind::kOurs;
    fate.run = ClaimedRun{std::move(offer.claim), std::move(offer.journal), taken->terms,
                          std::move(offer.before_claim)};
    return fate;
  }
  fate.why = taken.error();
  bool gone = SaysNo(taken.error());
  if (taken.error().code == "plane.nonsense") {
    Status declined =
        DeclineOffer(services, plane, offer.claim, "the acknowledgement's answer cannot be read");
    // Not given back, it may be ours: the acknowledgement arrived and its answer was spoilt.
    gone = declined || (SaysNo(declined.error()) && declined.error().kind != ErrorKind::kConflict);
  }
  if (gone) {
    LogUnnoted(offer.journal->Close(), offer.claim.run_id,
               "an offer that went to somebody else could not be struck out: the next start asks "
               "for its fate again");
    return fate;
  }
  fate.kind = OfferFate::Kind::kInDoubt;
  fate.pending = std::move(offer);
  return fate;
}

Result<bool> ResolveOffer(SessionServices& services, PlaneClient& plane, OpenRun& run) {
  const milliseconds limit = std::min(services.config.call_timeout, kDeclineLimit);
  // Given back where it was not taken yet; a plane that has it as ours refuses.
  Status declined = plane.Decline(run.claim.run_id, run.claim_token, "the runner was restarted",
                                  Deadline::After(services.clock, limit), {});
  if (declined) return false;
  if (!SaysNo(declined.error())) return std::move(declined).error();
  Result<Acknowledgement> taken = plane.Acknowledge(run.claim.run_id, run.claim_token,
                                                    Deadline::After(services.clock, limit), {});
  if (!taken) {
    if (SaysNo(taken.error())) return false;
    return std::move(taken).error();
  }
  run.claim.events = std::move(taken->events);
  run.claim.offered = false;
  if (auto events = protocol::Event::ParseAll(run.claim.events)) run.events = std::move(*events);
  return true;
}

}  // namespace writ::runner
