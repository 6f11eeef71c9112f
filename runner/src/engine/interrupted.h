// Interrupted: the end of a run whose process died before it could end it - a signed receipt with
// what is known (L38).
#pragma once

#include <memory>

#include "engine/leftovers.h"
#include "session/session.h"

namespace writ::runner {

// A run in the hands of this process: its chain goes on where the journal has it.
struct Taken {
  OpenRun run;
  std::unique_ptr<RunJournal> journal;
  std::unique_ptr<ChainWriter> chain;
  std::unique_ptr<ClaimTicket> ticket;

  FinishParts Parts(SessionServices& services, PlaneClient* plane, std::stop_token stop) {
    FinishParts parts{services,
                      plane,
                      run.claim.run_id,
                      run.claim.contract,
                      *chain,
                      journal.get(),
                      [this] { return ticket->Get(); },
                      std::move(stop)};
    parts.renewed = [this](Secret fresh) { ticket->Renew(std::move(fresh)); };
    return parts;
  }
};

Result<Taken> Take(SessionServices& services, OpenRun run);

// The receipt of a run that cannot go on, with what is known, on the disk; signed already unless
// its output goes to the plane first.
Status CloseInterrupted(SessionServices& services, Taken& taken, const LastFacts& facts);

// That a run of an earlier process has ended as its notes say, for who counts runs. (For one that
// CloseInterrupted closes, that tells it.)
void TellRunOver(const SessionServices& services, const OpenRun& run);

}  // namespace writ::runner
