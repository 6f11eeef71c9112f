// Session: one claimed run, from the claim to the delivered receipt. Session::Run reads as the list
// of design.md section 2.
//
// Whatever happens after a claim, exactly one signed receipt results: every step may fail, the
// first failure wins, and the steps that undo, tell and sign are always taken. Belongs to one
// supervising thread; `cancel` may fire from any.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>

#include "session/artifacts.h"
#include "session/chain_writer.h"
#include "session/claim_ticket.h"
#include "session/cleaner.h"
#include "session/finish.h"
#include "session/lease.h"
#include "session/live_spool.h"
#include "session/log_capture.h"
#include "session/mapped_file.h"
#include "session/progress_sender.h"
#include "session/proxy_session.h"
#include "session/session_dirs.h"
#include "writ/backends/backend.h"
#include "writ/backends/registry.h"
#include "writ/base/log_context.h"
#include "writ/protocol/receipt.h"
#include "writ/runner/config.h"
#include "writ/runner/event_bus.h"
#include "writ/runner/failure.h"
#include "writ/runner/identity.h"
#include "writ/runner/plan.h"
#include "writ/runner/undo_stack.h"
#include "writ/workspace/collect.h"
#include "writ/workspace/materialize.h"
#include "writ/workspace/quoted_path.h"

namespace writ::runner {

class AccessServer;
class Courier;
class SessionDoor;
struct Checkpoint;

// What all sessions of an engine share. Borrowed; outlives them.
struct SessionServices {
  const RunnerConfig& config;
  const Identity& identity;
  protocol::PublicKey plane_key;  // pinned
  backends::BackendRegistry& registry;
  workspace::ObjectCache& cache;
  workspace::CheckoutCache& checkouts;
  Journal& journal;
  Cleaner& cleaner;
  int sessions_dir;
  std::string sessions_path;
  const Clock& clock;
  const EventBus& bus;
  std::vector<egress::ProtectedEndpoint> plane_addresses;
  Liveness& liveness;
  // From any session's threads: the plane asks for another key; this runner is out of service.
  std::function<void()> on_rotation{};
  std::function<void()> on_revoked{};
  std::stop_token
      leave{};  // the runner leaves: calls to the plane are given up, what is owed waits
  Courier* courier = nullptr;      // delivers what a session could not
  AccessServer* access = nullptr;  // leads the operator into running sessions
};

// The same for a run that begins with another configuration, which outlives it.
inline SessionServices WithConfig(const SessionServices& s, const RunnerConfig& config) {
  return SessionServices{
      config,       s.identity, s.plane_key,       s.registry,     s.cache,
      s.checkouts,  s.journal,  s.cleaner,         s.sessions_dir, s.sessions_path,
      s.clock,      s.bus,      s.plane_addresses, s.liveness,     s.on_rotation,
      s.on_revoked, s.leave,    s.courier,         s.access};
}

// A run that is ours.
struct ClaimedRun {
  ClaimAnswer claim;
  std::unique_ptr<RunJournal> journal{};   // of an acknowledged offer; else it is not noted yet
  std::optional<LeaseTerms> lease{};       // of an acknowledged offer
  std::vector<HookRecord> before_claim{};  // a veto only where the run was ours already
  MachineShare machine{};
};

struct SessionStep {
  std::string_view name;
  std::size_t before, after;  // fault points
};

class Session {
 public:
  Session(SessionServices& services, PlaneClient& plane, ClaimedRun run, Vocabulary vocabulary,
          unsigned slot, std::stop_token cancel);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  RunEnd Run();
  // After Run: the contract was refused before anything was touched.
  bool refused() const { return !verified_; }
  // After Run: something of the isolation is left, so the slot and its uid are not used again
  // (L37).
  bool leaked() const { return !leaks_.empty(); }
  std::shared_ptr<const log::RunContext> log_context() const { return log_context_; }

 private:
  using Step = std::optional<RunFailure> (Session::*)();
  bool Take(Step step, const SessionStep& named);              // false once anything has failed
  void Do(void (Session::*step)(), const SessionStep& named);  // a step that is always taken
  void Begin(const SessionStep& named);  // noted: the step before it is done, this one is begun
  void Fail(RunFailure failure);         // the first one counts
  void Tell(runner::Step step);
  RunRef Ref() const { return {claim_.run_id.text(), slot_, log_context_->trace()}; }
  void KeepLease(LeaseTerms terms);
  void OnLoss(LeaseLoss loss, const std::string& message);
  // Ends the run, from any thread: a failure, or, without one, a cancellation. The first one
  // counts.
  void Halt(std::optional<RunFailure> why, std::optional<protocol::Actor> cancelled_by);
  Deadline CallDeadline() const {
    return Deadline::After(services_.clock, services_.config.call_timeout);
  }

  // session_hooks.cc
  std::optional<RunFailure> AskBeforeRun();
  void TellAfterRun();
  Gate AskHooks(HookKind hook, json::Object facts);
  void Record(const Gate& gate);

  // session_begin.cc
  std::optional<RunFailure> Verify();
  std::optional<RunFailure> Decide();
  std::optional<RunFailure> Materialize();
  // session_checkpoint.cc
  std::optional<RunFailure> FetchCheckpoint();
  Result<Checkpoint> KeepCheckpoint(const std::function<Result<Checkpoint>(int file)>& take);
  // session_start.cc
  std::optional<RunFailure> SpawnProxy();
  std::optional<RunFailure> PrepareBackend();
  std::optional<RunFailure> HideSecrets();
  std::optional<RunFailure> StartProxy();
  std::optional<RunFailure> DeliverSecrets();
  std::optional<RunFailure> StartJob();
  void Watch();
  std::unique_ptr<LiveSpool> MakeLiveSpool(const std::string& name) const;
  std::unique_ptr<SessionDoor> OpenDoor();
  void Judge(const backends::Outcome& outcome);
  // session_end.cc
  void Collect();
  void TellOfCompany();
  void Dismantle();
  void EndExposure();
  // session_artifacts.cc
  void CollectDeclared();
  Result<std::string_view> BytesOf(const protocol::Digest& digest);  // good until the next call
  // session_upload.cc
  void AddArtifact(protocol::ArtifactKind kind, std::string_view data_class, std::string bytes);
  void GatherArtifacts();
  void Store();
  Status StoreCollected();
  void Upload();
  Ending MakeEnding();
  FinishParts Parts();
  json::Value EnvironmentRecord() const;
  void Conclude();
  Status Deliver(const json::Value& receipt);
  void HandOver(const Error& why);
  void Release();
  // Tells those who watch at the plane; empty where nothing may leave, or nobody there takes it.
  ProgressListener FarProgress();

  SessionServices& services_;
  PlaneClient& plane_;
  ClaimAnswer claim_;
  ClaimTicket ticket_;
  Gate before_claim_;
  const MachineShare machine_;
  std::shared_ptr<log::RunContext> log_context_;
  std::chrono::nanoseconds claimed_at_, step_at_;
  Vocabulary vocabulary_;
  unsigned slot_;
  std::stop_token cancel_;  // of the engine: cancel what runs
  protocol::Digest contract_hash_;
  std::unique_ptr<RunJournal> journal_;
  std::optional<ChainWriter> chain_;
  std::optional<protocol::Contract> contract_;
  std::optional<SessionPlan> plan_;
  std::optional<protocol::Digest> plan_hash_;
  backends::Backend* backend_ = nullptr;
  // What it had found when the job was planned, then when it was prepared; good for its life.
  const backends::Capabilities* measured_ = nullptr;
  std::optional<SessionDirs> dirs_;
  // What the receipt says of the workspace: why it is plain where it is.
  std::optional<backends::WorkspaceMount> overlay_;
  std::string root_image_;  // digest; empty: the job ran in none
  std::optional<backends::MachineStart> machine_start_;
  std::string why_plain_;
  std::optional<workspace::Materialized> materialized_;
  // Of a job that has our own uid and no mount namespace between it and our files; and how many of
  // those there had been when our workspace was made.
  std::optional<workspace::CheckoutExposure> exposure_;
  workspace::CheckoutCache::Exposures exposed_before_;
  std::unique_ptr<backends::Job> job_;
  std::unique_ptr<ProxySession> proxy_;
  std::uint16_t proxy_port_ = 0;           // 0: the job has no network
  Secret proxy_token_;                     // empty: the proxy asks for none
  std::optional<Redactor> redactor_;       // both are made before the proxy, whose thread
  std::optional<Redactor> host_redactor_;  // reads the second, and stay as they are
  backends::Environment late_env_;
  // Null: nobody sees output while the job runs. Stderr's only where it is captured.
  std::unique_ptr<LiveSpool> spool_;
  std::unique_ptr<LiveSpool> stderr_spool_;
  std::unique_ptr<LogCapture> log_;
  std::optional<LogCapture::Log> out_log_, err_log_;
  std::optional<backends::Outcome> outcome_;
  std::optional<workspace::Collected> collected_;
  // What was collected, and its bytes by digest; once stored, files of the session hold them too.
  std::vector<JournalUpload> uploads_;
  std::map<protocol::Digest, std::string> artifacts_;
  std::vector<JournalUpload> declared_;  // output files; files of the session from the beginning
  MappedFile mapped_;                    // the one that is being sent
  bool stored_ = false;                  // another process could finish the run from the journal
  bool handed_over_ = false;             // the courier finishes it
  bool upload_waits_ = false;            // and needs the files for that
  UndoStack undo_;
  std::vector<std::string> leaks_;
  bool verified_ = false;
  bool started_ = false;
  bool dismantled_ = false;

  Liveness::Beat beat_;
  std::stop_source halt_;      // no further steps
  std::stop_source stop_job_;  // ends the job, with its grace
  std::stop_source kill_job_;  // without
  std::mutex cause_mutex_;     // guards the three below: lease, sender and proxy write them
  bool halted_ = false;
  std::optional<protocol::Actor> cancelled_by_;
  std::optional<RunFailure> guard_failure_;
  std::optional<RunFailure> failure_;
  bool cancelled_ = false;
  std::optional<ProgressSender> progress_;
  std::optional<Lease> lease_;  // last: its thread uses the above
};

// How the backend's overlays keep their marks.
inline workspace::OverlayXattrs OverlayXattrsOf(const backends::Capabilities& can) {
  return can.overlay_workspace == backends::OverlayWorkspace::kUserXattr
             ? workspace::OverlayXattrs::kUser
             : workspace::OverlayXattrs::kTrusted;
}

// Of a claim, for its log lines, whether its contract is good or not.
std::shared_ptr<log::RunContext> LogContextOf(const protocol::RunId& run,
                                              const json::Value& contract);

// For receipts of contracts that cannot be read as such: what is known, else empty.
protocol::Receipt MinimalReceipt(const protocol::RunId& run, const json::Value& contract,
                                 std::span<const protocol::Event> events);

}  // namespace writ::runner
