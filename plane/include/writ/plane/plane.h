// Plane: the control plane on one directory (protocol.md sections 2, 4 and 5).
//
// Every operation of the HTTP API is a method here; the CLI calls them on a local directory without
// a running plane, the HTTP layer calls them for its clients. State is in SQLite (WAL,
// synchronous=FULL): what a method reported as done survives kill -9 and a power cut. Several
// processes may open one directory.
//
// Thread-safe. Methods block for disk, and the Wait ones for their duration at most.
// Errors (Result): kInvalid malformed input; kDenied with code "unauthorized" (who are you: 401) or
// "forbidden"/"policy_denied" (you may not: 403); kNotFound; kConflict the state is another;
// kOverloaded a rate limit (retry_after in the hint); kUnavailable the store or the policy cannot
// be read now.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/config.h"
#include "writ/plane/lease.h"
#include "writ/plane/types.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::plane {

enum class AtOpen {
  kSweep,
  kChangeNothing,  // what has run out stays as it is: to look at it first
};

struct PlaneOptions {
  std::string dir;               // absolute; made by Init
  std::optional<Config> config;  // default: the directory's config.json
  AtOpen at_open = AtOpen::kSweep;
};

class PlaneMetrics;  // of the library's own sources

class Plane {
 public:
  // `clock` is borrowed and outlives the plane. kNotFound "plane.not_initialized" where Init has
  // not run.
  static Result<std::unique_ptr<Plane>> Open(PlaneOptions options, const Clock& clock);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  // Keys and policy.
  const std::string& public_key_pem() const;
  const std::string& key_id() const;
  const std::string& org_public_key_pem() const;
  const Config& config() const;
  // writ.keys.v1 as it is in the directory now. kNotFound "plane.no_key_manifest".
  Result<std::string> KeyManifest() const;
  // Of the key in use or one of before. kNotFound "plane.key_unknown".
  Result<std::string> PublicKeyPemOf(const std::string& key_id) const;
  struct PolicyDocument {
    std::string policy;  // JSON as in the file
    std::string policy_hash;
  };
  Result<PolicyDocument> Policy() const;
  Status SetPolicy(const Caller& caller, std::string_view bytes);
  Status Ready() const;  // store reachable, policy readable, signing key usable
  // Prometheus text (version 0.0.4); nothing in it is secret.
  Result<std::string> MetricsText() const;
  PlaneMetrics& metrics() const;
  // The W3C trace id of the request behind a run, for log lines; empty where it had none, nullopt
  // where that is not known (yet).
  std::optional<std::string> TraceOf(const std::string& run_id) const;

  // Who is this? Empty or unknown tokens: kDenied "unauthorized".
  Result<Caller> Authenticate(std::string_view token) const;

  // Requester. `body` is the JSON of POST /v1/runs: {request, dryRun?}.
  Result<Submission> Submit(const Caller& caller, std::string_view body);
  Result<RunState> Approve(const Caller& caller, const std::string& run_id,
                           std::optional<Actor> actor);
  Result<CancelResult> Cancel(const Caller& caller, const std::string& run_id,
                              std::optional<Actor> actor);
  // Whether this caller may look at the run: administrators and approvers at all, a requester at
  // its own. kNotFound otherwise: that a run exists is not told either.
  Status MaySee(const Caller& caller, const std::string& run_id) const;
  // Oldest first; with `submitted_by` only that principal's.
  Result<std::vector<RunSummary>> Runs(const std::optional<std::string>& submitted_by = {}) const;
  Result<RunDetail> Run(const std::string& run_id) const;
  // Waits until the run has changed after `after` (its updated_at) or `wait` is over.
  Result<RunDetail> WaitRun(const std::string& run_id, WallTime after,
                            std::chrono::milliseconds wait) const;
  Result<std::string> Bundle(const std::string& run_id) const;  // warrant.bundle.v1, JSON
  // What the runner finished after the plane had closed the run. It has no signature of the plane,
  // whose receipt is the run's. kNotFound "run.no_late_receipt".
  Result<std::string> LateBundle(const std::string& run_id) const;
  // In the order of the chain, of a run at any stage.
  Result<std::vector<ArtifactInfo>> Artifacts(const std::string& run_id) const;
  // JSON lines: run events, then the admin chain's entries, both from `since` on, then the signed
  // head.
  Status Export(WallTime since, const std::function<Status(std::string_view line)>& write) const;

  // Runner.
  Result<Enrolment> Enroll(std::string_view enroll_token, std::string_view public_key_pem,
                           std::string_view pool);
  // nullopt: nothing to do within `wait`, or `abandoned` (may be empty) said that nobody waits for
  // the answer any more: a run is never given to a runner that has left. `only_run`, where not
  // empty, is the one run that it wants, whatever it can. `can` narrows what is given to what the
  // runner says that it can do; nullptr: it says nothing.
  Result<std::optional<writ::plane::Claim>> Claim(
      std::string_view runner_token, std::string_view pool, std::chrono::milliseconds wait,
      const std::function<bool()>& abandoned = {}, const std::string& only_run = {},
      const protocol::RunnerCapabilities* can = nullptr);
  // The same as an offer, which becomes a claim by its acknowledgement and is nobody's once it has
  // run out.
  Result<OfferAnswer> TakeOffer(std::string_view runner_token, std::string_view pool,
                                std::chrono::milliseconds wait,
                                const std::function<bool()>& abandoned = {},
                                const std::string& only_run = {},
                                const protocol::RunnerCapabilities* can = nullptr);
  // kConflict "offer.expired" where the offer is over; "claim.started" once the runner has appended
  // an event; "run.ended".
  Result<Acknowledgement> Acknowledge(const std::string& run_id, std::string_view claim_token);
  // Gives an offer back. kConflict "claim.acknowledged" where it was taken.
  Status Decline(const std::string& run_id, std::string_view claim_token, std::string_view reason);
  // Renews at arrival; with `wait` answers as soon as there is something to say. kDenied
  // "runner.revoked", kConflict "run.ended".
  Result<LeaseAnswer> Lease(const std::string& run_id, const LeaseCall& call);
  Result<EventsAnswer> AppendEvents(const std::string& run_id, std::string_view claim_token,
                                    const json::Value& events);
  // `runner_token` may be empty; it is needed once the claim token has run out. A token that was
  // used already is kConflict, unless the receipt is the one that is stored.
  Result<Completion> Complete(const std::string& run_id, std::string_view claim_token,
                              const json::Value& receipt, std::string_view runner_token);
  // Keeps beside the receipt of a run that the plane closed what its runner finished; checked like
  // a completion. kConflict "run.not_closed", "late.stored" (another one is kept already; the same
  // one again is fine).
  Status Late(const std::string& run_id, const LateReceipt& late);
  Status AuthenticateClaim(std::string_view claim_token) const;  // for blobs: signature and expiry
  Result<std::vector<RunnerInfo>> Runners() const;
  // Bites at the runner's next call, in a run too; its open runs are closed by the plane.
  Status RevokeRunner(const Caller& caller, const std::string& runner_id);
  // Asks a runner for another key: it learns it with its next claim or lease, and gets no offer
  // before it has done it.
  Status AskRotation(const Caller& caller, const std::string& runner_id);
  // The runner's answer: its new token. kConflict "rotation.not_asked", "rotation.open_run",
  // "rotation.key_known"; kDenied "rotation.proof". The same call again gives the same token.
  Result<std::string> Rotate(const RotationCall& call);

  // Blobs, addressed by the hex SHA-256 of their bytes.
  class BlobWriter {  // one upload; what is not finished leaves nothing behind
   public:
    virtual ~BlobWriter() = default;
    virtual Status Append(std::string_view bytes) = 0;
    // `expected` empty or the hash that must come out (kIntegrity otherwise). Durable on return.
    virtual Result<std::string> Finish(std::string_view expected) = 0;
  };
  Result<std::unique_ptr<BlobWriter>> NewBlob();
  Result<std::string> PutBlob(std::string_view bytes);
  struct Blob {
    UniqueFd fd;
    std::uint64_t bytes = 0;
  };
  Result<Blob> OpenBlob(const std::string& hash) const;
  void QuarantineBlob(const std::string& hash);  // its bytes are not what its name says
  // The same in pieces, which a broken connection or a restart takes up again. A part belongs to
  // the run of its token. kInvalid "blob.piece", "blob.too_large"; kIntegrity "blob.hash_mismatch";
  // kOverloaded "blob.parts_full".
  Result<PieceAnswer> PutBlobPiece(std::string_view claim_token, const BlobPiece& piece);
  Result<std::uint64_t> BlobPartBytes(std::string_view claim_token, const std::string& hash) const;

  // Live output of a run, while it runs. `offset` is where `bytes` stand in the run's output.
  // An append that leaves a gap is kConflict "log.gap" (LogSize tells where it stands).
  Result<LogChunk> AppendLog(const std::string& run_id, std::string_view claim_token,
                             LogStream stream, std::uint64_t offset, std::string_view bytes);
  Result<std::uint64_t> LogSize(const std::string& run_id, LogStream stream) const;
  Result<LogChunk> ReadLog(const std::string& run_id, LogStream stream, std::uint64_t offset,
                           std::chrono::milliseconds wait) const;

  // Administration; each of these leaves an entry in the admin chain.
  Result<IssuedToken> CreateEnrollToken(const Caller& caller, std::chrono::seconds lifetime,
                                        std::optional<std::string> pool);
  Result<IssuedPrincipal> CreatePrincipal(const Caller& caller, const std::string& name,
                                          const std::vector<Role>& roles);
  Status RevokePrincipal(const Caller& caller, const std::string& name);
  Result<std::vector<PrincipalInfo>> Principals() const;

  Status SetSecret(const Caller& caller, const std::string& name, const std::string& scope,
                   const Secret& value);
  Status SetSecretSource(const Caller& caller, const std::string& name, const std::string& scope,
                         const SecretSource& source);
  Result<std::vector<SecretInfo>> Secrets() const;
  Status RemoveSecret(const Caller& caller, const std::string& name, const std::string& scope);

  // Ends what has run out: contracts nobody claimed, approvals nobody gave, lost runs, retention.
  // The HTTP server calls it now and then; so does Open.
  Status Sweep();
  // The policy's retention, all of it now: what Sweep does piece by piece. A blob that a run's term
  // still covers is never touched; every deletion is in the admin chain before it is done.
  Result<GarbageReport> CollectGarbage(GarbageMode mode);
  // The lost runs alone, for whoever serves runners: cheap, and called every few seconds by a
  // thread that nothing else keeps busy. A lease runs only while this is called: time during which
  // no plane served, or that a clock jumped over, does not count against it.
  Status SweepLeases();

  // Wakes every waiting call for good; waits return at once afterwards.
  void Interrupt();

  struct Impl;  // of the library's own sources

 private:
  explicit Plane(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::plane
