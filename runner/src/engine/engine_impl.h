// Engine::Impl: what the engine's sources share. engine.cc makes and stops it, claim_loop.cc turns.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "access/access_server.h"
#include "engine/capability_report.h"
#include "engine/courier.h"
#include "engine/fitting.h"
#include "engine/liveness.h"
#include "engine/offers.h"
#include "engine/slot_pool.h"
#include "metrics/run_board.h"
#include "session/session.h"
#include "writ/base/backoff.h"
#include "writ/base/status/status_server.h"
#include "writ/base/unique_fd.h"
#include "writ/runner/engine.h"

namespace writ::runner {

struct Engine::Impl {
  Impl(RunnerConfig c, Identity i, protocol::PublicKey key, const Clock& the_clock)
      : config(std::move(c)),
        identity(std::move(i)),
        plane_key(key),
        clock(&the_clock),
        liveness(the_clock),
        board(the_clock),
        pool(CapacityFor(config, backends::ProbeMachine())) {}

  RunnerConfig config;
  Identity identity;  // changed only while nobody asks for a run and none is in work
  protocol::PublicKey plane_key;
  const Clock* clock;
  UniqueFd state_dir, lock, sessions, ended;
  std::unique_ptr<workspace::ObjectCache> cache;
  std::unique_ptr<workspace::CheckoutCache> checkouts;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Cleaner> cleaner;
  Liveness liveness;
  RunBoard board;
  EventBus bus;  // wired in Create; everything that happens is told by it
  std::optional<SessionServices> services;
  std::unique_ptr<Courier> courier;  // after what it borrows
  AccessServer access;               // of sessions, which close their doors
  backends::BackendRegistry* registry = nullptr;
  std::unique_ptr<CapabilityReport> report;

  mutable std::mutex mutex;  // guards what follows
  // What runs begin with from now on: `config` with what Reload changed in it.
  std::shared_ptr<const RunnerConfig> live = std::make_shared<const RunnerConfig>(config);
  std::condition_variable_any changed;  // any of it
  ServeOptions serve;
  SlotPool pool;
  unsigned asking = 0;      // loops with a claim in flight
  unsigned active = 0;      // runs in work
  std::uint64_t taken = 0;  // runs since Start
  unsigned loops = 0;       // threads that still turn
  std::chrono::nanoseconds idle_since{0};
  bool rotation_wanted = false, rotating = false;
  std::optional<Error> trouble;
  bool info_known = false;
  PlaneInfo info;
  std::chrono::nanoseconds info_time{0};
  std::string last_problem, last_trouble;  // so that a lasting one is logged once

  std::stop_source drain;   // no new claims
  std::stop_source cancel;  // cancel what runs
  std::stop_source leave;   // kLastMoment after that: what is owed to the plane waits (L40)
  std::vector<std::jthread> threads;
  std::unique_ptr<status::StatusServer> status_server;  // of Start; ends before what it reads
  std::once_flag drain_told;                            // what a drain tells and asks, once
  std::jthread drain_hook;                              // which takes as long as its hook
  std::once_flag leaving;
  std::jthread leaver;                // from `cancel` to `leave`
  std::atomic<bool> serving = false;  // Start was called: there is something to drain

  // How one turn of a loop went.
  struct Turn {
    std::optional<std::string> run_id;  // a run was done
    bool refused = false;               // it, or an offer, was refused: come back later
    std::optional<PendingOffer> doubt;  // an offer whose acknowledgement may have arrived
  };
  // What a loop may do now.
  enum class Next { kClaim, kRotate, kLeave };
  struct Permit {
    Next next = Next::kLeave;
    unsigned slot = 0;  // for kClaim: reserved
  };
  // How long whoever has no room waits before it looks at the disk again.
  static constexpr std::chrono::milliseconds kLookAgain{2'000};
  // How long a plane that is there has, once runs are cancelled, to be told how they ended.
  static constexpr std::chrono::milliseconds kLastMoment{10'000};

  // status.cc
  void WireBus(RunObserver* observer);
  Status ServeStatus();
  status::StatusAnswer AnswerStatus(std::string_view path);
  // What the operator's hook says, before a run is asked for or taken.
  Gate AskBeforeClaim(const ClaimAnswer* offer, unsigned slot);
  void OnDrain();

  // fitting.cc
  ResourceShare OrdinaryShare() const;  // `mutex` is held
  // What of the disk is for runs, as it is now. `mutex` is held.
  void LookAtDisk();
  // A slot for whoever asks for a run, where an ordinary one has room beside those in work. Who
  // only asks holds nothing: an idle runner has all of its machine for the first that comes.
  Result<unsigned> SlotToAskFor();  // `mutex` is held
  // What a run's contract needs is reserved for `slot`, instead of the ordinary share; why not, and
  // then the slot keeps what it had.
  Status Fit(unsigned slot, const json::Value& contract);
  // The same for a run that is ours already: waits for others to end, and reserves nothing
  // meanwhile. False: stopped. A run that fits nowhere here goes on, to be refused in its receipt.
  bool AwaitFit(unsigned slot, const json::Value& contract, std::stop_token stop);
  MachineShare ShareOf(unsigned slot) const;

  // reload.cc
  std::shared_ptr<const RunnerConfig> Live() const;

  bool Ready();
  // What the plane speaks; why that is not known, as long as it has not said it once.
  Result<Vocabulary> AskVocabulary(PlaneClient& plane, std::stop_token stop);
  Permit NextTurn(std::stop_token stop);
  std::optional<Permit> PermitNow();                   // nullopt: wait. `mutex` is held
  Result<unsigned> ReserveSlot(std::stop_token stop);  // waits for one, whatever `serve` says
  void EndTurn(unsigned slot, Teardown teardown);
  // One claim and, where it brings a run, the whole session. `doubt`: first the offer whose fate
  // is not known.
  struct Order {
    unsigned slot = 0;  // reserved, and counted in `asking`
    std::chrono::milliseconds wait{0};
    std::optional<PendingOffer> doubt{};
    Liveness::Beat* beat = nullptr;  // paused while a run is in work
  };
  Result<Turn> TakeTurn(PlaneClient& plane, Order order, Teardown& teardown, std::stop_token stop);
  Result<std::optional<ClaimAnswer>> AskForRun(PlaneClient& plane, Vocabulary vocabulary,
                                               unsigned slot, std::chrono::milliseconds wait,
                                               std::stop_token stop);
  void RunSession(PlaneClient& plane, ClaimedRun run, Vocabulary vocabulary, unsigned slot,
                  Turn& turn, Teardown& teardown);
  // Where the host could not start an offer whose fate is not known. True: it is nobody's of ours.
  bool GiveBack(PlaneClient& plane, PendingOffer& doubt);
  void SlotLoop(unsigned number);
  void LoopEnded();
  std::chrono::milliseconds PollTime() const;  // the long poll, or what is left of idling
  void LeaveIfIdle();
  void LogTrouble(const Error& error);
  void LogAllWell();
  void OnRevoked();
  void Rotate(PlaneClient& plane);        // `rotating` is ours
  void RotateIfIdle(PlaneClient& plane);  // where it is wanted and nothing is open
};

}  // namespace writ::runner
