// SessionDoor: the way into one running session. Decides by the operator's grants, tells each use
// to the run's chain - before anything is done, and again at its end - and carries it out.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "access/access_server.h"
#include "access/checkpoint_taking.h"
#include "access/entry_relay.h"
#include "session/chain_writer.h"
#include "session/live_spool.h"
#include "writ/backends/backend.h"
#include "writ/protocol/words.h"
#include "writ/runner/config.h"
#include "writ/runner/redactor.h"

namespace writ::runner {

// All borrowed, for as long as the door is open.
struct DoorParts {
  std::string run_id;
  const SessionGrants& grants;
  TreeLimits copy_limits;
  protocol::Disclosure disclosure;
  backends::Job& job;
  ChainWriter& chain;
  const Redactor& redactor;
  bool terminal = false;   // the job has one
  bool can_pause = false;  // Capabilities::pause of its backend; it has checkpoints then, too
  std::uint64_t max_checkpoint_bytes = 0;
  // Has a checkpoint taken into a file, and the plane keep it; in the caller's thread.
  std::function<Result<Checkpoint>(const std::function<Result<Checkpoint>(int file)>& take)>
      keep_checkpoint{};
  std::function<void(bool paused)> on_stillness{};  // may be empty
  LiveSpool* out = nullptr;                         // null: output is not kept
  LiveSpool* err = nullptr;                         // null: merged
  // What every command gets on top of the base environment: the way to the proxy. No secret of the
  // contract's is here or was ever.
  backends::Environment proxy;
};

class SessionDoor final : public AccessDoor {
 public:
  // Opens it; closes it in Close or at the end, when nobody is inside any more. `server` outlives
  // it.
  SessionDoor(AccessServer& server, DoorParts parts);
  ~SessionDoor() override;
  // The job has ended, and all its output stands in the spools.
  void Close();

  void Serve(const AccessRequest& request, AccessChannel& channel,
             const protocol::Actor& actor) override;
  void Hurry() override;

 private:
  struct Use;
  Status CheckGrant(const AccessRequest& request) const;
  Status CheckCheckpoint() const;
  Status Begin(const AccessRequest& request, const protocol::Actor& actor, Use& use);
  void End(const Use& use);
  Status Attach(const AccessRequest& request, AccessChannel& channel, Use& use);
  Status Exec(const AccessRequest& request, AccessChannel& channel, Use& use);
  Status Copy(const AccessRequest& request, AccessChannel& channel, Use& use);
  Status TakeCheckpointOfJob(AccessChannel& channel, Use& use);
  // Not a use: it goes on when whoever asked for it has gone.
  void Turn(const AccessRequest& request, AccessChannel& channel, const protocol::Actor& actor);
  Status DoTurn(AccessRequest::Mode mode, const protocol::Actor& actor);
  Status Relay(EntryRelay& relay, AccessChannel& channel, Use& use, std::string_view reason);

  AccessServer& server_;
  DoorParts parts_;
  UniqueFd over_;  // eventfd
  std::atomic<std::uint64_t> uses_{0};
  std::mutex turning_;  // one at a time, checkpoints too; guards still_since_
  std::optional<std::chrono::steady_clock::time_point> still_since_;
  bool open_ = true;
};

}  // namespace writ::runner
