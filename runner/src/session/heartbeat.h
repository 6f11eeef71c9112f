// Heartbeat: while a job runs, tells the plane that we live, sends events and live output, and
// hears of a cancellation.
//
// Towards a plane without the extension there is none. It has a thread and a connection of its own,
// so neither the job nor a slow upload can starve it (L40). What the plane does not know (404) is
// not asked again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "session/chain_writer.h"
#include "session/claim_ticket.h"
#include "session/log_capture.h"
#include "writ/runner/config.h"

namespace writ::runner {

class Heartbeat {
 public:
  // Called at most once, from the heartbeat's thread.
  using OnCancel = std::function<void(std::optional<protocol::Actor>)>;
  Heartbeat(const RunnerConfig& config, const Clock& clock, protocol::RunId run, ChainWriter& chain,
            ClaimTicket& ticket, LogCapture& log, RunJournal* journal, OnCancel on_cancel);
  ~Heartbeat();  // ends and joins
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

 private:
  void Run(std::stop_token stop);
  void TakeToken(RunSignals& signals);  // a renewed claim token: kept and noted
  void SendLive(PlaneClient& plane, std::stop_token stop);
  const RunnerConfig& config_;
  const Clock& clock_;
  protocol::RunId run_;
  ChainWriter& chain_;
  ClaimTicket& ticket_;
  LogCapture& log_;
  RunJournal* journal_;
  OnCancel on_cancel_;
  bool live_wanted_ = true;
  bool renew_wanted_ = true;
  std::jthread thread_;
};

}  // namespace writ::runner
