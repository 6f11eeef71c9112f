// LiveSender: while a job runs, sends its events and live output to a plane with the extension, on
// a thread and a connection of its own. Where the run has no lease it also asks, now and then,
// whether somebody wants it cancelled.
//
// Live output goes by offset: what a failed call or a restarted plane lost is sent again out of the
// spool, from where the plane says that it stands. A plane that takes none (404), or answers with
// an offset that cannot be, gets no more of it.
#pragma once

#include <functional>
#include <optional>
#include <thread>

#include "session/chain_writer.h"
#include "session/claim_ticket.h"
#include "session/live_spool.h"
#include "writ/runner/config.h"

namespace writ::runner {

class LiveSender {
 public:
  // Called from the sender's thread; may come again and again.
  using OnCancel = std::function<void(std::optional<protocol::Actor>)>;
  enum class Cancels { kByLease, kAskedHere };  // who asks the plane for a wish to cancel
  // Either may be null. `out` is the merged output where `err` is.
  struct Spools {
    LiveSpool* out = nullptr;
    LiveSpool* err = nullptr;
  };
  // All are borrowed and outlive the sender.
  LiveSender(const RunnerConfig& config, const Clock& clock, protocol::RunId run,
             ChainWriter& chain, ClaimTicket& ticket, Spools spools, RunJournal* journal,
             Cancels cancels, OnCancel on_cancel);
  ~LiveSender();  // sends what is there, within a bound, and joins
  LiveSender(const LiveSender&) = delete;
  LiveSender& operator=(const LiveSender&) = delete;

 private:
  void Run(std::stop_token stop);
  // One stream on its way.
  struct Lane {
    LiveStream stream = LiveStream::kOutput;
    LiveSpool* spool = nullptr;  // null: the plane gets no more of it
    std::uint64_t sent = 0;
    int rewinds = 0;  // in a row, without progress
  };
  // A piece of each; false where there is nothing left to send or it did not go through.
  bool SendPieces(PlaneClient& plane, std::stop_token stop);
  bool SendPiece(Lane& lane, PlaneClient& plane, std::stop_token stop);
  void AwaitOutput(std::chrono::milliseconds left, std::stop_token stop);
  void SendEvents(PlaneClient& plane, std::stop_token stop);
  const RunnerConfig& config_;
  const Clock& clock_;
  protocol::RunId run_;
  ChainWriter& chain_;
  ClaimTicket& ticket_;
  Lane out_;
  Lane err_;
  RunJournal* journal_;
  Cancels cancels_;
  OnCancel on_cancel_;
  bool failing_ = false;
  bool notes_fail_ = false;  // said once; the journal gets no more of these
  std::jthread thread_;      // last: it uses all of the above
};

}  // namespace writ::runner
