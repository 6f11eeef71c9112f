// Offers: a run that a plane holds for us for some seconds becomes ours by an acknowledgement
// (protocol.md section 6). It is noted in the journal before it is acknowledged, so that a runner
// that dies in between knows of it.
#pragma once

#include <optional>

#include "session/session.h"

namespace writ::runner {

// Noted, and acknowledged without an answer: it is ours, or it ran out. Asking again tells.
struct PendingOffer {
  ClaimAnswer claim;  // with the time in which it is to be acknowledged
  std::unique_ptr<RunJournal> journal;
  std::vector<HookRecord> before_claim{};
};

struct OfferFate {
  enum class Kind {
    kOurs,     // run
    kGone,     // it ran out, or it was taken back; nothing is noted any more
    kInDoubt,  // pending
  };
  Kind kind = Kind::kGone;
  std::optional<ClaimedRun> run{};
  std::optional<PendingOffer> pending{};
  std::optional<Error> why{};  // of the last two
};

// Notes the offer. Where that fails it is declined.
Result<PendingOffer> NoteOffer(SessionServices& services, PlaneClient& plane, ClaimAnswer offer,
                               unsigned slot);
// Acknowledges it, at most for the time of the offer and one call.
OfferFate TakeOffer(SessionServices& services, PlaneClient& plane, PendingOffer offer);
// Gives it back and logs what the plane says to that, which few need to know. `reason` is a word or
// a few.
Status DeclineOffer(SessionServices& services, PlaneClient& plane, const ClaimAnswer& offer,
                    std::string_view reason);

// An offer that a runner that died had noted. True: it was acknowledged, `run` holds the whole
// chain now, and a receipt is owed. False: it is not ours. An error: not known yet.
Result<bool> ResolveOffer(SessionServices& services, PlaneClient& plane, OpenRun& run);

}  // namespace writ::runner
