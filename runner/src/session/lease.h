// Lease: keeps a claimed run ours, from the acknowledgement until its receipt is stored (L40).
//
// A thread and a connection of its own, which touch neither the disk nor anything that the job, an
// upload or the session's thread could hold: nothing but the plane can starve it. Each call is held
// open by the plane until it has something to say, so that a cancellation comes at once. What it
// hears it tells by callbacks from its thread, and keeps. A plane that is silent is asked again
// with back-off and jitter, for as long as the session lives; what happens to the job meanwhile is
// the operator's policy (RunnerConfig::plane_lost). One that was away for longer than the claim
// token lives gives a fresh one for the runner's own token.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/liveness.h"
#include "session/claim_ticket.h"
#include "writ/runner/config.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

enum class LeaseLoss {
  kSilent,     // no answer for as long as the policy allows; the lease goes on trying
  kEnded,      // the plane has closed the run
  kForgotten,  // the plane does not know the run any more
  kRevoked,    // this runner is out of service
};

class Lease {
 public:
  // From the lease's thread. OnCancel once; OnLoss once for kSilent and once for one of the others.
  struct Listener {
    std::function<void(std::optional<protocol::Actor>)> on_cancel;
    std::function<void(LeaseLoss, const std::string& message)> on_loss;
    std::function<void()> on_rotation;  // the plane wants another key
  };
  // All are borrowed and outlive the lease.
  Lease(const RunnerConfig& config, const Secret& runner_token, const Clock& clock,
        protocol::RunId run, LeaseTerms terms, ClaimTicket& ticket, Liveness& liveness,
        Listener listener);
  ~Lease();  // ends and joins
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // From now on the receipt is on its way: that the run has ended is no loss any more.
  void ExpectEnd() { end_expected_ = true; }

  // kEnded, kForgotten or kRevoked, once it was so.
  std::optional<LeaseLoss> final_loss() const;
  // The longest time between two answers so far, where it was longer than the lease; else nullopt.
  std::optional<std::chrono::milliseconds> gap() const;

 private:
  void Run(std::stop_token stop);
  void OnAnswer(LeaseAnswer& answer, std::chrono::nanoseconds asked_at);
  // False: there is nothing to renew any more.
  bool OnError(const Error& error);
  void NoteGap(std::chrono::nanoseconds until);
  std::chrono::milliseconds Silence() const;
  bool StopsWhenSilent() const { return config_.plane_lost.policy == PlaneLost::Policy::kStop; }

  const RunnerConfig& config_;
  const Secret& runner_token_;
  const Clock& clock_;
  protocol::RunId run_;
  ClaimTicket& ticket_;
  Listener listener_;
  Liveness::Beat beat_;

  // Of the lease's thread.
  LeaseTerms terms_;
  std::chrono::nanoseconds last_answer_;
  std::string last_code_;  // a lasting trouble is logged once
  bool news_ = false;      // the last answer said something new
  bool cancel_told_ = false, silence_told_ = false;

  std::atomic<bool> end_expected_ = false;
  mutable std::mutex mutex_;  // guards what follows
  std::optional<LeaseLoss> final_loss_;
  std::chrono::milliseconds gap_{0};
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace writ::runner
