// The values that go in and out of a Plane. Protocol objects (contract, receipt, events, policy)
// travel as JSON text, exactly the bytes that are stored, hashed and answered over HTTP.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/secret.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/words.h"

namespace writ::plane {

enum class Role { kAdmin, kRequester, kApprover, kEnroller };
std::string_view RoleName(Role role);
std::optional<Role> ParseRole(std::string_view name);

using protocol::Actor;
using protocol::ActorKind;

// Who asks. Made by Authenticate, or by Local for one who holds the directory itself.
struct Caller {
  std::string name;         // the principal's name; goes into the admin chain
  std::vector<Role> roles;  // admin implies every other role
  ActorKind kind = ActorKind::kService;
  bool Has(Role role) const;
  // The owner of the directory, on this machine: a person with every role.
  static Caller Local(std::string name);
};

using protocol::RunState;  // Word(state) is its word on the wire
constexpr bool IsTerminal(RunState s) {
  return s == RunState::kCompleted || s == RunState::kFailed || s == RunState::kCancelled;
}

// The answer to a run request. A request that policy denies or that is malformed is an answer too,
// with all of its reasons, not just the first.
struct Submission {
  enum class Kind { kAccepted, kDryRun, kDenied, kInvalid };
  Kind kind = Kind::kInvalid;
  std::string run_id;                             // kAccepted
  RunState status = RunState::kCreated;           // kAccepted: created or awaiting_approval
  std::vector<std::string> consent_requirements;  // kAccepted
  std::string report;                             // kDryRun: the disclosure report, JSON
  std::vector<std::string> reasons;               // kDenied
  std::vector<std::string> issues;                // kInvalid: "request.prompt: sentence"
  std::string pointer;                            // kInvalid: JSON pointer of the first issue
};

// Why a run that nobody has claimed waits, by what its pool's runners say of themselves.
struct Waiting {
  std::string code;     // "wait.no_runner", "wait.no_fit", "wait.busy", "wait.declined",
                        // "wait.offered", "wait.turn"
  std::string message;  // one sentence; parts of it are a runner's words
  std::string mend;     // may be empty
};

struct RunSummary {
  std::string run_id;
  RunState status = RunState::kCreated;
  std::string agent_kind;
  std::string pool;
  std::string prompt;
  Actor requested_by;
  WallTime created_at;
  WallTime updated_at;
  std::vector<std::string> consent_requirements;
  bool has_receipt = false;
  bool cancel_requested = false;
  std::string failure;  // sentence for a run that the plane itself ended; else empty
  // The plane closed the run in its runner's place: kClosedLeaseExpired or kClosedRunnerRevoked
  // (lease.h); shown as `lost`. Else empty.
  std::string closed_reason;
  std::string retry_of;            // the lost run that this one repeats; else empty
  std::string retried_as;          // the run that repeats this lost one; else empty
  bool has_late_receipt = false;   // the runner sent what it had finished after all
  std::optional<Waiting> waiting;  // of a created run
};

struct RunDetail {
  RunSummary summary;
  std::vector<std::string> events;  // each the JSON of one event, in order
  std::string contract;             // JSON; empty until issued
  std::string receipt;              // JSON; empty until completed
};

// protocol.md section 4, POST /v1/claims. Secret values exist here and in the answer only.
struct ReleasedSecret {
  std::string name;
  Secret value;
};
struct Claim {
  std::string run_id;
  std::string contract;
  std::string claim_token;
  std::vector<std::string> events;
  std::vector<ReleasedSecret> secrets;
};

struct Enrolment {
  std::string runner_id;
  std::string runner_token;
};
struct RunnerKey {
  std::string key_id;
  std::string public_key_pem;
};
struct RunnerInfo {
  std::string runner_id;
  std::string pool;
  std::string key_id;
  std::string public_key_pem;  // what an auditor pins
  WallTime enrolled_at;
  bool revoked = false;
  std::vector<RunnerKey> retired_keys = {};  // rotated out; they verify what they signed
  std::optional<WallTime> heard_at = {};     // its last claim, give or take a minute
  std::string capabilities = {};             // JSON as it sent them; empty: it sends none
};

struct IssuedToken {
  std::string token;  // shown once, never stored
  WallTime expires_at;
};
struct PrincipalInfo {
  std::string name;
  std::vector<Role> roles;
  WallTime created_at;
  bool revoked = false;
};
struct IssuedPrincipal {
  PrincipalInfo principal;
  std::string token;  // shown once, never stored
};

// Where a secret's value comes from at the moment of its release.
struct SecretSource {
  enum class Kind { kSealed, kFile, kEnvironment, kExecutable };
  Kind kind = Kind::kSealed;
  std::string
      location;  // file: absolute path; environment: variable name; executable: absolute path
  std::vector<std::string> args;  // executable: arguments after argv[0]; no shell is involved
  std::chrono::milliseconds deadline{10'000};  // executable
};
struct SecretInfo {
  std::string name;
  std::string scope;
  SecretSource source;  // never a value
  WallTime updated_at;
};

struct CancelResult {
  RunState status = RunState::kCancelled;
  bool cancel_requested = false;  // claimed already: the runner is told
};

// A chain that does not extend what is stored is an answer with the place from which to go on.
struct EventsAnswer {
  bool accepted = false;
  bool cancel_requested = false;  // accepted: somebody asked for the run's cancellation
  std::string rejection;          // not accepted: "event chain rejected at seq 11: sequence gap"
  std::uint64_t next_seq = 0;     // where the stored chain stands now
  std::string head;
};

// The first completion of a run, or a second one with the same receipt after a lost answer.
struct Completion {
  bool replayed = false;
  std::string receipt;  // countersigned, JSON
};

// A piece of a blob that a runner sends in pieces.
struct BlobPiece {
  std::string_view hash;  // of the whole
  std::uint64_t offset = 0;
  std::uint64_t total = 0;
  std::string_view bytes;
};
enum class PieceFate {
  kTaken,       // more is to come, from `offset` on
  kStored,      // the blob is whole, or was there already
  kDoesNotFit,  // the part stands at `offset`
};
struct PieceAnswer {
  PieceFate fate = PieceFate::kTaken;
  std::uint64_t offset = 0;
};

// What a run's events say that it made, and what the plane has of it.
struct ArtifactInfo {
  std::string kind;
  std::string hash;
  std::optional<std::uint64_t> bytes;  // unknown where neither event nor blob says it
  std::string path;                    // of a declared output file; else empty
  std::string data_class;              // of the crossing; empty: the bytes were not uploaded
  bool pruned = false;                 // uploaded once, and deleted since by the policy's terms
};

// What a collection has removed; in a dry run what it would.
enum class GarbageMode { kCollect, kDryRun };
struct GarbageReport {
  std::uint64_t runs = 0;       // whose term is over, with contract, chain and receipt
  std::uint64_t artifacts = 0;  // runs of which the artifacts were given up
  std::uint64_t blobs = 0;
  std::uint64_t bytes = 0;
  std::uint64_t parts = 0;  // of uploads that nobody went on with
  std::uint64_t blobs_left = 0;
  std::uint64_t bytes_left = 0;
};

// A piece of a run's live output.
// What a run's job writes: kOutput is the merged output, or stdout where the contract has stderr
// captured by itself. kProgress is its runner's: how far long transfers are, in lines of JSON.
enum class LogStream { kOutput, kStderr, kProgress };

struct LogChunk {
  std::string bytes;
  std::uint64_t offset = 0;  // of the first byte
  std::uint64_t size = 0;    // known so far, left-out bytes not counted
  bool truncated = false;    // the limit was reached; the rest is in the run's log artifact only
  bool complete = false;     // the run has ended and `bytes` reach the end
};

}  // namespace writ::plane
